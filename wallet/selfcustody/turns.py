"""Whose box, and whose payment, is looked at in this pass: so many and no more, each in its turn.

However many are on their way, a pass has an end, and everybody's turn comes: it goes on behind the
one it ended with. Those whose bytes have not left come in a line of their own, since a grant lives
two minutes. Of one person one box is opened in a pass, since each may take the signer seconds. The
place is in memory: a worker that takes over begins anew, which is as fair.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from keys.request import GRANT_SECONDS

FRESH = ("queued", "allocated", "signed")
LEFT = ("sent", "mined")
FRESH_PER_TICK = 16
LEFT_PER_TICK = 48
BOXES_PER_TICK = 8
ASK_AGAIN_SECONDS = 300.0  # a node that does not show what used a nonce up is asked less often


class Turns:
    """The two lines, and where each stands."""

    def __init__(self) -> None:
        self._behind = {FRESH: "", LEFT: ""}
        self._answered = ""
        self._asked: dict[str, float] = {}

    async def take(self, session: AsyncSession, networks: Iterable[str]) -> list[Any]:
        """Payments on these networks whose turn it is, with their accounts; fresh ones first."""
        served = sorted(networks)
        return [
            *await self._line(session, served, FRESH, FRESH_PER_TICK),
            *await self._line(session, served, LEFT, LEFT_PER_TICK),
        ]

    async def boxes(self, session: AsyncSession, *, late_seconds: float) -> list[Any]:
        """The oldest box of each person whose turn it is, with the account it is about."""
        rows = await session.execute(
            text(
                "SELECT r.*, a.sealed, r.created_at < clock_timestamp()"
                " - make_interval(secs => :late) AS late FROM"
                " (SELECT DISTINCT ON (principal_id) * FROM selfcustody_requests"
                "  WHERE state = 'queued' ORDER BY principal_id, created_at, id) r"
                " LEFT JOIN selfcustody_accounts a ON a.id = r.account_id"
                " ORDER BY r.principal_id <= :behind, r.principal_id LIMIT :most"
            ),
            {"late": late_seconds, "behind": self._answered, "most": BOXES_PER_TICK},
        )
        return list(rows.all())

    def answered(self, box: Any) -> None:
        """The next pass goes on behind its person, whether or not the signer said anything."""
        self._answered = box.principal_id

    def asked_lately(self, send: Any) -> bool:
        """Whether a node was asked a while ago what used its nonce; if not, it is now."""
        now = time.monotonic()
        lately = now < self._asked.get(send.id, 0.0)
        if not lately:
            self._asked[send.id] = now + ASK_AGAIN_SECONDS
        return lately

    async def _line(
        self, session: AsyncSession, networks: list[str], states: tuple[str, ...], most: int
    ) -> list[Any]:
        rows = (
            await session.execute(
                text(
                    # From its grant on a queued row is not changed: it ends with that.
                    "SELECT s.*, a.address, a.sealed, s.updated_at NOT BETWEEN clock_timestamp()"
                    " - make_interval(secs => :grant) AND clock_timestamp() AS late"
                    " FROM selfcustody_sends s"
                    " JOIN selfcustody_accounts a ON a.id = s.account_id"
                    " WHERE s.state NOT IN ('settled', 'failed') AND s.state = ANY(:states)"
                    " AND s.network = ANY(:networks)"
                    # One without a grant waits for the signer's answer, and needs no look.
                    " AND (s.state <> 'queued' OR s.grant_name IS NOT NULL)"
                    " ORDER BY s.id <= :behind, s.id LIMIT :most"
                ),
                {
                    "states": list(states), "networks": networks,
                    "behind": self._behind[states], "most": most, "grant": GRANT_SECONDS,
                },
            )
        ).all()  # fmt: skip
        if rows:
            self._behind[states] = rows[-1].id
        return list(rows)
