"""What stands beside an intent: the members of a batch, operators' approvals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.crashpoints import hit
from wallet.onchain import repository
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


@dataclass(frozen=True, slots=True)
class Approval:
    """An operator's signature for one payment; `by_whom`: the name given with it."""

    operator: str
    signature: bytes
    by_whom: str | None


async def approvals(session: AsyncSession, intent_id: str) -> list[Approval]:
    """Who has signed for a payment, oldest first."""
    rows = await session.execute(
        text(
            "SELECT operator, signature, by_whom FROM chain_approvals WHERE intent_id = :id"
            " ORDER BY created_at, operator"
        ),
        {"id": intent_id},
    )
    return [Approval(row.operator, bytes(row.signature), row.by_whom) for row in rows]


async def approve(session: AsyncSession, intent_id: str, given: Approval) -> bool:
    """Keep a signature; the worker hands it to the signer. False: this operator's is there."""
    kept = await session.scalar(
        text(
            "INSERT INTO chain_approvals (intent_id, operator, signature, by_whom)"
            " VALUES (:id, :operator, :signature, :by) ON CONFLICT (intent_id, operator)"
            " DO NOTHING RETURNING 1"
        ),
        {
            "id": intent_id, "operator": given.operator, "signature": given.signature,
            "by": given.by_whom,
        },
    )  # fmt: skip
    await repository.set_waiting(session, [intent_id], None, queued_only=True)
    hit("approval.before_commit")
    return kept is not None


async def approved(session: AsyncSession, intent_ids: Sequence[str]) -> dict[str, set[str]]:
    """Which operators have signed for each; nobody has for those that are missing."""
    rows = await session.execute(
        text("SELECT intent_id, operator FROM chain_approvals WHERE intent_id = ANY(:ids)"),
        {"ids": list(intent_ids)},
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.intent_id, set()).add(row.operator)
    return found
