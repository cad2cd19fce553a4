"""Payments on chain that wait because the independent auditor found their books broken.

The house's own moves go on: sweeps and the treasury keep coins inside the house (docs/audit.md).
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.onchain.freeze import OWN_PURPOSES
from wallet.pauses import EVERY_ASSET, paused

__all__ = ["EVERY_ASSET", "holds_back", "paused", "say_so"]


async def holds_back(session: AsyncSession, intent_id: str) -> bool:
    """Whether this intent, or one in its batch, pays customers in an asset that waits."""
    found = await session.scalar(
        text(
            "SELECT 1 FROM chain_intents i JOIN audit_pauses p ON p.asset IN (i.asset, :every)"
            " WHERE (i.id = :id OR i.batch_id = :id) AND i.purpose <> ALL(:own) LIMIT 1"
        ),
        {"id": intent_id, "every": EVERY_ASSET, "own": list(OWN_PURPOSES)},
    )
    return found is not None


async def say_so(session: AsyncSession, network: str) -> None:
    """Queued payments that are held back say that a person looks at it."""
    await session.execute(
        text(
            "UPDATE chain_intents i SET waiting_for = 'review' FROM audit_pauses p"
            " WHERE p.asset IN (i.asset, :every) AND i.network = :network AND i.state = 'queued'"
            " AND i.purpose <> ALL(:own) AND i.waiting_for IS DISTINCT FROM 'review'"
        ),
        {"network": network, "every": EVERY_ASSET, "own": list(OWN_PURPOSES)},
    )
