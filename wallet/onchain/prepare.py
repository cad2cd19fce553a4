"""From a promise to fixed bytes: estimate outside, then one transaction gives nonce and payload.

No nonce is used before the payment is affordable, payable and within its bounds; afterwards the
nonce belongs to this intent for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import BlockRef
from chain.client import ChainClient
from chain.errors import FeeCeiling, NodeGarbage, NodeRejected, NodeTimeout, NodeUnavailable
from chain.fees import FeeQuote, least_cap
from chain.transactions import encode_unsigned, transfer_data
from keys.errors import SignerUnavailable
from wallet import clock
from wallet.crashpoints import hit
from wallet.onchain import (
    approvals,
    beside,
    casework,
    journal,
    pauses,
    queue,
    repository,
    signers,
    tokens,
)
from wallet.onchain import network as networks
from wallet.onchain.bids import affordable, signed_up_to
from wallet.onchain.counts import fees_for_all
from wallet.onchain.desk import Desk
from wallet.onchain.fields import build_fields
from wallet.onchain.freeze import OWN_PURPOSES, frozen, lets_go
from wallet.onchain.intents import PAYOUT_BATCH
from wallet.onchain.repository import Intent
from wallet.onchain.states import UNMINED, State

MAX_IN_FLIGHT = 16  # geth keeps so many executable transactions of one account for certain
ESTIMATE_SECONDS = 5.0
SLOW_AGAIN_SECONDS = 60.0
"""A payment whose recipient's code takes longer than that to be tried out, which may be on purpose:
it stops nobody else's pass, no node is blamed, and after one of its kind no coins for an address
with code are tried out in that pass."""
TRYING_SECONDS = 2.0
"""Nor after so much time for all that was tried out: many may each take a little less than that."""
LONG_PART = 20
"""What took more than this part of that time is tried out behind everybody else from then on: else
the few that never go would have it, pass for pass, and no other code its turn."""
REMEMBERED = 1000
"""Above so many of these, those that are not queued any more are forgotten."""
FOREIGN = signers.FOREIGN
log = structlog.get_logger(__name__)


async def estimate_intent(chain: ChainClient, intent: Intent, sender: str) -> int:
    """Gas this intent would use now. Raises NodeRejected when it would revert."""
    if intent.data is not None:
        return await chain.estimate_gas(sender, intent.to_address, intent.amount_minor, intent.data)
    return await estimate_gas(
        chain,
        sender=sender,
        asset=intent.asset,
        to_address=intent.to_address,
        amount_minor=intent.amount_minor,
    )


async def estimate_gas(
    chain: ChainClient, *, sender: str, asset: str, to_address: str, amount_minor: int
) -> int:
    """Gas this payment would use now. Raises NodeRejected when it would revert."""
    token = chain.network.token(asset)
    if token is None:
        return await chain.estimate_gas(sender, to_address, amount_minor, b"")
    data = transfer_data(to=to_address, amount_minor=amount_minor)
    return await chain.estimate_gas(sender, token.contract, 0, data)


def would_revert(error: NodeRejected) -> bool:
    """Whether a node's refusal to estimate says that the call reverts (code 3 by convention)."""
    return error.rpc_code == 3 or "revert" in error.message.lower()


class Preparer:
    """Gives nonces to queued intents of one network."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._behind: dict[str, queue.Place | None] = {}
        self._slow: dict[str, float] = {}
        self._long: set[str] = set()
        self._tried_slow, self._trying = False, 0.0
        self._forget_above = REMEMBERED
        self._signed_up_to: int | None = None

    async def run(
        self, address: str, *, head: BlockRef, role: str = "hot", own_only: bool = False,
        missing: Collection[str] = (),
    ) -> int:  # fmt: skip
        """Allocate what can be paid from `address` now; returns how many. Leader only. `role`: the
        signer's, `hot`, `warm` or `deposit`. `own_only`: what the house moves within itself.
        `missing`: hot addresses that may give nothing, and take no share of the queue."""
        desk = self._desk
        async with desk.db.transaction() as session:
            signer = await signers.lock_signer(session, network=desk.network, address=address)
            waiting = await pauses.paused(session)
            if waiting:
                await pauses.say_so(session, desk.network)
            freeze = await frozen(session, desk.network)
            emptied = freeze is not None and freeze.evacuate_to is not None
            leave = await tokens.leaving(session, desk.chain.network, emptied=emptied)
            # What may not go now is left out here: however much it is, it hides nothing that may.
            queued, self._behind[address] = await queue.turn(
                session,
                network=desk.network,
                sender=address,
                assets=leave,
                paused=waiting,
                purposes=freeze.lets if freeze else OWN_PURPOSES if own_only else None,
                behind=self._behind.get(address),
            )
            lanes = await repository.lanes(session, desk.network)
            lanes = {one: busy for one, busy in lanes.items() if one not in missing}
            await self._forget(session)
        if queued and all(intent.pinned_address == address for intent in queued):
            room = MAX_IN_FLIGHT  # nobody else may send them
        else:
            room = share(lanes, address, len(queued))
        if not queued or room == 0:
            return 0
        queued = await self._never_signed(queued, address)
        hit("intent.before_estimate")
        try:
            fees = await fees_for_all(desk.chain, urgent=emptied)
        except FeeCeiling:
            await self._wait([intent.id for intent in queued], "fees")
            return 0
        # What is dearer is refused, its nonce used.
        self._signed_up_to = await signed_up_to(desk, asked=least_cap(fees.base_fee, fees.tip))
        mined = await desk.chain.nonce(address)
        if mined > signer.next_nonce and not await desk.chain.passed(address, mined - 1):
            log.error("node.nonces_differ", address=address, nonce=mined - 1)
            return 0  # no halt, and no nonce behind others, by the word of one of several
        if role != "deposit":  # the signer lets that out to the treasury only, and asks nobody
            queued = await self._approved(queued, address, warm=role == "warm")
        done, self._tried_slow, self._trying = 0, False, 0.0
        left = []
        # One that must wait holds up none behind it.
        for intent in sorted(queued, key=lambda one: one.id in self._long):
            if done >= room:
                break
            if await self._not_yet(intent):
                left.append(intent.id)  # it waits from now on, and takes no new one's place
            else:
                done += await self._prepare(intent, address, fees, head, mined)
        await self._wait(left, "chain")
        return done

    async def _never_signed(self, queued: Sequence[Intent], address: str) -> list[Intent]:
        """Without those that the signer has paid before: these books are an old copy, and each has
        its row again at the address that paid it, or at once where that one was given up and serves
        nobody any more. No signer, no answer: nothing is signed then."""
        try:
            before = await journal.known(self._desk, queued)
            if not before:
                return list(queued)
            async with self._desk.db.transaction() as session:
                known = await signers.all_signers(session, self._desk.network)
            writes = {one.address for one in known if one.halted_reason == signers.COMPROMISED}
            here = [place for place in before.values() if place.address in {address, *writes}]
            await journal.write_again(self._desk, here)
        except SignerUnavailable:
            return []
        await self._wait(sorted(before), "review")
        return [intent for intent in queued if intent.id not in before]

    async def _forget(self, session: AsyncSession) -> None:
        """Of what took long: payments that were taken back, or end otherwise."""
        known = self._long | self._slow.keys()
        if len(known) <= self._forget_above:
            return
        left = await repository.still_queued(session, sorted(known))
        self._long &= left
        self._slow = {one: again for one, again in self._slow.items() if one in left}
        self._forget_above = max(REMEMBERED, 2 * len(left))

    async def _not_yet(self, intent: Intent) -> bool:
        """Whether trying it out may take long, and is for a later pass."""
        again = self._slow.get(intent.id)
        if again is not None and clock.steady() < again:
            return True
        if not self._tried_slow:
            self._tried_slow = again is not None
            return False
        if again is not None:
            return True
        chain = self._desk.chain
        ours = intent.data is not None or intent.asset != chain.network.native_asset
        return not ours and await chain.is_contract(intent.to_address)

    async def _prepare(
        self, intent: Intent, address: str, fees: FeeQuote, head: BlockRef, mined: int
    ) -> bool:
        ceiling = min(intent.fee_ceiling_wei, self._signed_up_to or intent.fee_ceiling_wei)
        tip, cap = affordable(fees, ceiling)
        if cap < least_cap(fees.base_fee, tip):
            await self._wait([intent.id], "fees")
            return False
        if intent.exact_fee:
            tip = cap = ceiling
        if not await self._liquid(intent, address, cap, head):
            await self._wait([intent.id], "liquidity")
            return False
        if not await self._payable(intent, address):
            return False
        hit("intent.before_allocate")
        async with self._desk.db.transaction() as session:
            allocated = await self._allocate(session, intent.id, address, tip, cap, mined)
            hit("intent.before_commit_allocated")
        hit("intent.after_commit_allocated")
        return allocated

    async def _allocate(
        self, session: AsyncSession, intent_id: str, address: str, tip: int, cap: int, mined: int
    ) -> bool:
        """Transaction A: nonce and unsigned payload, under the signer's row."""
        desk = self._desk
        signer = await signers.lock_signer(session, network=desk.network, address=address)
        freeze = await frozen(session, desk.network)
        emptied = freeze is not None and freeze.evacuate_to is not None
        if not signers.may_give(signer, emptied=emptied):
            return False
        await networks.require_usable(session, desk.network)
        moving = await repository.get_intent(session, intent_id)
        if freeze is not None and not await lets_go(session, freeze, moving):
            return False  # frozen since this pass began, or not what empties the address
        inside = await beside.members(session, intent_id)
        saves = emptied and moving.purpose == "treasury"
        halted = {} if saves else await tokens.halted(session, desk.network)
        if any(one.asset in halted for one in (moving, *inside)) or await pauses.holds_back(
            session, intent_id
        ):
            await repository.set_waiting(session, [intent_id], "review", queued_only=True)
            return False
        if signer.deposit_index is not None or (saves and signer.role == "hot"):
            # An authorisation that counted has used up a nonce of a deposit address, too; and who
            # has a hot key uses its nonces: what is left there is saved behind theirs.
            signer = replace(signer, next_nonce=max(signer.next_nonce, mined))
        if mined > signer.next_nonce:
            # The chain has used nonces that we never gave: somebody else holds this key, or our
            # database is an old copy. Either way nobody pays from here until a person has looked.
            await casework.halt_signer(
                session, network=desk.network, address=address, reason=FOREIGN
            )
            log.error("signer.halted", network=desk.network, address=address, reason=FOREIGN)
            return False
        busy = await repository.in_flight_count(session, network=desk.network, address=address)
        if busy >= MAX_IN_FLIGHT:
            return False
        if not await self._vouched_for(session, intent_id):
            return False
        nonce = signer.next_nonce
        moved = await desk.move(
            session, intent_id, State.ALLOCATED, from_address=address, nonce=nonce
        )
        if moved is None:
            return False
        fields = build_fields(desk.chain, moved, nonce=nonce, tip=tip, cap=cap)
        await repository.insert_attempt(
            session,
            intent=moved,
            seq=1,
            kind="pay",
            unsigned=encode_unsigned(fields),
            tip_wei=tip,
            cap_wei=cap,
        )
        await signers.set_next_nonce(
            session, network=desk.network, address=address, next_nonce=nonce + 1
        )
        return True

    async def _approved(
        self, queued: Sequence[Intent], address: str, *, warm: bool
    ) -> list[Intent]:
        """Without those that too few operators have signed for (above the signer's limit, or out of
        warm), by signatures that count: asked now, they would be refused for good. No signer, no
        answer: nothing is signed anyway."""
        network = self._desk.chain.network
        try:
            limits = (await self._desk.signer.approval_limits()).get(network.chain_id)
        except SignerUnavailable:
            return []
        if warm and (limits is None or address not in limits.warm):
            # Its key is not there, or its policy lets nothing leave: each try would cost a nonce.
            await self._wait([intent.id for intent in queued], "signer")
            return []
        if limits is None:
            return list(queued)
        asked = {}
        for intent in queued:
            token = network.token(intent.asset)
            asset = "native" if token is None else token.contract
            needed = limits.asks(
                asset=asset, amount=intent.amount_minor, to=intent.to_address, sender=address
            )
            if intent.data is None and needed:
                asked[intent.id] = (intent, needed)
        if not asked:
            return list(queued)
        async with self._desk.db.transaction() as session:
            given = await approvals.given_for(session, list(asked))
        missing = {
            intent_id
            for intent_id, (intent, needed) in asked.items()
            if len(
                approvals.counted(network, intent, given.get(intent_id, ()), limits, sender=address)
            )
            < needed
        }
        await self._wait(sorted(missing), "approval")
        return [intent for intent in queued if intent.id not in missing]

    async def _vouched_for(self, session: AsyncSession, intent_id: str) -> bool:
        """Whether somebody's held money stands behind it. Else it waits for a person.

        A row in the queue alone pays nobody: whoever can write one needs a withdrawal and a hold in
        the books that say the same.
        """
        intent = await repository.lock_intent(session, intent_id)
        if intent.state is not State.QUEUED:
            return True  # a rival was faster; the move says so
        if intent.batch_id is not None:
            return False  # a rival has put it into a batch since it was looked at
        follower = self._desk.followers.get(intent.purpose)
        if follower is not None and await follower.vouches_for(session, intent):
            return True
        log.error("intent.nobody_vouches", intent=intent.id, purpose=intent.purpose)
        await repository.set_waiting(session, [intent.id], "review")
        return False

    async def _liquid(self, intent: Intent, address: str, cap: int, head: BlockRef) -> bool:
        """Whether the hot wallet covers amount and gas beside everything already on its way."""
        desk = self._desk
        native = desk.chain.network.native_asset
        async with desk.db.transaction() as session:
            open_intents = await repository.intents_in(
                session, network=desk.network, states=UNMINED, address=address
            )
            batches = [one.id for one in (*open_intents, intent) if one.purpose == PAYOUT_BATCH]
            inside = [m for one in batches for m in await beside.members(session, one)]
        gas = sum(other.gas_limit * other.fee_ceiling_wei for other in open_intents)
        needs = {native: gas + intent.gas_limit * cap}
        for other in (*open_intents, intent, *inside):
            needs[other.asset] = needs.get(other.asset, 0) + other.amount_minor
        for asset in sorted({native, intent.asset, *(member.asset for member in inside)}):
            if not desk.chain.network.lists(asset):
                continue  # of a batch that is out already, or that nobody will vouch for
            balance = await desk.chain.said(address, asset, head.number)
            if balance is None or balance < needs[asset]:  # who says nothing keeps no others
                log.warning("signer.short", network=desk.network, address=address, asset=asset)
                return False
        return True

    async def _payable(self, intent: Intent, address: str) -> bool:
        """Whether the chain would take it within its gas. A clear no fails it, nonce unused."""
        began = clock.steady()
        try:
            if intent.authorizations:
                return True  # a node estimates as if they did not count; the call cannot revert
            async with asyncio.timeout(ESTIMATE_SECONDS):
                gas = await estimate_intent(self._desk.chain, intent, address)
        except (TimeoutError, NodeTimeout, NodeUnavailable):
            # It may be why. Where the node is away what is asked next says so; a pass that ended
            # here a crowd of these would end again and again.
            self._tried_slow = True
            self._slow[intent.id] = clock.steady() + SLOW_AGAIN_SECONDS
            self._long.add(intent.id)
            await self._wait([intent.id], "chain")
            return False
        except NodeRejected as error:
            if not would_revert(error):
                await self._wait([intent.id], "chain")
            elif await self._short(intent, address):
                await self._wait([intent.id], "liquidity")
            else:
                await self._fail(intent, "would_revert")
            return False
        except NodeGarbage:
            await self._wait([intent.id], "chain")
            return False
        finally:
            took = clock.steady() - began
            self._trying += took
            self._tried_slow |= self._trying > TRYING_SECONDS
            if took > TRYING_SECONDS / LONG_PART:
                self._long.add(intent.id)
        self._slow.pop(intent.id, None)
        self._long.discard(intent.id)
        if gas > intent.gas_limit:
            await self._fail(intent, "gas_above_bound")
            return False
        return True

    async def _short(self, intent: Intent, address: str) -> bool:
        """Whether it reverts for want of the token alone: something that was on its way has been
        mined since its balance was read, or another node answers that knows of less."""
        chain = self._desk.chain
        if intent.data is not None or chain.network.token(intent.asset) is None:
            return False
        head = await chain.head()
        balance = await chain.said(address, intent.asset, head.number)
        return balance is None or balance < intent.amount_minor

    async def _fail(self, intent: Intent, reason: str) -> None:
        async with self._desk.db.transaction() as session:
            if intent.purpose not in OWN_PURPOSES and await signers.may_have_paid(
                session, network=intent.network, since=intent.created_at
            ):  # its recipient may take it but once
                await repository.set_waiting(session, [intent.id], "review", queued_only=True)
                return
            await self._desk.move(session, intent.id, State.FAILED, reason=reason)
            hit("intent.before_commit_failed")
        hit("intent.after_commit_failed")

    async def _wait(self, intent_ids: Sequence[str], reason: str) -> None:
        if not intent_ids:
            return
        async with self._desk.db.transaction() as session:
            await repository.set_waiting(session, intent_ids, reason, queued_only=True)


def share(lanes: Mapping[str, int], address: str, queued: int) -> int:
    """How many of `queued` this lane may take now, so that all lanes end up equally busy.

    `lanes`: address to nonces in flight. At least one, while it has room: another lane that should
    take it may be unable to pay. Zero for an address that is no lane.
    """
    if address not in lanes:
        return 0
    level = -(-(sum(lanes.values()) + queued) // len(lanes))
    return max(0, min(max(level - lanes[address], 1), MAX_IN_FLIGHT - lanes[address]))
