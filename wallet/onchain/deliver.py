"""From fixed bytes to the node: sign, store, send, and send again until the chain has answered.

The signer and the node are only ever called between two transactions. A crash anywhere is harmless:
the same payload signs to the same bytes (RFC 6979), and the same bytes are paid once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from chain.errors import FeeCeiling
from chain.outcomes import SendKind
from chain.transactions import (
    TxFields,
    decode_unsigned,
    encode_unsigned,
    signed_matches,
    tx_hash,
)
from keys.errors import NonceConflict, SignerRefused, SignerUnavailable
from keys.request import SignedTx
from wallet import clock
from wallet.crashpoints import hit
from wallet.onchain import approvals, casework, journal, repository, signers
from wallet.onchain.bids import Bids
from wallet.onchain.desk import Desk
from wallet.onchain.freeze import emptying
from wallet.onchain.intents import CANCELLED
from wallet.onchain.replace import (
    Replacement,
    cancelling,
    dearer,
    missing,
    nothing,
    plain,
    wants_cancel,
    wants_speed,
)
from wallet.onchain.repository import Attempt, Intent
from wallet.onchain.states import UNMINED, State

BUMP_AFTER_SECONDS = 30.0
DAY_LIMIT = "day_limit_reached"  # the signer's word for: tomorrow
TOO_FAR = "nonce_ahead"  # and for: so far above my newest one I sign nothing
TOO_DEAR = "fee_above_ceiling"  # and for: so much per gas I never sign
DAY_LIMIT_WAIT_SECONDS = (
    26 * 3600.0
)  # a day and its seams; what is refused then is refused for good
ASKS_AGAIN_SECONDS = 300.0  # a bump above the day's fees; what it outbids is there meanwhile
MALFORMED_SENDS = 20  # a node that calls the bytes malformed so often is looked at by a person
MAYBE_OUT = frozenset({SendKind.ACCEPTED, SendKind.KNOWN, SendKind.NONCE_TOO_LOW, SendKind.UNKNOWN})
"""Outcomes after which the bytes count as sent. The rest were refused for now and go again."""
WAITS_FOR = {
    SendKind.INSUFFICIENT_FUNDS: "liquidity",
    SendKind.FEE_TOO_LOW: "fees",
    SendKind.REPLACEMENT_UNDERPRICED: "fees",
    SendKind.MALFORMED: "chain",
}
log = structlog.get_logger(__name__)


class Deliverer:
    """Brings allocated intents of one network to the node and keeps them there."""

    def __init__(self, desk: Desk, *, rebroadcast_seconds: float, bump_seconds: float) -> None:
        self._desk = desk
        self._rebroadcast_seconds = rebroadcast_seconds
        self._bump_seconds = bump_seconds
        self._unsigned: set[str] = set()
        self._refusals: dict[str, tuple[int, str]] = {}
        self._put_off: dict[tuple[str, int], float] = {}
        self._bids = Bids(desk)
        self._handed: dict[str, float] = {}

    async def run(self, intents: Sequence[Intent], *, mined_nonces: int) -> None:
        """Sign and send what is not there yet, lowest nonce first. Leader only.

        `mined_nonces`: the chain's count for the sender; below it nothing needs sending any more.
        """
        waiting = [intent for intent in intents if (intent.nonce or 0) >= mined_nonces]
        if not waiting:
            return
        async with self._desk.db.transaction() as session:
            attempts = await repository.attempts_of(session, [intent.id for intent in waiting])
        self._unsigned.discard(waiting[0].from_address or "")
        known = await self._known(attempts)
        for position, intent in enumerate(waiting):
            await self._deliver(intent, attempts[intent.id], known, lowest=position == 0)
        await self._spread([attempts[intent.id] for intent in waiting], waiting[0].from_address)

    async def _spread(self, waiting: Sequence[Sequence[Attempt]], address: str | None) -> None:
        """Hand what was sent to the other nodes, too, while the lowest nonce waits for long: that
        the serving one has it says nothing of whether a miner will."""
        sent = [[one for one in attempts if one.sends] for attempts in waiting]
        if not sent[0] or 0 <= sent[0][0].age_seconds < self._bump_seconds:
            return
        now, last = clock.steady(), self._handed.get(address or "")
        if last is None or now - last >= self._bump_seconds:
            self._handed[address or ""] = now
            newest = [many[-1].raw for many in sent if many]
            await self._desk.chain.spread([raw for raw in newest if raw is not None])

    def _sign_no_more(self, intent: Intent) -> None:
        """Of its address, in this pass. Of another one a pass may run beside it."""
        self._unsigned.add(intent.from_address or "")

    async def _known(self, attempts: Mapping[str, list[Attempt]]) -> set[str]:
        """Hashes that the node has now, in its pool or mined."""
        hashes = [a.tx_hash for many in attempts.values() for a in many if a.sends and a.tx_hash]
        if not hashes:
            return set()
        answers = await self._desk.chain.known(hashes)
        return {item for item, there in zip(hashes, answers, strict=True) if there}

    async def _deliver(
        self, intent: Intent, attempts: list[Attempt], known: set[str], *, lowest: bool
    ) -> None:
        if wants_cancel(intent, attempts) and await self._cancel(intent, attempts):
            return  # what it made is signed in the next pass
        pending = next((a for a in attempts if a.raw is None and a.refused is None), None)
        stopped = intent.from_address in self._unsigned
        if pending is not None and not stopped and not self._waits(pending):
            try:
                signed = await self._sign(intent, pending)
            except SignerUnavailable:
                # Nothing is known; the same payload is asked for again. What is signed goes out.
                self._sign_no_more(intent)
            else:
                if signed is not None:
                    await self._send(intent, pending.seq, signed.raw)
                return
        sendable = [a for a in attempts if a.raw is not None]
        if not sendable:
            return
        for attempt in missing(sendable, known):
            if self._due(attempt) and attempt.raw is not None:
                await self._send(intent, attempt.seq, attempt.raw)
        if wants_speed(intent, sendable):
            await self._replace(intent, sendable[-1], await self._dearer(intent, sendable))
        elif lowest:
            await self._bump_if_stuck(intent, sendable)

    def _due(self, attempt: Attempt) -> bool:
        since = attempt.seconds_since_sent
        # Less than nothing: the database's clock was set back, and would hold it up for as long.
        return since is None or not 0 <= since < self._rebroadcast_seconds

    # Signing

    async def _sign(self, intent: Intent, attempt: Attempt) -> SignedTx | None:
        """Have the stored payload signed and store the bytes (transaction B).

        None when they are not the attempt's: a rival has given it up while the signer answered.
        """
        desk, sender = self._desk, intent.from_address or ""
        async with desk.db.transaction() as session:
            given = await approvals.given_for(session, [intent.id])
            index = await signers.deposit_index(session, network=desk.network, address=sender)
        hit("intent.before_sign")
        try:
            signed = await desk.signer.sign_transaction(
                address=sender,
                payload=attempt.unsigned,
                intent_id=intent.id,
                # A nothing may follow what was signed and never stored: to the signer, a cancel.
                kind="cancel" if attempt.kind == "noop" else attempt.kind,
                deposit_index=index,
                approval=await approvals.told(
                    desk.signer,
                    desk.chain.network,
                    intent,
                    given.get(intent.id, []),
                    sender=sender,
                ),
            )
        except NonceConflict as error:
            log.error("signer.conflict", intent=intent.id, reason=error.reason)
            self._sign_no_more(intent)  # nothing behind it either: it may have been paid before
            if error.reason == TOO_FAR and await self._caught_up(attempt, sender, index):
                return None  # it is asked for again in the next pass
            await desk.send_to_review(intent, f"signer_{error.reason}", halt=True)
            return None
        except SignerRefused as error:
            if error.reason == TOO_DEAR and await self._bid_less(intent, attempt):
                return None
            if attempt.kind == "bump" or intent.state is not State.ALLOCATED:
                # Not for good, whatever it says: this would be the last that the nonce ever has.
                log.warning("signer.lets_nothing_outbid", intent=intent.id, address=sender,
                            reason=error.reason)  # fmt: skip
                self._put_off[intent.id, attempt.seq] = clock.steady() + ASKS_AGAIN_SECONDS
            elif await self._passes_by_itself(attempt, error.reason):
                await self._wait_for_limit(intent)
            else:
                await self._refused(intent, attempt, error.reason)
            return None
        self._refusals.pop(intent.id, None)
        self._put_off.pop((intent.id, attempt.seq), None)
        hit("intent.after_sign")
        fields = decode_unsigned(attempt.unsigned)
        if not signed_matches(signed.raw, fields, sender) or tx_hash(signed.raw) != signed.tx_hash:
            await desk.send_to_review(intent, "signer_answered_other_bytes", halt=True)
            return None
        async with desk.db.transaction() as session:
            current = await repository.lock_intent(session, intent.id)
            stored = await repository.store_signed(
                session, intent_id=intent.id, seq=attempt.seq, raw=signed.raw,
                tx_hash=signed.tx_hash,
            )  # fmt: skip
            if stored and current.state is State.ALLOCATED:
                await desk.move(session, intent.id, State.SIGNED)
            kept = (await repository.attempts_of(session, [intent.id]))[intent.id]
            hit("intent.before_commit_signed")
        hit("intent.after_commit_signed")
        if all((one.seq, one.raw) != (attempt.seq, signed.raw) for one in kept):
            log.warning("intent.given_up_while_signed", intent=intent.id, seq=attempt.seq)
            return None  # in no row: nobody would know their hash
        return signed

    async def _caught_up(self, attempt: Attempt, sender: str, index: int | None) -> bool:
        """Whether the signer is nearer by now: strangers' nonces were all that it did not know."""
        used = await self._desk.chain.nonce(sender)
        if not used or not await self._desk.chain.passed(sender, used - 1):
            return False
        return await journal.catch_up(
            self._desk, sender, decode_unsigned(attempt.unsigned), deposit_index=index, used=used
        )

    def _waits(self, attempt: Attempt) -> bool:
        """Whether the signer did not let this outbid others a moment ago: these go on."""
        return clock.steady() < self._put_off.get((attempt.intent_id, attempt.seq), 0.0)

    async def _passes_by_itself(self, attempt: Attempt, reason: str) -> bool:
        """Whether this refusal ends with the day, and that may be waited for: not while hot
        addresses are emptied, for what saves their coins has the nonces behind it."""
        young = attempt.age_seconds < DAY_LIMIT_WAIT_SECONDS
        if attempt.kind != "pay" or reason != DAY_LIMIT or not young:
            return False
        async with self._desk.db.transaction() as session:
            return not await emptying(session, self._desk.network)

    async def _wait_for_limit(self, intent: Intent) -> None:
        """Ask again in the next pass with the same bytes; nonces above it stay unsigned meanwhile.

        Its owner may cancel: a transfer of nothing is within every limit.
        """
        self._sign_no_more(intent)
        if intent.waiting_for != "signer_limit":
            log.error("signer.limit_reached", intent=intent.id, address=intent.from_address)
        async with self._desk.db.transaction() as session:
            await repository.set_waiting(session, [intent.id], "signer_limit")

    async def _refused(self, intent: Intent, attempt: Attempt, reason: str) -> None:
        """A final no: the payment was never signed. Its nonce is used up by a transfer of nothing.

        Without that every later nonce of this address would wait for ever. The hold is kept until
        that transfer is final. Where that is refused too, the address gives no more nonces, and the
        transfer of nothing is asked for again in every pass: the policy has to let it through.
        """
        said = (attempt.seq, reason)
        if self._refusals.get(intent.id) != said:  # a nothing is asked for again in each pass
            self._refusals[intent.id] = said
            log.error("signer.refused", intent=intent.id, kind=attempt.kind, reason=reason)
        if attempt.kind != "pay":
            self._sign_no_more(intent)
            async with self._desk.db.transaction() as session:
                await casework.halt_signer(
                    session, network=self._desk.network, address=intent.from_address or "",
                    reason=f"signer_{reason}",
                )  # fmt: skip
            return
        async with self._desk.db.transaction() as session:
            await repository.lock_intent(session, intent.id)
            refused = await repository.store_refused(
                session, intent_id=intent.id, seq=attempt.seq, reason=reason
            )
            if refused:
                fields = nothing(decode_unsigned(attempt.unsigned), intent.from_address or "")
                fields = await self._plain(session, intent, fields)
                await repository.insert_attempt(
                    session,
                    intent=intent,
                    seq=attempt.seq + 1,
                    kind="noop",
                    unsigned=encode_unsigned(fields),
                    tip_wei=fields.tip,
                    cap_wei=fields.cap,
                )
                await repository.update_intent(session, intent.id, {"reason": f"signer_{reason}"})
            hit("intent.before_commit_refused")
        hit("intent.after_commit_refused")

    # Sending

    async def _send(self, intent: Intent, seq: int, raw: bytes) -> None:
        """Hand the stored bytes to the node once and keep what it said. Never a failure."""
        hit("intent.before_send")
        outcome = await self._desk.chain.send_raw(raw)
        hit("intent.after_send")
        async with self._desk.db.transaction() as session:
            current = await repository.lock_intent(session, intent.id)
            sends = await repository.store_outcome(
                session,
                intent_id=intent.id,
                seq=seq,
                outcome=str(outcome.kind),
                message=outcome.message,
            )
            if outcome.kind in MAYBE_OUT:
                if current.state is State.SIGNED:
                    await self._desk.move(session, intent.id, State.SENT)
                else:
                    await repository.set_waiting(session, [intent.id], None)
            else:
                waits_for = WAITS_FOR[outcome.kind]
                if outcome.kind is SendKind.MALFORMED and sends >= MALFORMED_SENDS:
                    # Sent on nevertheless: another node may take it, and its owner may cancel it.
                    waits_for = "review"
                    if sends == MALFORMED_SENDS:
                        log.error("intent.node_refuses", intent=intent.id, message=outcome.message)
                await repository.set_waiting(session, [intent.id], waits_for)
            hit("intent.before_commit_sent")
        hit("intent.after_commit_sent")
        log.info("intent.sent", intent=intent.id, seq=seq, outcome=str(outcome.kind))

    # Replacing

    async def _dearer(self, intent: Intent, attempts: Sequence[Attempt]) -> Replacement | None:
        percent, most = self._desk.chain.network.bump_percent, await self._bids.most(intent)
        return dearer(intent, attempts, percent, ceiling_wei=most)

    async def _bid_less(self, intent: Intent, attempt: Attempt) -> bool:
        """In place of what is above the signer's ceiling. False: there is no less to bid."""
        async with self._desk.db.transaction() as session:
            attempts = (await repository.attempts_of(session, [intent.id]))[intent.id]
        found = await self._bids.less(intent, attempt, attempts)
        if found is None:
            return False
        async with self._desk.db.transaction() as session:
            await repository.lock_intent(session, intent.id)
            if await repository.store_refused(
                session, intent_id=intent.id, seq=attempt.seq, reason=TOO_DEAR
            ):
                await self._add(session, intent, attempt, found)
        return True

    async def _bump_if_stuck(self, intent: Intent, attempts: list[Attempt]) -> None:
        """Raise the fees of the lowest unmined nonce after a long wait, within its ceiling, where
        base fee, others' tips or the node ask for more."""
        newest = attempts[-1]
        if 0 <= newest.age_seconds < self._bump_seconds:  # below: the clock was set back
            return
        try:
            fees = await self._desk.chain.fees()
        except FeeCeiling:
            fees = None
        if (
            fees is not None
            and newest.cap_wei >= fees.base_fee + newest.tip_wei
            and newest.tip_wei >= fees.tip
            and newest.last_outcome != SendKind.FEE_TOO_LOW
        ):
            return  # the fee is enough: it waits for something else
        await self._replace(intent, newest, await self._dearer(intent, attempts))

    async def _replace(
        self, intent: Intent, newest: Attempt, replacement: Replacement | None
    ) -> None:
        """Fix the bytes that shall outbid `newest`; the next pass signs and sends them."""
        if replacement is None:
            async with self._desk.db.transaction() as session:
                await repository.set_waiting(session, [intent.id], "fees")
            return
        replacement = await self._bids.now(intent, replacement)
        async with self._desk.db.transaction() as session:
            await self._add(session, intent, newest, replacement)
            hit("intent.before_commit_bumped")
        hit("intent.after_commit_bumped")

    async def _cancel(self, intent: Intent, attempts: Sequence[Attempt]) -> bool:
        """Answer the wish to cancel. What was never signed never will be. False: there is no room
        for it, and what was sent goes on being sent."""
        percent = self._desk.chain.network.bump_percent
        most = await self._bids.most(intent)
        replacement = cancelling(intent, attempts, percent, ceiling_wei=most)
        if replacement is None:  # the bound held room when it was asked for; a bump took it since
            await self._replace(intent, attempts[-1], None)
            return False
        kind, fields = await self._bids.now(intent, replacement)
        async with self._desk.db.transaction() as session:
            await repository.lock_intent(session, intent.id)  # before its attempts, as everywhere
            for attempt in attempts:
                if attempt.raw is None:
                    await repository.store_refused(
                        session, intent_id=intent.id, seq=attempt.seq, reason=CANCELLED
                    )
            fields = await self._plain(session, intent, fields)
            await self._add(session, intent, attempts[-1], (kind, fields))
            hit("intent.before_commit_cancelling")
        hit("intent.after_commit_cancelling")
        return True

    async def _plain(self, session: AsyncSession, intent: Intent, fields: TxFields) -> TxFields:
        """A deposit address may have code, which a transfer to itself runs."""
        at = {"network": self._desk.network, "address": intent.from_address or ""}
        if await signers.deposit_index(session, **at) is not None:
            return fields
        return plain(fields, self._desk.chain.network.fee_model)

    async def _add(
        self, session: AsyncSession, intent: Intent, newest: Attempt, replacement: Replacement
    ) -> None:
        """One more attempt, if the intent is still open and `newest` still the newest."""
        kind, fields = replacement
        current = await repository.lock_intent(session, intent.id)
        existing = (await repository.attempts_of(session, [intent.id]))[intent.id]
        if current.state in UNMINED and existing[-1].seq == newest.seq:
            await repository.insert_attempt(
                session,
                intent=current,
                seq=newest.seq + 1,
                kind=kind,
                unsigned=encode_unsigned(fields),
                tip_wei=fields.tip,
                cap_wei=fields.cap,
            )
