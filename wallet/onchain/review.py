"""The way out of review: what the chain proves, never what somebody sets.

An operator asks; the answer comes from final blocks alone. A payment of ours that is final is
settled or, when its recipient got nothing, given back; one whose nonce is used up by something else
for good can never be paid and is given back. Anything in between stays in review.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from chain.blocks import Receipt
from wallet.crashpoints import hit
from wallet.errors import InvalidState, NotFound
from wallet.onchain import network as networks
from wallet.onchain import repository
from wallet.onchain.desk import Desk
from wallet.onchain.finality import final_number
from wallet.onchain.repository import PAYING, Attempt, Intent
from wallet.onchain.states import State


async def resolve(desk: Desk, intent_id: str, *, by: str) -> Intent:
    """End an intent in review by what is final on chain; the one who asked is kept as its reason.

    Raises InvalidState when it is not in review, or when the chain proves nothing yet.
    """
    async with desk.db.transaction() as session:
        intent = await repository.get_intent(session, intent_id)
        sent_by = intent.batch_id or intent_id
        attempts = (await repository.attempts_of(session, [sent_by]))[sent_by]
        status = await networks.read(session, desk.network)
    if intent.state is not State.IN_REVIEW:
        raise InvalidState("It is not in review.", extra={"state": str(intent.state)})
    if status is None or not status.fresh:
        raise InvalidState("The node is not answering; nothing can be proved.")
    await desk.chain.verify_identity()
    final = await final_number(desk.chain, status=status, head=await desk.chain.head())
    mined = await _final_receipt(desk, attempts, final)
    if mined is None:
        to, changes, at = await _never_paid(desk, intent, final)
    else:
        to, changes, at = await _judged(desk, intent, *mined)
    async with desk.db.transaction() as session:
        moved = await desk.move(
            session, intent_id, to, expected=intent, at=at,
            receipt=None if mined is None else mined[1], by=by,
            **{"reason": f"reviewed by {by}: {changes.pop('reason')}", **changes},
        )  # fmt: skip
        hit("intent.before_commit_reviewed")
    hit("intent.after_commit_reviewed")
    if moved is None:
        raise InvalidState("It has moved meanwhile; look again.")
    return moved


async def _final_receipt(
    desk: Desk, attempts: list[Attempt], final: int
) -> tuple[Attempt, Receipt] | None:
    """The attempt of ours that is in the chain for good."""
    sent = {attempt.tx_hash: attempt for attempt in attempts if attempt.tx_hash is not None}
    for receipt in await desk.chain.receipts(list(sent)) if sent else []:
        if receipt is None:
            continue
        there = await desk.chain.block_ref(receipt.block_number)
        if there is None or there.hash != receipt.block_hash:
            continue
        if receipt.block_number > final:
            raise InvalidState("A transaction of ours is in a block that is not final yet.")
        return sent[receipt.tx_hash], receipt
    return None


async def _never_paid(
    desk: Desk, intent: Intent, final: int
) -> tuple[State, dict[str, Any], datetime]:
    """Its nonce was used by something else, for good."""
    if intent.nonce is None or intent.from_address is None:
        raise NotFound("It never had a nonce.")
    used = await desk.chain.nonce_at(intent.from_address, final)
    if used <= intent.nonce:
        raise InvalidState("Its nonce is not used up by a final transaction; it may still be paid.")
    none: dict[str, Any] = dict.fromkeys(
        ("mined_tx_hash", "mined_kind", "mined_block", "mined_block_hash", "mined_status",
         "gas_used", "gas_fee_wei")
    )  # fmt: skip
    return (
        State.CANCELLED,
        none | {"reason": "nonce used by a foreign transaction"},
        datetime.now(UTC),
    )


async def _judged(
    desk: Desk, intent: Intent, attempt: Attempt, receipt: Receipt
) -> tuple[State, dict[str, Any], datetime]:
    """A final transaction of ours: did its recipient get the amount?"""
    block = await desk.chain.full_block(receipt.block_number)
    if block is None or block.hash != receipt.block_hash:
        raise InvalidState("The chain changed while it was read; ask again.")
    at = datetime.fromtimestamp(block.ref.timestamp, UTC)
    changes: dict[str, Any] = {
        "mined_tx_hash": receipt.tx_hash, "mined_kind": attempt.kind,
        "mined_block": receipt.block_number, "mined_block_hash": receipt.block_hash,
        "mined_status": receipt.status, "gas_used": receipt.gas_used,
        # A member of a batch bears its share, which is kept already.
        "gas_fee_wei": receipt.fee_wei if intent.batch_id is None else intent.gas_fee_wei,
    }  # fmt: skip
    if attempt.kind not in PAYING:
        return State.CANCELLED, changes | {"reason": "its nonce paid nobody"}, at
    if receipt.status == 0:
        return State.FINAL_REVERTED, changes | {"reason": "reverted"}, at
    if intent.data is not None or intent.asset == desk.chain.network.native_asset:
        return State.FINAL_OK, changes | {"reason": "paid"}, at
    pair = (intent.asset, intent.to_address)
    moved = (await desk.chain.balance_changes(block, [pair]))[pair]
    if moved == intent.amount_minor:
        return State.FINAL_OK, changes | {"reason": "its recipient's balance grew by it"}, at
    if moved == 0:
        return State.FINAL_REVERTED, changes | {"reason": "its recipient got nothing"}, at
    told = "cannot be read any more" if moved is None else f"moved by {moved}"
    raise InvalidState(f"The recipient's balance {told}: that proves neither way.")
