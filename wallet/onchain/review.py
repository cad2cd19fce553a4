"""The way out of review: what the chain proves, never what somebody sets.

An operator asks; the answer comes from final blocks alone. A payment of ours that is final is
settled or, when its recipient got nothing, given back; one whose nonce was used up by another
transaction, which is then named, can never be paid and is given back. Anything in between stays in
review. That a node shows no receipt of ours proves nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import checked
from chain.blocks import Block, Receipt
from chain.errors import NodeGarbage, NodeRejected
from chain.observe import net_transfers, verified_logs
from chain.spent import Spent, shown_by_all, spender
from chain.transactions import decode_signed, decode_unsigned, encode_unsigned
from wallet.crashpoints import hit
from wallet.errors import InvalidState, NotFound
from wallet.onchain import batch, payout_contract, repository, signers
from wallet.onchain import network as networks
from wallet.onchain.batch import NOT_MINED
from wallet.onchain.desk import Desk
from wallet.onchain.fields import build_fields
from wallet.onchain.finality import final_number
from wallet.onchain.freeze import OWN_PURPOSES
from wallet.onchain.intents import PAYOUT_BATCH
from wallet.onchain.journal import LOST_ROW
from wallet.onchain.network import NetworkStatus
from wallet.onchain.observe import says_paid
from wallet.onchain.repository import PAYING, Attempt, AttemptKind, Intent
from wallet.onchain.states import State

OLD_COPY = {
    signers.INTENT_REUSED: "The signer has signed this payment at another nonce",
    signers.NONCE_USED: "The signer has signed another payment at this nonce",
}
"""What only a signer says that has signed more than these books know."""
NONCES_AT_MOST = 64
"""Strangers' nonces looked at for one payment: as far ahead as a signer signs."""
ASK_ANOTHER = "Put a node that keeps it (an archive node) first in the networks file, ask again."


async def resolve(desk: Desk, intent_id: str, *, by: str) -> Intent:
    """End an intent in review by what is final on chain; the one who asked is kept as its reason.

    A member of a batch in review is ended after its batch. Raises InvalidState when it is not in
    review, or when the chain proves nothing yet.
    """
    async with desk.db.transaction() as session:
        intent = await repository.get_intent(session, intent_id)
        sent_by = await repository.get_intent(session, intent.batch_id or intent_id)
        seen = await networks.read(session, desk.network)
    if intent.state is not State.IN_REVIEW:
        raise InvalidState("It is not in review.", extra={"state": str(intent.state)})
    if sent_by.id != intent_id and sent_by.state is State.IN_REVIEW:
        await resolve(desk, sent_by.id, by=by)
        async with desk.db.transaction() as session:
            intent = await repository.get_intent(session, intent_id)
        if intent.state is not State.IN_REVIEW:
            return intent  # it went with its batch
    status = _demand_readable(desk, intent, seen)
    async with desk.db.transaction() as session:
        attempts = (await repository.attempts_of(session, [sent_by.id]))[sent_by.id]
    await desk.chain.verify_identity()
    told = await final_number(desk.chain, status=status, head=await desk.chain.head())
    final = await desk.chain.agreed(told)
    if final < 0:
        raise InvalidState("Nothing is final for all nodes just now; ask again.")
    mined, lost = await _final_receipt(desk, attempts, final), None
    if mined is None:
        spent = await _shown(desk, sent_by, final)
        kind = _kind(sent_by, attempts, spent)
        if kind is not None:
            mined, lost = (kind, await receipt_in(desk, spent)), spent
    if mined is None:
        _not_beside(desk, intent, spent)
        await demand_shown(desk, spent)
        await _not_elsewhere(desk, intent, spent, final)
        to, changes, at = _never_paid(spent)
    else:
        to, changes, at = await _judged(desk, intent, *mined)
        if lost is not None and to is not State.FINAL_OK:
            await _not_elsewhere(desk, intent, lost, final)
    _demand_told(intent, to)
    async with desk.db.transaction() as session:
        if lost is not None and mined is not None:
            await _remember(session, sent_by.id, mined[0], lost)
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


def _demand_told(intent: Intent, to: State) -> None:
    """Raises InvalidState where an end would say more than the chain did: these books lost rows."""
    if intent.reason != LOST_ROW or intent.purpose == PAYOUT_BATCH or to is State.FINAL_OK:
        return
    if intent.purpose in OWN_PURPOSES:
        raise InvalidState("What it brought is booked; the chain shows that it brought nothing.")
    raise InvalidState(
        "A batch whose row was lost names it: where that one did not pay it, another payment"
        " that these books lost may have. Nothing is given back."
    )


def _demand_readable(desk: Desk, intent: Intent, status: NetworkStatus | None) -> NetworkStatus:
    """The status. Raises InvalidState where nothing can be proved now."""
    if status is None or not status.fresh:
        raise InvalidState("The node is not answering; nothing can be proved.")
    if not desk.chain.network.lists(intent.asset):
        raise InvalidState(f"{intent.asset} is not listed on {desk.network}: list it, ask again.")
    return status


async def _final_receipt(
    desk: Desk, attempts: list[Attempt], final: int
) -> tuple[AttemptKind, Receipt] | None:
    """Which of the attempts we know is in the chain for good, and what it did."""
    sent = {attempt.tx_hash: attempt for attempt in attempts if attempt.tx_hash is not None}
    for receipt in await desk.chain.receipts(list(sent)) if sent else []:
        if receipt is None:
            continue
        there = await desk.chain.block_ref(receipt.block_number)
        if there is None or there.hash != receipt.block_hash:
            continue
        if receipt.block_number > final:
            raise InvalidState("A transaction of ours is in a block that is not final yet.")
        return sent[receipt.tx_hash].kind, receipt
    return None


async def _shown(desk: Desk, sent_by: Intent, final: int) -> Spent:
    """The transaction that used its nonce up for good. Raises InvalidState until one is shown."""
    address, nonce = sent_by.from_address, sent_by.nonce
    if nonce is None or address is None:
        raise NotFound("It never had a nonce.")
    if await desk.chain.nonce_at(address, final) <= nonce:
        raise InvalidState("Its nonce is not used up by a final transaction; it may still be paid.")
    near = sent_by.passed_at_block or sent_by.mined_block
    found = await spender(desk.chain, address, nonce, final=final, near=near)
    if found is None:
        raise InvalidState(
            f"Nonce {nonce} of {address} is used up, and this node does not show by which"
            f" transaction: it may have paid. {ASK_ANOTHER}"
        )
    return found


def _kind(sent_by: Intent, attempts: list[Attempt], spent: Spent) -> AttemptKind | None:
    """What it is of ours: an attempt whose bytes or whose row were lost; None: none of ours.

    A transfer of nothing to oneself is a cancel of ours. Raises InvalidState for one that pays the
    same and that we would not have built.
    """
    kind: AttemptKind | None = None
    if (spent.tx.to, spent.tx.value, spent.data) == (spent.tx.from_address, 0, b""):
        kind = "cancel"
    for attempt in attempts:
        fields = decode_unsigned(attempt.unsigned)
        if spent.raw is not None and decode_signed(spent.raw)[0] == fields:
            return attempt.kind
        if spent.pays_as(fields):
            kind = "bump" if attempt.kind in PAYING else "cancel"
    if kind is not None and spent.raw is None:
        raise InvalidState(
            f"{spent.tx.hash} used nonce {sent_by.nonce} and does what ours would have done, in a"
            " form that we do not build: whoever has the key sent it, and its recipient has it."
        )
    return kind


async def receipt_in(desk: Desk, spent: Spent) -> Receipt:
    """Its receipt, by its block: for that a node needs no index of transactions. Raises
    InvalidState, ChainError."""
    try:
        return (await desk.chain.block_receipts(spent.block))[spent.tx.index]
    except (NodeRejected, NodeGarbage):
        raise InvalidState(
            f"It was mined as {spent.tx.hash} in block {spent.block.number}, and this node has not"
            f" kept that block's receipts. {ASK_ANOTHER}"
        ) from None


async def demand_shown(desk: Desk, spent: Spent) -> None:
    """Raises InvalidState where one of several nodes alone says that this used the nonce: who lies
    shows a stranger's in the place of ours, and what was paid would be given back. ChainError."""
    try:
        if await shown_by_all(desk.chain, spent):
            return
    except (NodeRejected, NodeGarbage):
        pass
    raise InvalidState(
        f"Not all nodes show the same receipt of {spent.tx.hash}. Ask a third source, take the"
        " wrong one out of the networks file, ask again."
    )


async def _remember(session: AsyncSession, intent_id: str, kind: AttemptKind, spent: Spent) -> None:
    """Keep the bytes that the chain has and no row: those of an attempt, or one more."""
    assert spent.raw is not None
    fields = decode_signed(spent.raw)[0]
    unsigned = encode_unsigned(fields)
    intent = await repository.lock_intent(session, intent_id)
    attempts = (await repository.attempts_of(session, [intent_id]))[intent_id]
    if any(one.tx_hash == spent.tx.hash for one in attempts):
        return
    same = [one for one in attempts if one.unsigned == unsigned and one.refused is None]
    seq = same[0].seq if same else attempts[-1].seq + 1
    if not same:
        await repository.insert_attempt(
            session, intent=intent, seq=seq, kind=kind, unsigned=unsigned,
            tip_wei=fields.tip, cap_wei=fields.cap,
        )  # fmt: skip
    await repository.store_signed(
        session, intent_id=intent_id, seq=seq, raw=spent.raw, tx_hash=spent.tx.hash
    )


def _not_beside(desk: Desk, intent: Intent, spent: Spent) -> None:
    """Raises InvalidState where the stranger at its nonce is a batch that these books have lost,
    and names it."""
    if payout_contract.reference(intent.id) in spent.data:
        raise InvalidState(
            f"{spent.tx.hash} used its nonce and names it, in a batch that this database has lost:"
            " it is compared by hand. Nothing is given back."
        )


async def _not_elsewhere(desk: Desk, intent: Intent, spent: Spent, final: int) -> None:
    """Raises InvalidState when it may have been paid at a nonce that these books never gave: a
    database that was restored may have paid it before, alone or in a batch."""
    address, nonce = spent.tx.from_address, spent.tx.nonce
    doubt = "this database is an old copy, and may have paid it there before. Nothing is given back"
    if intent.reason in OLD_COPY:
        raise InvalidState(f"{OLD_COPY[intent.reason]}: {doubt}.")
    async with desk.db.transaction() as session:
        given = await signers.given_nonces(
            session, network=desk.network, address=checked(address), above=nonce
        )
        mixed = await signers.knows_more(session, network=desk.network, address=checked(address))
        contracts = await batch.contracts_of(session, desk.chain.network)
    if mixed:
        raise InvalidState(f"{OLD_COPY[signers.NONCE_USED]}, or at another one: {doubt}.")
    used = await desk.chain.nonce_at(checked(address), final)
    unknown = [one for one in range(nonce + 1, used) if one not in given]
    if len(unknown) > NONCES_AT_MOST:
        raise InvalidState(
            f"{address} has used {len(unknown)} nonces that were not given: {doubt}."
        )
    alone = build_fields(desk.chain, intent, nonce=nonce, tip=0, cap=0)
    for one in unknown:
        other = await spender(desk.chain, address, one, final=final)
        if other is None or other.pays_as(alone) or other.tx.to in contracts:
            which = "not shown by this node" if other is None else other.tx.hash
            raise InvalidState(f"Nonce {one} of {address} was not given ({which}): {doubt}.")
        await demand_shown(desk, other)


def _never_paid(spent: Spent) -> tuple[State, dict[str, Any], datetime]:
    """Its nonce was used by something else, for good."""
    reason = f"nonce used by a foreign transaction {spent.tx.hash}"
    return State.CANCELLED, NOT_MINED | {"reason": reason}, datetime.now(UTC)


async def _judged(
    desk: Desk, intent: Intent, kind: AttemptKind, receipt: Receipt
) -> tuple[State, dict[str, Any], datetime]:
    """A final transaction of ours: did its recipient get the amount?"""
    block = await desk.chain.full_block(receipt.block_number)
    if block is None or block.hash != receipt.block_hash:
        raise InvalidState("The chain changed while it was read; ask again.")
    if not await desk.chain.confirmed(receipt):
        raise InvalidState(f"Not all nodes show the same receipt of {receipt.tx_hash}.")
    at = datetime.fromtimestamp(block.ref.timestamp, UTC)
    changes: dict[str, Any] = {
        "mined_tx_hash": receipt.tx_hash, "mined_kind": kind,
        "mined_block": receipt.block_number, "mined_block_hash": receipt.block_hash,
        "mined_status": receipt.status, "gas_used": receipt.gas_used,
        # A member of a batch bears its share, which is kept already.
        "gas_fee_wei": receipt.fee_wei if intent.batch_id is None else intent.gas_fee_wei,
    }  # fmt: skip
    if kind not in PAYING:
        return State.CANCELLED, changes | {"reason": "its nonce paid nobody"}, at
    if receipt.status == 0:
        return State.FINAL_REVERTED, changes | {"reason": "reverted"}, at
    if intent.data is not None or intent.asset == desk.chain.network.native_asset:
        return State.FINAL_OK, changes | {"reason": "paid"}, at
    # The block's receipts, which must add up to its header: what a node leaves out of one receipt
    # proves nothing.
    receipts = await _all_receipts(desk, block)
    mine, tx = receipts[receipt.tx_index], block.transactions[receipt.tx_index]
    token, member = desk.chain.network.token(intent.asset), intent.batch_id is not None
    if token is not None and (
        payout_contract.says_paid(token, intent, mine, tx.to or "")
        if member
        else says_paid(token, intent, mine)
    ):
        # Before any balance: who passes it on in the same block has had it all the same.
        return State.FINAL_OK, changes | {"reason": "its token says that it paid"}, at
    pair, payer = (intent.asset, intent.to_address), (intent.asset, checked(tx.from_address))
    found = await desk.chain.balance_changes(block, [pair, payer])
    moved = found[pair]
    if moved == intent.amount_minor:
        return State.FINAL_OK, changes | {"reason": "its recipient's balance grew by it"}, at
    told = "cannot be read any more" if moved is None else f"moved by {moved}"
    if moved == 0 and not member:
        # What other transactions say alone: had this one taken anything, somebody has it.
        logs = [one for each in receipts if each.tx_hash != mine.tx_hash for one in each.logs]
        tokens = desk.chain.network.tokens
        known = net_transfers(logs, tokens).get((payer[0], tx.from_address), 0)
        if found[payer] == known:
            return State.FINAL_REVERTED, changes | {"reason": "its recipient got nothing"}, at
        told = "stood still, and its sender's did not"
    raise InvalidState(f"The recipient's balance {told}: that proves neither way.")


async def _all_receipts(desk: Desk, block: Block) -> list[Receipt]:
    """Of a block, with all its logs. Raises InvalidState where the node leaves any out."""
    try:
        receipts = await desk.chain.block_receipts(block)
        verified_logs(block, receipts)
    except (NodeRejected, NodeGarbage):
        raise InvalidState(
            f"This node does not show all that block {block.number} logged; ask another one."
        ) from None
    return receipts
