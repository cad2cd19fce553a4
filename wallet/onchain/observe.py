"""The chain decides: receipts of any attempt by hash, reorgs, finality, strangers at our nonce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from chain.blocks import BlockRef, Receipt
from chain.fee_models import believable
from chain.observe import transfer_in
from chain.registry import Token
from chain.spent import shown_elsewhere
from wallet.crashpoints import hit
from wallet.errors import WalletError
from wallet.onchain import repository
from wallet.onchain.desk import Desk
from wallet.onchain.intents import CANCELLED
from wallet.onchain.prepare import FOREIGN
from wallet.onchain.repository import PAYING, Attempt, Intent
from wallet.onchain.states import State

log = structlog.get_logger(__name__)

InBlock = tuple[Receipt, BlockRef]
Mined = tuple[Attempt, Receipt, BlockRef]
NOT_MINED: dict[str, Any] = {
    "mined_tx_hash": None,
    "mined_kind": None,
    "mined_block": None,
    "mined_block_hash": None,
    "mined_status": None,
    "gas_used": None,
    "gas_fee_wei": None,
}


def _height(block: BlockRef) -> int:
    return block.number


def _seen(attempt: Attempt, receipt: Receipt) -> dict[str, Any]:
    """Where it was mined and what it cost, by this receipt."""
    return {
        "mined_tx_hash": receipt.tx_hash,
        "mined_kind": attempt.kind,
        "mined_block": receipt.block_number,
        "mined_block_hash": receipt.block_hash,
        "mined_status": receipt.status,
        "gas_used": receipt.gas_used,
        "gas_fee_wei": receipt.fee_wei,
        "passed_at_block": None,
    }


def says_paid(token: Token, intent: Intent, receipt: Receipt) -> bool:
    """Whether the token says in this receipt that the payment was made."""
    wanted = (intent.amount_minor, intent.to_address.lower(), (intent.from_address or "").lower())
    told = (transfer_in(entry, [token]) for entry in receipt.logs)
    return any(
        one is not None and (one.amount, one.to_address, one.from_address) == wanted for one in told
    )


class IntentObserver:
    """Follows the intents of one network to their end."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def run(
        self, intents: Sequence[Intent], *, head: BlockRef, final: int, mined_nonces: int
    ) -> None:
        """One look at every intent that holds a nonce. Leader only.

        `mined_nonces` must have been read before this call: a nonce it counts was then mined by a
        transaction whose receipt, were it ours, the node has by now.
        """
        if not intents:
            return
        async with self._desk.db.transaction() as session:
            attempts = await repository.attempts_of(session, [intent.id for intent in intents])
        receipts, here = await self._canonical_receipts(attempts)
        if here is not None:
            # Another node may have taken over since: what it shows is as final as it is there.
            head, final = min(head, here[0], key=_height), min(final, here[1])
        for intent in intents:
            try:
                await self._look(intent, attempts[intent.id], receipts, head, final, mined_nonces)
            except WalletError as error:
                # The books refuse its end: it stays where it is, is tried again, holds up nobody.
                log.error("intent.refused_by_books", intent=intent.id, code=error.code)

    async def _look(
        self, intent: Intent, attempts: Sequence[Attempt], receipts: Mapping[str, InBlock],
        head: BlockRef, final: int, mined_nonces: int,
    ) -> None:  # fmt: skip
        mined = next(
            (
                (attempt, *receipts[attempt.tx_hash])
                for attempt in attempts
                if attempt.tx_hash is not None and attempt.tx_hash in receipts
            ),
            None,
        )
        if mined is not None:
            await self._found(intent, mined, final)
        elif intent.state is State.MINED:
            await self._lost(intent, head)
        else:
            await self._absent(intent, attempts, head, final, mined_nonces)

    async def _canonical_receipts(
        self, attempts: Mapping[str, list[Attempt]]
    ) -> tuple[dict[str, InBlock], tuple[BlockRef, int] | None]:
        """Receipt and block by hash, of those whose block is in the chain the node follows now;
        with its head and final height where it was asked."""
        hashes = [a.tx_hash for many in attempts.values() for a in many if a.tx_hash is not None]
        if not hashes:
            return {}, None
        chain = self._desk.chain
        found = [receipt for receipt in await chain.receipts(hashes) if receipt is not None]
        refs, head, final = await chain.refs_of_now(sorted({one.block_number for one in found}))
        canonical = {ref.hash: ref for ref in refs if ref is not None}
        return {
            receipt.tx_hash: (receipt, canonical[receipt.block_hash])
            for receipt in found
            if receipt.block_hash in canonical
        }, (head, final)

    async def _found(self, intent: Intent, mined: Mined, final: int) -> None:
        attempt, receipt, block = mined
        model = self._desk.chain.network.fee_model
        if not believable(receipt, model, gas_limit=intent.gas_limit, cap_wei=attempt.cap_wei):
            log.error("node.impossible_fee", intent=intent.id, fee_wei=receipt.fee_wei)
            return  # the node lies or errs; nothing is booked on its word
        if intent.mined_block_hash != receipt.block_hash or intent.state is not State.MINED:
            seen = _seen(attempt, receipt)
            async with self._desk.db.transaction() as session:
                moved = await self._desk.move(session, intent.id, State.MINED, **seen)
                hit("intent.before_commit_mined")
            hit("intent.after_commit_mined")
            if moved is None:
                return
            intent = moved
        if receipt.block_number <= final:
            at = datetime.fromtimestamp(block.timestamp, UTC)
            await self._end(intent, attempt, receipt, at)

    async def _end(self, intent: Intent, attempt: Attempt, receipt: Receipt, at: datetime) -> None:
        """Final. The follower books it in the same transaction, so that nothing is between."""
        if not self._desk.chain.network.lists(intent.asset):
            # Its Transfer is the proof, and cannot be read until its contract is known again.
            log.warning("intent.asset_unlisted", intent=intent.id, asset=intent.asset)
            return
        if not await self._desk.chain.confirmed(receipt):
            log.error("node.receipts_differ", intent=intent.id, tx_hash=receipt.tx_hash)
            return  # one of several nodes lies or errs; nothing is booked on its word
        to, reason = self._verdict(intent, attempt, receipt)
        # What was noted when it was mined one node alone had said.
        changes = _seen(attempt, receipt) | ({} if reason is None else {"reason": reason})
        async with self._desk.db.transaction() as session:
            await self._desk.move(
                session, intent.id, to, expected=intent, at=at, receipt=receipt, **changes
            )
            hit("intent.before_commit_final")
        hit("intent.after_commit_final")

    def _verdict(
        self, intent: Intent, attempt: Attempt, receipt: Receipt
    ) -> tuple[State, str | None]:
        if attempt.kind not in PAYING:
            return State.CANCELLED, intent.reason or CANCELLED
        if receipt.status == 0:
            return State.FINAL_REVERTED, "reverted"
        token = self._desk.chain.network.token(intent.asset)
        if token is None or says_paid(token, intent, receipt):
            return State.FINAL_OK, None
        return State.IN_REVIEW, "no_transfer_event"

    async def _lost(self, intent: Intent, head: BlockRef) -> None:
        """It was mined and no longer is. While the node is behind that block, it means nothing."""
        if intent.mined_block is not None and head.number < intent.mined_block:
            return
        async with self._desk.db.transaction() as session:
            await self._desk.move(session, intent.id, State.SENT, expected=intent, **NOT_MINED)
            hit("intent.before_commit_reorged")
        hit("intent.after_commit_reorged")

    async def _absent(
        self, intent: Intent, attempts: Sequence[Attempt], head: BlockRef, final: int,
        mined_nonces: int,
    ) -> None:  # fmt: skip
        """No receipt of ours. If the chain is past the nonce, somebody else may have used it.

        That a receipt is absent proves nothing, so all it does here is stop: to review, no more
        nonces. What is held is given back by what a block shows only (`wallet.onchain.review`).
        """
        if intent.nonce is None:
            return
        passed = intent.passed_at_block
        if mined_nonces <= intent.nonce:
            if passed is not None:
                await self._set_passed(intent, None)
        elif passed is None:
            log.warning("intent.nonce_passed", intent=intent.id, nonce=intent.nonce)
            await self._set_passed(intent, head.number)
        elif passed <= final:
            if not await self._desk.chain.passed(intent.from_address or "", intent.nonce):
                # Whoever is right, out of review no bytes would leave again.
                log.error("node.nonces_differ", intent=intent.id, nonce=intent.nonce)
            elif await self._shown_elsewhere(attempts):
                log.error("node.receipts_differ", intent=intent.id, nonce=intent.nonce)
            else:
                await self._desk.send_to_review(intent, FOREIGN, halt=True)

    async def _shown_elsewhere(self, attempts: Sequence[Attempt]) -> bool:
        """Whether the serving one of several nodes alone denies every receipt of ours."""
        hashes = [attempt.tx_hash for attempt in attempts if attempt.tx_hash is not None]
        return any([await shown_elsewhere(self._desk.chain, one) for one in hashes])

    async def _set_passed(self, intent: Intent, number: int | None) -> None:
        async with self._desk.db.transaction() as session:
            await repository.lock_intent(session, intent.id)
            await repository.update_intent(session, intent.id, {"passed_at_block": number})
