"""What the signer's journal knows and these books have lost: they are an older copy of themselves.

A nonce and its bytes are committed here before the signer is asked. A journal that has more at an
address than was given there says that the database was put back, and what was signed may be in a
block, in some pool, or nowhere any more. Of a payment that waits here its row is written again,
with the very bytes that the signer signs once more; it is never made in another way. What was
signed for nothing that waits here leaves the address to a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.errors import InvalidTransaction
from chain.transactions import TxFields, encode_unsigned, signed_matches, tx_hash
from keys.book import MAX_NONCES_AHEAD
from keys.errors import SignerRefused
from keys.request import MAX_ASKED, SignedBefore, SignedTx
from wallet.crashpoints import hit
from wallet.onchain import approvals, repository, signers
from wallet.onchain.arrived import arrived, is_final
from wallet.onchain.desk import Desk
from wallet.onchain.fields import build_fields
from wallet.onchain.freeze import OWN_PURPOSES
from wallet.onchain.replace import nothing
from wallet.onchain.repository import Intent
from wallet.onchain.states import State

LOST_ROW = "lost_row"
"""Why a payment is in review that the chain has, alone or in a batch, and whose row was lost."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ahead:
    """What was signed at nonces of one address that these books never gave, the lowest first.
    `waiting`: ids of those that wait here, and can have their rows again."""

    places: Sequence[SignedBefore] = ()
    waiting: frozenset[str] = frozenset()

    @property
    def strange(self) -> bool:
        """Whether one of them is for nothing that waits here."""
        return any(one.intent_id not in self.waiting for one in self.places)

    def explains(self, nonces: range) -> bool:
        """Whether all these were signed for what waits here."""
        mine = {one.nonce for one in self.places if one.intent_id in self.waiting}
        return all(nonce in mine for nonce in nonces)


async def ahead(desk: Desk, address: str, next_nonce: int) -> Ahead:
    """What the journal has from `next_nonce` on, as far as the first answer that has something
    strange. Raises SignerUnavailable."""
    places: list[SignedBefore] = []
    waiting: set[str] = set()
    while len(waiting) == len(places):
        found = await desk.signer.signed_from(
            chain_id=desk.chain.network.chain_id, address=address, nonce=next_nonce
        )
        if not found:
            break
        async with desk.db.transaction() as session:  # what was given meanwhile is in the rows
            row = await signers.lock_signer(session, network=desk.network, address=address)
            places += [one for one in found if one.nonce >= row.next_nonce]
            rows = await session.execute(
                text(
                    "SELECT id FROM chain_intents WHERE network = :network AND state = 'queued'"
                    " AND batch_id IS NULL AND id = ANY(:ids)"
                    " AND (pinned_address IS NULL OR pinned_address = :address)"
                ),
                {
                    "network": desk.network, "address": address,
                    "ids": [one.intent_id for one in found],
                },
            )  # fmt: skip
            waiting |= set(rows.scalars()) & {one.intent_id for one in places}
        if len(found) < MAX_ASKED:
            break
        next_nonce = found[-1].nonce + 1
    return Ahead(places, frozenset(waiting))


async def known(desk: Desk, intents: Iterable[Intent]) -> dict[str, SignedBefore]:
    """Those of these that the signer has paid or cancelled before, by id: they are made in no other
    way. Raises SignerUnavailable."""
    ids = [one.id for one in intents]
    found: dict[str, SignedBefore] = {}
    for first in range(0, len(ids), MAX_ASKED):
        for place in await desk.signer.signed_before(ids[first : first + MAX_ASKED]):
            if place.chain_id == desk.chain.network.chain_id:
                found[place.intent_id] = place
    return found


async def catch_up(
    desk: Desk, address: str, fields: TxFields, *, deposit_index: int | None, used: int
) -> bool:
    """Take the signer past nonces that the chain has used without it: so far above its newest one
    it would never sign `fields`, and who has the key uses as many as they like. It signs transfers
    of nothing at some of these, which no node is ever given. False where that brings it no nearer.
    `used`: the chain's count. Raises SignerUnavailable."""
    low, high = 0, used
    while low < high:  # its next nonce: it tells nothing from there on
        middle = (low + high) // 2
        found = await desk.signer.signed_from(
            chain_id=desk.chain.network.chain_id, address=address, nonce=middle
        )
        low, high = (found[-1].nonce + 1, high) if found else (low, middle)
    first = low
    while low + MAX_NONCES_AHEAD <= fields.nonce:
        step = min(low + MAX_NONCES_AHEAD, used) - 1
        if step < low:
            return False
        passed = replace(nothing(fields, address), nonce=step, cap=1, tip=0)
        try:
            await desk.signer.sign_transaction(
                address=address, payload=encode_unsigned(passed), kind="cancel",
                intent_id=f"used/{address}/{step}", deposit_index=deposit_index,
            )  # fmt: skip
        except SignerRefused as error:
            log.error("signer.stays_behind", address=address, nonce=step, reason=error.reason)
            return False
        low = step + 1
    log.warning("signer.caught_up", address=address, nonces=low - first)
    return low > first


async def write_again(desk: Desk, places: Iterable[SignedBefore]) -> int:
    """The rows of payments that wait here and were signed before; how many. Leader of their address
    only. Raises SignerUnavailable."""
    done = 0
    for place in sorted(places, key=lambda one: one.nonce):
        async with desk.db.transaction() as session:
            intent = await repository.get_intent(session, place.intent_id)
            given = (await approvals.given_for(session, [intent.id])).get(intent.id, [])
            index = await signers.deposit_index(
                session, network=desk.network, address=place.address
            )
        try:  # nothing new: the journal has it, or the answer is no
            fields = build_fields(
                desk.chain, intent, nonce=place.nonce, tip=place.tip, cap=place.cap
            )
            unsigned = encode_unsigned(fields)
            signed = await desk.signer.sign_transaction(
                address=place.address, payload=unsigned, intent_id=intent.id, kind="pay",
                deposit_index=index,
                approval=await approvals.told(
                    desk.signer, desk.chain.network, intent, given, sender=place.address
                ),
            )  # fmt: skip
        except (SignerRefused, InvalidTransaction, ValueError) as error:
            log.error("intent.not_the_bytes_that_were_signed", intent=intent.id, why=str(error))
            continue
        right = signed_matches(signed.raw, fields, place.address)
        if right and tx_hash(signed.raw) == signed.tx_hash:
            done += await _enter(desk, place, unsigned, signed)
    return done


async def _enter(desk: Desk, place: SignedBefore, unsigned: bytes, signed: SignedTx) -> bool:
    async with desk.db.transaction() as session:
        row = await signers.lock_signer(session, network=desk.network, address=place.address)
        given = await signers.given_nonces(
            session, network=desk.network, address=place.address, above=place.nonce - 1
        )
        intent = await repository.lock_intent(session, place.intent_id)
        follower, told = desk.followers.get(intent.purpose), intent
        if intent.purpose in OWN_PURPOSES and await is_final(session, intent, signed.tx_hash):
            told = replace(intent, mined_tx_hash=signed.tx_hash)
        stands = (
            intent.state is State.QUEUED
            and intent.batch_id is None
            and place.nonce not in given
            and follower is not None
            and await follower.vouches_for(session, told)
        )
        if not stands:
            return False
        await repository.insert_attempt(
            session, intent=intent, seq=1, kind="pay", unsigned=unsigned,
            tip_wei=place.tip, cap_wei=place.cap,
        )  # fmt: skip
        await repository.store_signed(
            session, intent_id=intent.id, seq=1, raw=signed.raw, tx_hash=signed.tx_hash
        )
        has: dict[str, Any] = {"from_address": place.address, "nonce": place.nonce}
        if intent.purpose in OWN_PURPOSES and await _has_a_customer(session, intent, signed):
            await desk.move(session, intent.id, State.IN_REVIEW, reason=LOST_ROW, **has)
        else:
            await desk.move(session, intent.id, State.ALLOCATED, **has)
            await desk.move(session, intent.id, State.SIGNED)
        await signers.set_next_nonce(
            session, network=desk.network, address=place.address,
            next_nonce=max(row.next_nonce, place.nonce + 1),
        )  # fmt: skip
        hit("intent.before_commit_written_again")
    hit("intent.after_commit_written_again")
    log.warning("intent.written_again", intent=intent.id, nonce=place.nonce)
    return True


async def _has_a_customer(session: AsyncSession, intent: Intent, signed: SignedTx) -> bool:
    """Whether a customer was credited with what it brought: a person must see that. The rest of
    what it brought is the house's own from now on, or its end leaves it out."""
    found = await arrived(session, intent, signed.tx_hash)
    return any(one.of_customer and one.to_address == intent.to_address for one in found)


__all__ = ["Ahead", "ahead", "catch_up", "known", "write_again"]
