"""Hot addresses whose key the signer says it does not have: they get no payments while that is so.

What has its nonce there waits: that nothing was signed at it only a signer's journal could tell,
and who pays it from elsewhere may pay it twice. Two people may end it (`never_signed`). A signer
that starts loads its keys one by one, so that a person is told (case `signer_key_missing`) once a
key was missing for a while.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases, clock
from wallet.cases import HOUSE
from wallet.db import Database
from wallet.onchain import repository
from wallet.onchain.signers import SignerRow

TOLD_AFTER_SECONDS = 60.0
KEPT = ("approval", "review", "signer_limit")
"""What somebody else waits for, too, and says more."""
log = structlog.get_logger(__name__)


class Keyless:
    """Of one network. What is remembered is since when."""

    def __init__(self, db: Database, network: str) -> None:
        self._db = db
        self._network = network
        self._since: dict[str, float] = {}
        self._well: set[str] = set()

    async def look(self, known: Sequence[SignerRow], has: Collection[str]) -> set[str]:
        """Hot addresses that may give nothing now. `has`: those whose keys the signer has."""
        hot = {row.address: row for row in known if row.role == "hot"}
        missing = {address for address in hot if address not in has}
        back = {address for address in hot if address not in missing} - self._well
        told: list[str] = []
        if back or missing:
            async with self._db.transaction() as session:
                await self._close(session, back)
                for address in sorted(missing):
                    if await self._missing(session, hot[address]):
                        told.append(address)
        self._well = hot.keys() - missing
        self._since |= dict.fromkeys(told, math.inf)
        return missing

    async def _close(self, session: AsyncSession, back: Collection[str]) -> None:
        for address in back:
            self._since.pop(address, None)
        await cases.close_all(
            session,
            kinds=["signer_key_missing"],
            subjects=[f"{self._network}/{address}" for address in back],
            by=HOUSE,
            note="the signer has its key",
        )

    async def _missing(self, session: AsyncSession, row: SignerRow) -> bool:
        """Say so where payments wait, and after a while to a person, once: who closes that case
        knows it. Whether that was now."""
        found = await session.execute(
            text(
                "SELECT id, ref, state, waiting_for FROM chain_intents WHERE network = :network"
                " AND (state = 'allocated' AND from_address = :address"
                "  OR state = 'queued' AND pinned_address = :address) ORDER BY nonce, id"
            ),
            {"network": self._network, "address": row.address},
        )
        waiting = found.all()
        plain = [one.id for one in waiting if one.waiting_for not in KEPT]
        await repository.set_waiting(session, plain, "signer")
        now = clock.steady()
        since = self._since.setdefault(row.address, now)
        if row.halted_reason is not None or now - since < TOLD_AFTER_SECONDS:
            return False
        log.error("signer.key_missing", network=self._network, address=row.address)
        await cases.open_case(
            session,
            kind="signer_key_missing",
            subject=f"{self._network}/{row.address}",
            network=self._network,
            what=f"The signer has no key of {row.address}: it gets no payments on"
            f" {self._network} while that is so, and what has its nonce there waits.",
            evidence={
                "address": row.address,
                "payments": [one.ref for one in waiting if one.state == "allocated"],
            },
        )
        return True
