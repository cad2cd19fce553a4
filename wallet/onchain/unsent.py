"""A payment that no node was given 30 minutes after it was promised is a case until one was.

What it waits for is told beside it (dear network, short float, an approval, a freeze, a signer or
node that is away): each of them may be right, and none may be forgotten. `wallet.onchain.casework`
watches the payments that did leave.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.registry import Network
from wallet import cases
from wallet.cases import HOUSE
from wallet.crashpoints import hit
from wallet.db import Database

TICK_SECONDS = 10.0
UNSENT_MINUTES = 30
"""As the default of `chain_intents.unsent_at` has it (r0026)."""
LOOK = 200
"""Payments that get their case in one pass."""
WAITS = {
    "fees": "the network's fees are above what it may cost",
    "liquidity": "the address that pays it holds too little",
    "approval": "an operator's signature is missing, or several are",
    "signer": "the signer is away, or its policy lets nothing leave warm",
    "signer_limit": "the signer's limit for the day is used up",
    "chain": "the node does not answer, or refuses it",
    "review": "nobody vouches for it, its token is halted or not listed, or a hot address has used"
    " nonces that these books never gave",
}
_LEFT = (
    "EXISTS (SELECT FROM chain_attempts a WHERE a.intent_id = i.id AND a.first_sent_at IS NOT NULL)"
)


class UnsentWatch:
    """One network's payments that have not left. Any worker may run it."""

    def __init__(self, db: Database, network: Network) -> None:
        self._db = db
        self._network = network.name

    async def tick(self) -> None:
        """One pass: close what has left or ended, open what is overdue. Safe to repeat."""
        async with self._db.transaction() as session:
            await cases.close_all(
                session,
                kinds=["payment_unsent"],
                subjects=await _left(session, self._network),
                by=HOUSE,
                note="a node was given it, or it ended",
            )
            for row in await _overdue(session, self._network):
                await cases.open_case(
                    session,
                    kind="payment_unsent",
                    subject=row.id,
                    network=row.network,
                    asset=row.asset,
                    what=_words(row),
                    evidence={
                        "purpose": row.purpose,
                        "ref": row.ref,
                        "state": row.state,
                        "waiting_for": row.waiting_for,
                        "amount_minor": str(int(row.amount_minor)),
                        "to_address": row.to_address,
                        "from_address": row.from_address or row.pinned_address,
                        "nonce": row.nonce,
                        "promised_at": row.created_at.isoformat(),
                    },
                )
            hit("cases.before_commit_unsent")
        hit("cases.after_commit_unsent")


def _words(row: Any) -> str:
    why = WAITS.get(row.waiting_for or "", "the worker has not come to it")
    if row.frozen and row.state == "queued":
        why = "the network is frozen (bifold treasury status)"
    return (
        f"{row.purpose} {row.ref} was promised {UNSENT_MINUTES} minutes ago or more and no node was"
        f" given it: {why}."
    )


async def _left(session: AsyncSession, network: str) -> list[str]:
    """Subjects of open cases whose payment has left or ended. A member leaves with its batch."""
    rows = await session.execute(
        text(
            "SELECT c.subject FROM cases c JOIN chain_intents i ON i.id = c.subject"
            " WHERE c.kind = 'payment_unsent' AND c.status = 'open' AND c.network = :network"
            f" AND (i.state NOT IN ('queued', 'allocated', 'signed') OR {_LEFT})"
        ),
        {"network": network},
    )
    return list(rows.scalars())


async def _overdue(session: AsyncSession, network: str) -> list[Any]:
    """Payments past their time without an open case; locked, so that none leaves meanwhile."""
    rows = await session.execute(
        text(
            "SELECT i.*, EXISTS (SELECT FROM network_freezes f WHERE f.network = i.network)"
            " AS frozen FROM chain_intents i WHERE i.network = :network"
            " AND i.state IN ('queued', 'allocated', 'signed') AND i.unsent_at <= bifold_now()"
            f" AND i.batch_id IS NULL AND NOT {_LEFT}"
            " AND NOT EXISTS (SELECT FROM cases c WHERE c.kind = 'payment_unsent'"
            "   AND c.subject = i.id AND c.status = 'open')"
            " ORDER BY i.unsent_at, i.id LIMIT :look FOR UPDATE OF i SKIP LOCKED"
        ),
        {"network": network, "look": LOOK},
    )
    return list(rows.all())
