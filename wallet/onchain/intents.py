"""Intents and attempts as values; what a flow may do with them: promise one, cancel it early."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import Receipt
from chain.transactions import Authorization, encode_authorizations
from wallet.ids import new_id
from wallet.onchain import beside, repository
from wallet.onchain.repository import Attempt, Intent
from wallet.onchain.states import State

PAYOUT_BATCH = "payout_batch"
"""The purpose of an intent whose members have no nonce of their own."""
BATCH_WAITS_SECONDS = 60.0
CANCELLED = "cancelled"
"""The reason of an intent that its owner took back."""
__all__ = [
    "CANCELLED",
    "PAYOUT_BATCH",
    "Attempt",
    "Follower",
    "Intent",
    "IntentDraft",
    "cancel_queued",
    "create_intent",
    "end_queued",
    "take_apart",
]


@dataclass(frozen=True, slots=True)
class IntentDraft:
    """A payment to be made once. `amount_minor` in the asset's smallest unit; wei for fees.

    `gas_limit` and `fee_ceiling_wei` bound what it may burn, bumps included. With `data` it is a
    call of the contract `to_address` that carries `amount_minor` of the native coin and the
    EIP-7702 `authorizations`. `pinned_address`: nobody else may send it. `exact_fee`: tip and cap
    are the ceiling, so that an address can be emptied.
    """

    purpose: str
    ref: str
    network: str
    asset: str
    to_address: str
    amount_minor: int
    gas_limit: int
    fee_ceiling_wei: int
    pinned_address: str | None = None
    data: bytes | None = None
    authorizations: tuple[Authorization, ...] = ()
    exact_fee: bool = False


class Follower(Protocol):
    """Who promised the payment: told of every move in the transaction that makes it."""

    async def intent_moved(
        self,
        session: AsyncSession,
        *,
        intent: Intent,
        previous: State,
        at: datetime | None,
        receipt: Receipt | None,
    ) -> None:
        """`intent` is now where it says; `at` is when it happened on chain, where that is known.
        `receipt`: at an end that the chain decided."""
        ...

    async def vouches_for(self, session: AsyncSession, intent: Intent) -> bool:
        """Whether the promise behind `intent` stands, in every figure, with its money set aside.
        One that has a `mined_tx_hash` is in the chain for good: nothing more leaves for it."""
        ...


async def create_intent(session: AsyncSession, draft: IntentDraft) -> str:
    """Promise a payment in the caller's transaction; the worker acts. Returns the intent's id."""
    intent_id = new_id("int")
    await repository.insert_intent(
        session,
        {
            "id": intent_id,
            "purpose": draft.purpose,
            "ref": draft.ref,
            "network": draft.network,
            "asset": draft.asset,
            "to_address": draft.to_address,
            "amount_minor": draft.amount_minor,
            "gas_limit": draft.gas_limit,
            "fee_ceiling_wei": draft.fee_ceiling_wei,
            "pinned_address": draft.pinned_address,
            "data": draft.data,
            "exact_fee": draft.exact_fee,
            "authorizations": encode_authorizations(draft.authorizations)
            if draft.authorizations
            else None,
        },
    )
    return intent_id


async def cancel_queued(session: AsyncSession, intent_id: str) -> State | None:
    """Cancel an intent that uses no nonce yet. None when it is done, else the state it is in."""
    return await end_queued(session, intent_id, State.CANCELLED, reason=CANCELLED)


async def end_queued(
    session: AsyncSession, intent_id: str, to: State, *, reason: str, out_of_batch: bool = False
) -> State | None:
    """End an intent that uses no nonce yet. None when it is done, else the state it is in.

    A member of a batch goes where its batch goes; with `out_of_batch` the batch is dissolved first
    if it has no nonce either, and the other members are queued as they were.
    """
    batch_id = (await repository.get_intent(session, intent_id)).batch_id
    if out_of_batch and batch_id is not None:
        # The batch before its members: the order in which preparing locks them.
        batch = await repository.lock_intent(session, batch_id)
        if batch.state is State.QUEUED:
            await beside.leave_batch(session, batch_id)
            await _end(session, batch_id, State.CANCELLED, reason)
    intent = await repository.lock_intent(session, intent_id)
    if intent.state is not State.QUEUED or intent.batch_id is not None:
        return intent.state
    await _end(session, intent_id, to, reason)
    return None


async def take_apart(
    session: AsyncSession,
    network: str,
    *,
    after_seconds: float = BATCH_WAITS_SECONDS,
    keep: Collection[str] = (),
) -> None:
    """Batches that got no nonce within a minute come to nothing, and their members go alone. The
    address of such a batch may never sign again, and nobody can take a member back out of it.
    `keep`: not these, which were signed all the same."""
    rows = await session.execute(
        text(
            "SELECT id FROM chain_intents WHERE network = :network AND purpose = :batch"
            " AND state = 'queued' AND created_at <= bifold_now() - make_interval(secs => :seconds)"
            " AND NOT id = ANY(:keep) ORDER BY id FOR UPDATE SKIP LOCKED"
        ),
        {
            "network": network,
            "batch": PAYOUT_BATCH,
            "seconds": after_seconds,
            "keep": list(keep),
        },
    )
    for batch_id in rows.scalars().all():
        await beside.leave_batch(session, batch_id, alone=True)
        await _end(session, batch_id, State.CANCELLED, "not_sent")


async def _end(session: AsyncSession, intent_id: str, to: State, reason: str) -> None:
    await repository.update_intent(
        session, intent_id, {"state": str(to), "reason": reason, "waiting_for": None}
    )
