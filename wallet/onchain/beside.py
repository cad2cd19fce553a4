"""The members of a batch: payments that one transaction makes."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.onchain.repository import Intent, intent_of


async def members(session: AsyncSession, batch_id: str) -> list[Intent]:
    """The payments of a batch, in the order the call pays them."""
    rows = await session.execute(
        text("SELECT * FROM chain_intents WHERE batch_id = :id ORDER BY created_at, id"),
        {"id": batch_id},
    )
    return [intent_of(row) for row in rows]


async def leave_batch(session: AsyncSession, batch_id: str, *, alone: bool = False) -> None:
    """The members of a batch that has no nonce are payments of their own again; with `alone` they
    are put into no other one."""
    await session.execute(
        text(
            "UPDATE chain_intents SET batch_id = NULL, alone = alone OR :alone,"
            " updated_at = clock_timestamp() WHERE batch_id = :id AND state = 'queued'"
        ),
        {"id": batch_id, "alone": alone},
    )
