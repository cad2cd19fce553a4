"""Carries payments of own accounts to the chain, once the signer was given their boxes.

The order is that of every payment here: nonce and unsigned bytes are committed, then signed, the
signed bytes are committed, then sent, the same bytes again until the chain has answered. The nonce
is the chain's next one: the same words may be in another wallet, and whoever is first has it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import text

from chain.blocks import Receipt
from chain.client import ChainClient
from chain.errors import (
    ChainError,
    FeeCeiling,
    InvalidTransaction,
    NodeGarbage,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
)
from chain.fee_models import beside_gas, gas_limit
from chain.fees import least_cap
from chain.spent import by_no_transaction, shown_elsewhere, spender
from chain.transactions import (
    TxFields,
    encode_unsigned,
    erc20_transfer,
    native_transfer,
    signed_matches,
)
from chain.transactions import decode_unsigned as fields_of
from keys.errors import SignerRefused, SignerUnavailable
from keys.request import SignedBefore
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import network as networks
from wallet.onchain.counts import fees_for_all, used_for_all
from wallet.onchain.desk import leadership
from wallet.onchain.finality import final_number
from wallet.onchain.signers import INSTANCE
from wallet.selfcustody.boxes import Boxes
from wallet.selfcustody.repository import update_send
from wallet.selfcustody.telling import TELL_KEY_SECONDS, Relay, tell_key, telling_key
from wallet.selfcustody.turns import Turns

TICK_SECONDS = 0.5
DUE = (
    "EXISTS (SELECT FROM selfcustody_requests WHERE state = 'queued') OR"
    " EXISTS (SELECT FROM selfcustody_sends WHERE state NOT IN ('settled', 'failed')) OR"
    " NOT EXISTS (SELECT FROM selfcustody_key WHERE"
    f" seen_at > clock_timestamp() - interval '{TELL_KEY_SECONDS} seconds')"
)
REBROADCAST_SECONDS = 3.0
ESTIMATE_SECONDS = 5.0  # for code of the recipient's choice, which may be slow on purpose
log = structlog.get_logger(__name__)


class _TooSlow(Exception):
    """A recipient's code takes too long to be tried out. The payment has ended."""


class SelfCustodyWorker:
    """One loop for all networks. Safe to repeat; one worker leads."""

    def __init__(self, db: Database, chains: Mapping[str, ChainClient], relay: Relay) -> None:
        self._db = db
        self._chains = chains
        self._relay = relay
        self._turns = Turns()
        self._boxes = Boxes(db, relay, self._turns)
        self._told: set[str] = set()

    async def tick(self) -> None:
        """Tell the signer's key, answer requests, move payments on."""
        async with leadership(self._db, "selfcustody") as mine:
            if not mine:
                return
            there = False
            try:
                await tell_key(self._db, self._relay)
                there = True
            except SignerUnavailable:
                log.debug("selfcustody.signer_away")
            except SignerRefused:
                return  # this signer serves no own accounts
            async with telling_key(self._db, self._relay):
                with contextlib.suppress(SignerUnavailable):
                    if there:
                        await self._boxes.answer()
                await self._move_on()

    async def _move_on(self) -> None:
        """Payments whose turn it is."""
        async with self._db.transaction() as session:
            rows = await self._turns.take(session, self._chains)
        away: set[str] = set()  # a node that does not answer takes no more of this pass
        slow: set[str] = set()  # nor a person whose payment could not be tried out in time
        for row in rows:
            if not _ends(row) and (row.network in away or row.principal_id in slow):
                continue
            try:
                await self._move(row)
            except _TooSlow:
                slow.add(row.principal_id)
            except InvalidTransaction:
                await self._fail(row, "not_payable")
            except (ChainError, SignerUnavailable) as error:
                log.warning("selfcustody.waits", send=row.id, error=error.code)
                if isinstance(error, NodeUnavailable | NodeTimeout):
                    away.add(row.network)

    # Payments

    async def _move(self, row: Any) -> None:
        """One step of one payment."""
        chain = self._chains.get(row.network)
        if chain is None:
            return
        place = await self._signed_before(row, chain) if row.state == "queued" else None
        if place is None and _ends(row):
            await self._fail(row, "grant_expired")  # no node need be asked: there are no bytes
            return
        async with self._db.transaction() as session:
            status = await networks.read(session, row.network)
        if status is None or not status.usable:
            return
        await chain.verify_identity()
        if place is not None:
            head = await chain.head()
            await self._found(
                row, chain, place, await final_number(chain, status=status, head=head)
            )
        elif row.state == "queued" and row.grant_name is not None:
            await self._allocate(row, chain)
        elif row.state == "allocated":
            await self._sign(row, chain)
        elif row.state in ("signed", "sent", "mined"):
            head = await chain.head()
            final = await final_number(chain, status=status, head=head)
            await self._follow(row, chain, final)

    async def _signed_before(self, row: Any, chain: ChainClient) -> SignedBefore | None:
        """Where the signer has signed it, though it has no nonce here: this database is a copy of
        before that, and it is made in no other way. Raises SignerUnavailable."""
        for place in await self._relay.signed_before([row.id]):
            if (place.chain_id, place.address) == (chain.network.chain_id, row.address):
                return place
        return None

    async def _found(self, row: Any, chain: ChainClient, place: SignedBefore, final: int) -> None:
        """Once its nonce is used for good its block says by what. Until then it stays open: its
        bytes may be anywhere, and who is told "failed" pays again."""
        if final < 0 or await chain.nonce_at(row.address, final) <= place.nonce:
            self._tell_signed(row, place)
            return
        final = await chain.agreed(final)
        if final < 0 or await chain.nonce_at(row.address, final) <= place.nonce:
            return  # not yet for all nodes
        fields = _fields(
            row, chain, nonce=place.nonce, tip=place.tip, cap=place.cap, gas=21_000
        )  # of its gas the journal says nothing, nor is it asked for: these bytes are not signed
        again = {"state": "allocated", "nonce": place.nonce, "unsigned": encode_unsigned(fields)}
        async with self._db.transaction() as session:
            await update_send(session, row.id, again, was=row.state)

    async def _allocate(self, row: Any, chain: ChainClient) -> None:
        """Nonce and unsigned bytes, inside the granted fee. Raises _TooSlow."""
        network, token = chain.network, chain.network.token(row.asset)
        try:  # behind a gap, or for too little, it is mined at some other time, or never
            nonce, fees = await self._next_nonce(row, chain), await fees_for_all(chain)
        except (FeeCeiling, InvalidState):
            return
        tip, cap = fees.tip, fees.cap
        if cap < least_cap(fees.base_fee, tip):
            return
        draft = _fields(row, chain, nonce=nonce, tip=tip, cap=cap, gas=21_000)
        try:
            async with asyncio.timeout(ESTIMATE_SECONDS):
                estimate = await chain.estimate_gas(row.address, draft.to, draft.value, draft.data)
        except (NodeRejected, NodeGarbage):  # the second: more gas than is ever signed
            await self._fail(row, "would_revert")
            return
        except TimeoutError:
            await self._fail(row, "would_revert")
            raise _TooSlow from None
        except (NodeUnavailable, NodeTimeout):  # perhaps at this one alone; else the next says so
            raise _TooSlow from None
        gas = gas_limit(estimate, network.fee_model)
        if gas * cap > int(row.max_fee_wei):
            cap = int(row.max_fee_wei) // gas
            tip = min(tip, cap)
            if cap < fees.base_fee + tip or cap == 0:
                await self._fail(row, "fee_above_grant")
                return
        # Signed bytes that the node refuses for want of money would leave the day it arrives.
        [held] = await chain.balances(
            [row.address], network.native_asset, (await chain.head()).number
        )
        fee = gas * cap + await beside_gas(
            chain, asset=row.asset, to=row.to_address, amount_minor=int(row.amount_minor), gas=gas,
            cap=cap,
        )  # fmt: skip
        if held < fee + (int(row.amount_minor) if token is None else 0):
            await self._fail(row, "too_little")
            return
        fields = _fields(row, chain, nonce=nonce, tip=tip, cap=cap, gas=gas)
        unsigned = encode_unsigned(fields)
        async with self._db.transaction() as session:
            allocated = {
                "state": "allocated", "nonce": nonce, "unsigned": unsigned,
                "given_in": await session.scalar(text(f"SELECT {INSTANCE}")),
            }  # fmt: skip
            await update_send(session, row.id, allocated, was=row.state)
            hit("selfcustody.before_commit_allocated")
        hit("selfcustody.after_commit_allocated")

    async def _next_nonce(self, row: Any, chain: ChainClient) -> int:
        """What was mined here needs no other node's word. Raises InvalidState."""
        nonce = await chain.nonce(row.address)
        async with self._db.transaction() as session:
            used = await session.scalar(
                text(
                    "SELECT max(nonce) + 1 FROM selfcustody_sends WHERE account_id = :account"
                    " AND network = :network AND state IN ('settled', 'failed')"
                    " AND mined_block IS NOT NULL"
                ),
                {"account": row.account_id, "network": row.network},
            )
        return nonce if nonce <= (used or 0) else await used_for_all(chain, row.address)

    async def _sign(self, row: Any, chain: ChainClient) -> None:
        try:
            answer = await self._relay.selfcustody(
                "sign",
                principal=row.principal_id,
                grant=row.grant_name,
                payload=bytes(row.unsigned).hex(),
                intent_id=row.id,
            )
        except SignerRefused as refusal:
            await self._refused(row, chain, refusal.reason)
            return
        raw = bytes.fromhex(answer["raw"])
        if not signed_matches(raw, fields_of(bytes(row.unsigned)), row.address):
            log.error("selfcustody.other_bytes", send=row.id)
            return
        if await self._store(row, raw, answer["tx_hash"]):
            await self._send(row.id, chain, raw)  # else a rival has it: it sends it, or ended it

    async def _store(self, row: Any, raw: bytes, tx_hash: str) -> bool:
        """Whether these signed bytes are now the payment's, by us."""
        async with self._db.transaction() as session:
            stored = await session.scalar(
                text(
                    "UPDATE selfcustody_sends SET state = 'signed', raw = :raw, tx_hash = :hash,"
                    " updated_at = clock_timestamp() WHERE id = :id AND state = 'allocated'"
                    " RETURNING 1"
                ),
                {"id": row.id, "raw": raw, "hash": tx_hash},
            )
            hit("selfcustody.before_commit_signed")
        hit("selfcustody.after_commit_signed")
        return stored is not None

    async def _refused(self, row: Any, chain: ChainClient, reason: str) -> None:
        """The signer does not sign it now. It may have done so before, and this database be a copy
        that lost the bytes: where the nonce is used, only its block says by what."""
        head = (await chain.head()).number
        if await chain.nonce_at(row.address, head) > row.nonce:
            if self._turns.asked_lately(row):
                return
            spent = await spender(chain, row.address, row.nonce, final=head)
            if spent is None:
                log.warning("selfcustody.nonce_passed", send=row.id, nonce=row.nonce)
                return
            if spent.raw is not None and spent.pays_as(fields_of(bytes(row.unsigned))):
                await self._store(row, spent.raw, spent.tx.hash)
                return
        else:
            with contextlib.suppress(NodeRejected, NodeGarbage):  # of a node that shows no pool
                if await chain.nonce_in_pool(row.address) > row.nonce:
                    return  # it may be this very payment: its block will say
            if await self._may_have_left(row, chain):
                return
        await self._fail(row, reason)

    async def _may_have_left(self, row: Any, chain: ChainClient) -> bool:
        """Whether the signer has signed it, and it got its nonce in another database than this one
        as it runs now (a start, a copy, a replica that took over): an answer that was lost left
        nowhere, but one that a copy has lost may wait in any pool. Raises SignerUnavailable."""
        place = await self._signed_before(row, chain)
        if place is None or place.nonce != row.nonce:
            return False
        async with self._db.transaction() as session:
            elsewhere = await session.scalar(
                text(
                    f"SELECT given_in IS DISTINCT FROM {INSTANCE} FROM selfcustody_sends"
                    " WHERE id = :id"
                ),
                {"id": row.id},
            )
        if elsewhere:
            self._tell_signed(row, place)
        return bool(elsewhere)

    def _tell_signed(self, row: Any, place: SignedBefore) -> None:
        if row.id not in self._told:
            self._told.add(row.id)
            log.warning("selfcustody.signed_before", send=row.id, nonce=place.nonce)

    async def _send(self, send_id: str, chain: ChainClient, raw: bytes) -> None:
        outcome = await chain.send_raw(raw)
        async with self._db.transaction() as session:
            await session.execute(
                text(
                    "UPDATE selfcustody_sends SET state = CASE WHEN state = 'signed' THEN 'sent'"
                    " ELSE state END, sent_at = clock_timestamp() WHERE id = :id"
                ),
                {"id": send_id},
            )
        log.info("selfcustody.sent", send=send_id, outcome=str(outcome.kind))

    async def _follow(self, row: Any, chain: ChainClient, final: int) -> None:
        """Its receipt, or the end of its nonce; otherwise the same bytes once more."""
        used = await chain.nonce_at(row.address, final) if final >= 0 else 0
        [receipt] = await chain.receipts([row.tx_hash])
        if receipt is not None:
            ref = await chain.block_ref(receipt.block_number)
            if ref is not None and ref.hash == receipt.block_hash:
                done = receipt.block_number <= final  # all nodes are asked only where it would end
                done = done and receipt.block_number <= await chain.agreed(final)
                await self._seen(row, receipt, done=done and await chain.confirmed(receipt))
        elif used > row.nonce:
            await self._passed(row, chain, final)
        elif await self._due(row.id):
            await self._send(row.id, chain, bytes(row.raw))

    async def _seen(self, row: Any, receipt: Receipt, *, done: bool) -> None:
        state = ("settled" if receipt.status == 1 else "failed") if done else "mined"
        async with self._db.transaction() as session:
            await update_send(
                session,
                row.id,
                {
                    "state": state,
                    "tx_hash": receipt.tx_hash,
                    "mined_block": receipt.block_number,
                    "gas_fee_wei": receipt.fee_wei,
                    "reason": "reverted" if state == "failed" else None,
                },
            )

    async def _passed(self, row: Any, chain: ChainClient, final: int) -> None:
        """Its nonce is used up for good, and the node shows no receipt of it, which proves nothing.
        What used it has failed this payment, unless it does the same. Where the node does not show
        that, it stays sent: who is told "failed" pays again."""
        if self._turns.asked_lately(row):
            return
        final = await chain.agreed(final)
        if final < 0 or await chain.nonce_at(row.address, final) <= row.nonce:
            return  # not yet for all nodes
        if await shown_elsewhere(chain, row.tx_hash):
            return  # the serving one alone denies it
        spent = await spender(chain, row.address, row.nonce, final=final)
        if spent is None:
            if await by_no_transaction(chain, row.address, row.nonce, final=final):
                await self._fail(row, "nonce_used_elsewhere")
                return
            log.warning("selfcustody.nonce_passed", send=row.id, nonce=row.nonce)
        elif spent.pays_as(fields_of(bytes(row.unsigned))):
            receipt = (await chain.block_receipts(spent.block))[spent.tx.index]
            await self._seen(row, receipt, done=await chain.confirmed(receipt))
        else:
            await self._fail(row, "nonce_used_elsewhere")

    async def _due(self, send_id: str) -> bool:
        async with self._db.transaction() as session:
            found = await session.scalar(
                text(
                    "SELECT sent_at IS NULL OR sent_at NOT BETWEEN clock_timestamp() -"
                    " :wait * interval '1 s' AND clock_timestamp() FROM selfcustody_sends"
                    " WHERE id = :id"
                ),
                {"id": send_id, "wait": REBROADCAST_SECONDS},
            )
        return bool(found)

    async def _fail(self, row: Any, reason: str) -> None:
        """Where it still stands as it was looked at: a rival may have sent it since."""
        async with self._db.transaction() as session:
            await update_send(session, row.id, {"state": "failed", "reason": reason}, was=row.state)
        log.info("selfcustody.failed", send=row.id, reason=reason)


def _ends(row: Any) -> bool:
    """Whether its grant is over before it got a nonce: it can never be signed."""
    return bool(row.state == "queued" and row.late)


def _fields(row: Any, chain: ChainClient, *, nonce: int, tip: int, cap: int, gas: int) -> TxFields:
    """The granted payment as a transaction."""
    network, token = chain.network, chain.network.token(row.asset)
    common = {"chain_id": network.chain_id, "nonce": nonce, "tip": tip, "cap": cap, "gas": gas}
    amount = int(row.amount_minor)
    if token is None:
        return native_transfer(**common, to=row.to_address, value_wei=amount)
    return erc20_transfer(**common, contract=token.contract, to=row.to_address, amount_minor=amount)
