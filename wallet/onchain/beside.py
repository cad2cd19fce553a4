"""What stands beside an intent: the members of a batch, operators' approvals."""

from __future__ import annotations

from collections.abc import Sequence

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


async def leave_batch(session: AsyncSession, batch_id: str) -> None:
    """The members of a batch that has no nonce are payments of their own again."""
    await session.execute(
        text(
            "UPDATE chain_intents SET batch_id = NULL, updated_at = clock_timestamp()"
            " WHERE batch_id = :id AND state = 'queued'"
        ),
        {"id": batch_id},
    )


async def approval(session: AsyncSession, intent_id: str) -> bytes:
    """The operator's signature for a payment above the signer's limit, or nothing."""
    found = await session.scalar(
        text("SELECT signature FROM chain_approvals WHERE intent_id = :id"), {"id": intent_id}
    )
    return b"" if found is None else bytes(found)


async def approved(session: AsyncSession, intent_ids: Sequence[str]) -> set[str]:
    """Those that an operator has approved."""
    rows = await session.execute(
        text("SELECT intent_id FROM chain_approvals WHERE intent_id = ANY(:ids)"),
        {"ids": list(intent_ids)},
    )
    return set(rows.scalars())
