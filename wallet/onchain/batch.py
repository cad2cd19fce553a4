"""Batch payouts: queued payments of one token leave together when that is cheaper.

A batch is an intent of its own, a call of `BatchPayout` from one hot address; its members keep
their own records, have no nonce, and go where the batch goes. Only a backlog makes a batch: a lone
payment waits for nobody. Payments that would make it revert, or that take too long to be tried out,
are found by simulation and left out; if it comes to nothing after all, its members are queued again
and paid one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import structlog
from eth_utils.crypto import keccak
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import to_bytes20
from chain.blocks import BlockRef, Receipt
from chain.errors import ChainError, NodeGarbage, NodeRejected, NodeTimeout, NodeUnavailable
from chain.fee_models import gas_limit
from chain.fees import least_cap
from chain.registry import Network, Token
from chain.transactions import MAX_GAS
from keys.errors import SignerUnavailable
from wallet import ledger
from wallet.crashpoints import hit
from wallet.errors import WalletError
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import Money, chain_asset
from wallet.onchain import beside, journal, pauses, repository, tokens
from wallet.onchain.bids import affordable, signed_up_to
from wallet.onchain.counts import fees_for_all
from wallet.onchain.desk import Desk
from wallet.onchain.doubtful import REST_SECONDS, Doubtful
from wallet.onchain.freeze import frozen
from wallet.onchain.intents import PAYOUT_BATCH, IntentDraft, create_intent
from wallet.onchain.payout_contract import allowance_call, pay_call, says_paid
from wallet.onchain.repository import Intent
from wallet.onchain.states import State

ALLOWANCE: Final = "allowance"
BATCH_FROM: Final = 4
"""So many payments of one token are cheaper together (docs/contracts.md)."""
BATCH_MOST: Final = 100
LOOK: Final = 200
ESTIMATE_SECONDS: Final = 5.0
"""For all that is asked of the node to find out who goes together; then they are halved."""
TOO_LONG: Final = (TimeoutError, NodeTimeout, NodeUnavailable, NodeGarbage)
"""The node breaks at it, or it takes more gas than is ever signed: that may be one member's doing,
or their number's."""
NATIVE_DECIMALS: Final = 18
_ALLOWANCE: Final = keccak(text="allowance(address,address)")[:4]
log = structlog.get_logger(__name__)


async def contracts_of(session: AsyncSession, network: Network) -> set[str]:
    """Payout contracts of this network, in lower case: the networks file's, and every other one
    that batches of these books were sent to."""
    rows = await session.execute(
        text(
            "SELECT DISTINCT lower(to_address) FROM chain_intents"
            " WHERE purpose = :batch AND network = :network"
        ),
        {"batch": PAYOUT_BATCH, "network": network.name},
    )
    listed = network.contracts.get("batch_payout")
    return {*rows.scalars(), *([] if listed is None else [listed.lower()])}


class Batcher:
    """Puts queued payments of one network together, for one hot address at a time."""

    def __init__(self, desk: Desk, *, rest_seconds: float = REST_SECONDS) -> None:
        self._desk = desk
        self._contract = desk.chain.network.contracts.get("batch_payout")
        self._doubtful = Doubtful(rest_seconds)

    async def run(self, address: str, *, head: BlockRef) -> None:
        """Make at most one batch of each token. Leader only; `address` is a lane."""
        if self._contract is None or self._doubtful.resting():
            return
        async with self._desk.db.transaction() as session:
            queued = await repository.intents_in(
                session, network=self._desk.network, states=[State.QUEUED], limit=LOOK
            )
            stopped = {
                *await tokens.halted(session, self._desk.network), *await pauses.paused(session)
            }  # fmt: skip
            frozen_now = await frozen(session, self._desk.network) is not None
            if frozen_now or pauses.EVERY_ASSET in stopped:
                return
        network = self._desk.chain.network
        try:
            limits = (await self._desk.signer.approval_limits()).get(network.chain_id)
        except SignerUnavailable:
            return
        for token in self._doubtful.in_turn(network.tokens):
            # What an operator must sign for goes alone, signed or not: a batch has no such place.
            most = None if limits is None else limits.above.get(token.contract)
            fit = [one for one in queued if _fits(one, token, most)]
            if len(fit) < BATCH_FROM or token.code in stopped:
                continue
            group, others = self._doubtful.take(token.code, fit)
            try:
                if not await self._make(address, token, group, head, least=1):
                    await self._make(address, token, others[:BATCH_MOST], head, least=BATCH_FROM)
            except ChainError as error:  # they go one by one; a node that is away says so again
                log.warning("batch.not_made", network=self._desk.network, error=error.code)
            if self._doubtful.resting():
                return

    async def _make(
        self, address: str, token: Token, fit: Sequence[Intent], head: BlockRef, *, least: int
    ) -> bool:
        """Whether a batch was made, or took too long; not where fewer than `least` may go."""
        if len(fit) < least:
            return False
        chain = self._desk.chain
        fees = await fees_for_all(chain)
        tip, cap = affordable(fees, await signed_up_to(self._desk) or fees.cap)
        if cap < least_cap(fees.base_fee, tip):
            return False  # it would get no nonce, and all of them would go alone from then on
        # A batch is as stuck as its tightest member: whoever bounds the fee to what is asked just
        # now goes alone, and is in nobody's way when fees rise.
        within = [one for one in fit if one.fee_ceiling_wei >= fees.cap]
        total = sum(one.amount_minor for one in within)
        if len(within) < least or not await self._affordable(address, token, total, head):
            return False
        try:  # these books may be an old copy, and the signer have paid one of them alone before
            before = await journal.known(self._desk, within)
        except SignerUnavailable:
            return False
        within = [one for one in within if one.id not in before]
        within.sort(key=lambda one: (one.created_at, one.id))
        if len(within) < least:
            return False
        try:
            members, gas = await self._together(address, token, within)
        except TOO_LONG as error:
            why = getattr(error, "code", "takes_too_long")
            log.warning("batch.not_made", network=self._desk.network, error=why, of=len(within))
            self._doubtful.took_long(token.code, within)
            if len(within) == 1:
                await self._leave_alone(within[0])
            return True
        self._doubtful.went_well(token.code, within)
        if len(members) < BATCH_FROM or gas >= sum(one.gas_limit for one in members):
            return False
        async with self._desk.db.transaction() as session:
            await self._insert(session, address, token, members, gas)
            hit("batch.before_commit")
        hit("batch.after_commit")
        return True

    async def _affordable(self, address: str, token: Token, total: int, head: BlockRef) -> bool:
        """Whether the address holds it and lets the contract spend it; else it is made to."""
        [held] = await self._desk.chain.balances([address], token.code, head.number)
        if held < total:
            return False
        assert self._contract is not None
        call = _ALLOWANCE + bytes(12) + to_bytes20(address) + bytes(12) + to_bytes20(self._contract)
        answer = await self._desk.chain.eth_call(token.contract, bytes(call))
        if len(answer) == 32 and int.from_bytes(answer, "big") >= total:
            return True
        await self._allow(address, token)
        return False

    async def _allow(self, address: str, token: Token) -> None:
        """An allowance without end for our own contract, which spends it only for its operator."""
        assert self._contract is not None
        data = allowance_call(self._contract)
        chain = self._desk.chain
        gas = gas_limit(
            await chain.estimate_gas(address, token.contract, 0, data), chain.network.fee_model
        )
        async with self._desk.db.transaction() as session:
            open_one = await session.scalar(
                text(
                    "SELECT 1 FROM chain_intents WHERE network = :network AND purpose = :purpose"
                    " AND pinned_address = :address AND to_address = :token"
                    " AND state IN ('queued', 'allocated', 'signed', 'sent', 'mined', 'in_review')"
                ),
                {
                    "network": self._desk.network, "purpose": ALLOWANCE, "address": address,
                    "token": token.contract,
                },
            )  # fmt: skip
            if open_one is None:
                await create_intent(
                    session,
                    IntentDraft(
                        purpose=ALLOWANCE,
                        ref=new_id("int"),
                        network=self._desk.network,
                        asset=chain.network.native_asset,
                        to_address=token.contract,
                        amount_minor=0,
                        gas_limit=gas,
                        fee_ceiling_wei=chain.network.max_fee_wei,
                        pinned_address=address,
                        data=data,
                    ),
                )

    async def _together(
        self, address: str, token: Token, fit: Sequence[Intent]
    ) -> tuple[list[Intent], int]:
        """Those that go through together, and the gas to sign for. Raises what is TOO_LONG."""
        until = asyncio.get_running_loop().time() + ESTIMATE_SECONDS
        members, estimate = await self._without_offenders(address, token, fit, until)
        if estimate is None:
            estimate = await self._estimate(address, token, members, until) if members else 0
        gas = gas_limit(estimate, self._desk.chain.network.fee_model)
        if gas >= MAX_GAS:  # without its margin it may run out, and pay nobody
            raise NodeGarbage("more gas than is ever signed")
        return members, gas

    async def _estimate(
        self, address: str, token: Token, members: Sequence[Intent], until: float
    ) -> int:
        assert self._contract is not None
        data = pay_call(members, token.contract)
        async with asyncio.timeout_at(until):
            return await self._desk.chain.estimate_gas(address, self._contract, 0, data)

    async def _without_offenders(
        self, address: str, token: Token, members: Sequence[Intent], until: float
    ) -> tuple[list[Intent], int | None]:
        """Those that go through together, by halving what does not, and what all of them take as it
        was asked for all. Offenders go alone from now on: what a node says of them there decides.
        """
        try:
            return list(members), await self._estimate(address, token, members, until)
        except NodeRejected:
            if len(members) == 1:
                await self._leave_alone(members[0])
                return [], None
            middle = len(members) // 2
            first, _ = await self._without_offenders(address, token, members[:middle], until)
            second, _ = await self._without_offenders(address, token, members[middle:], until)
            return first + second, None

    async def _leave_alone(self, intent: Intent) -> None:
        async with self._desk.db.transaction() as session:
            await session.execute(
                text("UPDATE chain_intents SET alone = true WHERE id = :id"), {"id": intent.id}
            )
        log.warning("batch.offender", intent=intent.id)

    async def _insert(
        self,
        session: AsyncSession,
        address: str,
        token: Token,
        members: Sequence[Intent],
        gas: int,
    ) -> None:
        assert self._contract is not None
        batch_id = await create_intent(
            session,
            IntentDraft(
                purpose=PAYOUT_BATCH,
                ref=new_id("int"),
                network=self._desk.network,
                asset=self._desk.chain.network.native_asset,
                to_address=self._contract,
                amount_minor=0,
                gas_limit=gas,
                fee_ceiling_wei=min(one.fee_ceiling_wei for one in members),
                pinned_address=address,
                data=pay_call(members, token.contract),
            ),
        )
        # The order of the call is the order in which they are read again (repository.members).
        joined = await session.execute(
            text(
                "UPDATE chain_intents SET batch_id = :batch, waiting_for = NULL,"
                " updated_at = clock_timestamp() WHERE id = ANY(:ids) AND state = 'queued'"
                " AND batch_id IS NULL RETURNING id"
            ),
            {"batch": batch_id, "ids": [one.id for one in members]},
        )
        if len(joined.all()) != len(members):
            raise NodeGarbage("a member was taken back meanwhile")  # nothing is written
        log.info("batch.made", batch=batch_id, token=token.code, members=len(members))


def _fits(intent: Intent, token: Token, most: int | None) -> bool:
    """`most`: what the signer lets pass without an operator (None: all)."""
    return (
        intent.asset == token.code
        and (most is None or intent.amount_minor <= most)
        and intent.pinned_address is None
        and intent.data is None
        and not intent.alone
        and intent.waiting_for not in ("approval", "review")
    )


class BatchFollower:
    """Follows batches and allowances: members go along, gas that paid nobody is the house's.

    `desk` is the one that carries this follower: members move through it (`with_batches`).
    """

    def __init__(self) -> None:
        self.desk: Desk | None = None

    async def intent_moved(
        self,
        session: AsyncSession,
        *,
        intent: Intent,
        previous: State,
        at: datetime | None,
        receipt: Receipt | None,
    ) -> None:
        """Take the members along."""
        if self.desk is None:
            raise AssertionError("a batch follower without its desk")
        members = await beside.members(session, intent.id)
        ended_badly = intent.state in (State.FINAL_REVERTED, State.CANCELLED, State.FAILED)
        if ended_badly:
            for member in members:
                await self.desk.move(
                    session, member.id, State.QUEUED, batch_id=None, alone=True, **NOT_MINED
                )
        elif intent.state is State.FINAL_OK and members:
            await self._paid(session, intent, members, at, receipt)
        else:
            for member in members:
                await self.desk.move(session, member.id, intent.state, at=at, **_seen(intent))
        if intent.gas_fee_wei and (ended_badly or (intent.state is State.FINAL_OK and not members)):
            await _book_gas(session, self.desk, intent, at)

    async def vouches_for(self, session: AsyncSession, intent: Intent) -> bool:
        """Every member is vouched for by its own follower, and the call pays exactly them."""
        desk = self.desk
        if desk is None or intent.data is None or intent.amount_minor != 0:
            return False
        network = desk.chain.network
        contract = network.contracts.get("batch_payout")
        if intent.purpose == ALLOWANCE:
            listed = {token.contract for token in network.tokens}
            return contract is not None and (
                intent.to_address in listed and intent.data == allowance_call(contract)
            )
        members = await beside.members(session, intent.id)
        codes = {member.asset for member in members}
        token = network.token(next(iter(codes))) if len(codes) == 1 else None
        if token is None or intent.to_address != contract:
            return False
        for member in members:
            follower = desk.followers.get(member.purpose)
            if member.state is not State.QUEUED or follower is None:
                return False
            if not await follower.vouches_for(session, member):
                return False
        return intent.data == pay_call(members, token.contract)

    async def _paid(
        self,
        session: AsyncSession,
        intent: Intent,
        members: Sequence[Intent],
        at: datetime | None,
        receipt: Receipt | None,
    ) -> None:
        """Final: each member that the contract says it paid is paid. Gas is shared evenly."""
        assert self.desk is not None and receipt is not None
        each, rest = divmod(intent.gas_fee_wei or 0, len(members))
        used = (intent.gas_used or 0) // len(members)
        for place, member in enumerate(members):
            token = self.desk.chain.network.token(member.asset)
            share = each + (rest if place == 0 else 0)
            changes = _seen(intent) | {"gas_fee_wei": share, "gas_used": used}
            why = "no_paid_event"
            if token is not None and says_paid(token, member, receipt, intent.to_address):
                try:
                    async with session.begin_nested():
                        await self.desk.move(
                            session, member.id, State.FINAL_OK, at=at, receipt=receipt, **changes
                        )
                    continue
                except WalletError as error:  # one account that is closed keeps no others
                    why = f"books_refuse_{error.code}"
            log.error("batch.member_in_review", intent=member.id, batch=intent.id, why=why)
            changes["reason"] = why
            if await self.desk.move(session, member.id, State.IN_REVIEW, **changes) is None:
                await repository.update_intent(session, member.id, changes)  # it was there before


NOT_MINED: Final[dict[str, Any]] = dict.fromkeys(
    ("mined_tx_hash", "mined_kind", "mined_block", "mined_block_hash", "mined_status",
     "gas_used", "gas_fee_wei")
)  # fmt: skip


def _seen(intent: Intent) -> dict[str, Any]:
    """Where the batch was mined, for its members; without its gas."""
    names = ("mined_tx_hash", "mined_kind", "mined_block", "mined_block_hash", "mined_status")
    return {name: getattr(intent, name) for name in names}


async def _book_gas(session: AsyncSession, desk: Desk, intent: Intent, at: datetime | None) -> None:
    """Gas that no customer is charged for."""
    code = desk.chain.network.native_asset
    gas = Money(intent.gas_fee_wei or 0, chain_asset(code, "native", NATIVE_DECIMALS, code))
    await ledger.post(
        session,
        ledger.Command(
            kind=intent.purpose,
            ref=intent.id,
            event_at=at,
            meta={"network": desk.network, "tx_hash": intent.mined_tx_hash},
            lines=[
                ledger.Line(accounts.gas_expense(desk.network, code), Money(-gas.minor, gas.asset)),
                ledger.Line(accounts.on_chain(desk.network, code, "hot"), gas),
            ],
        ),
    )


def with_batches(desk: Desk) -> Desk:
    """The same desk, which knows what to do with batches and allowances."""
    follower = BatchFollower()
    followers = {**desk.followers, PAYOUT_BATCH: follower, ALLOWANCE: follower}
    follower.desk = replace(desk, followers=followers)
    return follower.desk


__all__ = ["ALLOWANCE", "PAYOUT_BATCH", "BatchFollower", "Batcher", "with_batches"]
