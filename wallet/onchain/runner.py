"""The loop that brings every intent of one network to its end. Any number of workers may run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from chain.blocks import BlockRef
from chain.errors import NodeRejected, NodeTimeout, NodeUnavailable
from keys.errors import SignerUnavailable
from wallet import custody
from wallet.crashpoints import hit
from wallet.onchain import casework, repository, signers
from wallet.onchain import network as networks
from wallet.onchain.batch import Batcher, with_batches
from wallet.onchain.burn import burnt, must_burn
from wallet.onchain.deliver import BUMP_AFTER_SECONDS, Deliverer
from wallet.onchain.desk import Desk, leadership
from wallet.onchain.finality import final_number
from wallet.onchain.freeze import emptying
from wallet.onchain.intents import take_apart
from wallet.onchain.observe import IntentObserver
from wallet.onchain.prepare import Preparer
from wallet.onchain.signers import SignerRow
from wallet.onchain.states import IN_FLIGHT, State

TICK_SECONDS = 0.5
# `repository.anything_open`, asked about the network.
DUE = (
    "EXISTS (SELECT FROM chain_intents WHERE network = %s"
    " AND state IN ('queued', 'allocated', 'signed', 'sent', 'mined'))"
)
REBROADCAST_SECONDS = 3.0
log = structlog.get_logger(__name__)


class IntentRunner:
    """Sends and follows the payments of one network: observe, deliver, then take on new ones."""

    def __init__(
        self,
        desk: Desk,
        *,
        rebroadcast_seconds: float = REBROADCAST_SECONDS,
        bump_seconds: float = BUMP_AFTER_SECONDS,
    ) -> None:
        self._desk = desk = with_batches(desk)
        self._observer = IntentObserver(desk)
        self._deliverer = Deliverer(
            desk, rebroadcast_seconds=rebroadcast_seconds, bump_seconds=bump_seconds
        )
        self._preparer = Preparer(desk)
        self._batcher = Batcher(desk)
        self._taken: set[str] | None = None

    @property
    def network(self) -> str:
        """Name of the network."""
        return self._desk.network

    async def tick(self) -> None:
        """One pass. Idle networks cost one query; a node or signer that is away ends the pass."""
        desk = self._desk
        async with desk.db.transaction() as session:
            if not await repository.anything_open(session, desk.network):
                return
            await take_apart(session, desk.network)
            status = await networks.read(session, desk.network)
        try:
            if status is None or not status.usable:
                await self._queued_wait_for("chain")
                return
            await desk.chain.verify_identity()
            head = await desk.chain.head()
            final = await final_number(desk.chain, status=status, head=head)
            signer_there = await self._introduce_signers(final)
            async with desk.db.transaction() as session:
                known = await signers.all_signers(session, desk.network)
                lanes = list(await repository.lanes(session, desk.network))
            strange, taken = await self._nonces_of_nobody(known)
            # The least busy lane chooses first; addresses that take nothing new come before all.
            known.sort(key=lambda row: lanes.index(row.address) if row.address in lanes else -1)
            for signer in known:
                async with leadership(desk.db, f"signer/{desk.network}/{signer.address}") as mine:
                    if mine:
                        gives = signer_there and signer.address not in taken
                        await self._serve(signer, head, final, gives=gives, strange=strange)
            if not signer_there:
                await self._queued_wait_for("signer")
        except (NodeUnavailable, NodeTimeout) as error:
            log.warning("node.away", network=desk.network, error=error.code)
            await self._queued_wait_for("chain")

    async def _nonces_of_nobody(self, known: Sequence[SignerRow]) -> tuple[bool, set[str]]:
        """Whether a hot address has used nonces that were never given, which halts it, or its
        signer has signed what no row knows. Until an operator has looked no hot address pays
        customers: these books may be an old copy, and what waits in them may have been paid by it,
        in a batch whose members no signer knows. So while a nonce of nobody waits in the pool, or
        was signed for, whatever pools say; the second: addresses of which one is, which give none:
        the signer knows it as another's."""
        async with self._desk.db.transaction() as session:
            if await emptying(session, self._desk.network):
                return False, set()
        batches = "batch_payout" in self._desk.chain.network.contracts
        halted: set[str] = set()
        taken: set[str] = set()
        signed = await self._signed_for() if batches else {}
        for row in known:
            if row.role != "hot" or row.halted_reason not in (None, *signers.CONTRADICTED):
                continue
            if await self._desk.chain.nonce(row.address) > row.next_nonce:
                if await self._halted(row.address):
                    halted.add(row.address)
            elif batches and row.halted_reason == signers.NONCE_USED:
                halted.add(row.address)
            elif batches and await self._elsewhere(row, signed.get(row.address, 0)):
                taken.add(row.address)
        if taken != self._taken:
            well = {row.address for row in known if row.halted_reason is None} - taken - halted
            async with self._desk.db.transaction() as session:
                await casework.later_nonces(
                    session, network=self._desk.network, addresses=taken, all_well=well
                )
            self._taken = taken
        if halted or taken:
            await self._queued_wait_for("review")
        return bool(halted or taken), taken

    async def _signed_for(self) -> Mapping[str, int]:
        """Hot address → one above the highest nonce its signer's journal knows. A payment gets its
        nonce before it is signed, so that these books are never behind by themselves."""
        try:
            limits = await self._desk.signer.approval_limits()
        except SignerUnavailable:
            return {}  # nothing is given then
        told = limits.get(self._desk.chain.network.chain_id)
        return {} if told is None else told.next_nonces

    async def _elsewhere(self, row: SignerRow, signed: int) -> bool:
        """Whether the node's pool has a nonce that was never given, or the signer signed for one,
        up to `signed`. A node that says nothing of its pool shows none."""
        try:
            count = await self._desk.chain.nonce_in_pool(row.address)
        except NodeRejected:
            count = 0
        count = max(count, signed)
        if count <= row.next_nonce:
            return False
        async with self._desk.db.transaction() as session:  # what was given meanwhile is ours
            now = await signers.lock_signer(
                session, network=self._desk.network, address=row.address
            )
        if count > now.next_nonce:
            log.error("signer.strange_nonce_waits", network=self._desk.network, address=row.address)
        return count > now.next_nonce

    async def _halted(self, address: str) -> bool:
        """Halt it for what it did, by the nonce that is the next one now. False while it is
        emptied, and when it was."""
        desk = self._desk
        count = await desk.chain.nonce(address)
        async with desk.db.transaction() as session:
            now = await signers.lock_signer(session, network=desk.network, address=address)
            if count <= now.next_nonce or await emptying(session, desk.network):
                return False
            if await signers.emptied(session, network=desk.network, address=address):
                return False
            await casework.halt_signer(
                session, network=desk.network, address=address, reason=signers.FOREIGN
            )
        return True

    async def _serve(
        self, signer: SignerRow, head: BlockRef, final: int, *, gives: bool, strange: bool
    ) -> None:
        desk, address = self._desk, signer.address
        async with desk.db.transaction() as session:
            open_intents = await repository.intents_in(
                session, network=desk.network, states=IN_FLIGHT, address=address
            )
        # The count before the receipts: see IntentObserver.run.
        mined_nonces = await desk.chain.nonce(address)
        await self._observer.run(open_intents, head=head, final=final, mined_nonces=mined_nonces)
        if not await self._may_sign(address):
            return
        if gives and signer.role == "hot" and not strange:
            await self._batcher.run(address, head=head)
        if gives and await self._preparer.run(
            address, head=head, role=signer.role, own_only=strange
        ):
            hit("intent.between_allocate_and_deliver")
        async with desk.db.transaction() as session:
            unmined = await repository.intents_in(
                session,
                network=desk.network,
                states=[State.ALLOCATED, State.SIGNED, State.SENT],
                address=address,
            )
        await self._deliverer.run(unmined, mined_nonces=mined_nonces)

    async def _may_sign(self, address: str) -> bool:
        async with self._desk.db.transaction() as session:
            known = await signers.all_signers(session, self._desk.network)
            passed = await repository.nonce_passed(
                session, network=self._desk.network, address=address
            )
            emptied = await emptying(session, self._desk.network)
        row = next((item for item in known if item.address == address), None)
        return row is not None and signers.may_give(row, emptied=emptied) and not passed

    async def _introduce_signers(self, final: int) -> bool:
        """Know every address the signer signs for. Its nonce starts where the chain stands.

        False when the signer is away: no nonce is given then, and what is signed goes on.
        """
        desk = self._desk
        try:
            addresses = await desk.signer.hot_addresses()
        except SignerUnavailable:
            return False
        async with desk.db.transaction() as session:
            known = {row.address for row in await signers.all_signers(session, desk.network)}
        for address in addresses:
            if address in known:
                continue
            identity = await desk.chain.identity()
            trap = must_burn(identity.client_version)
            if trap and not await burnt(desk, address, final=final):
                continue
            nonce = await desk.chain.nonce(address)
            async with desk.db.transaction() as session:
                await signers.add_signer(
                    session, network=desk.network, address=address, next_nonce=nonce
                )
                await custody.register_house_address(
                    session, network=desk.network, address=address, place="hot"
                )
        return True

    async def _queued_wait_for(self, reason: str) -> None:
        async with self._desk.db.transaction() as session:
            queued = await repository.intents_in(
                session, network=self._desk.network, states=[State.QUEUED]
            )
            ids = [intent.id for intent in queued]
            await repository.set_waiting(session, ids, reason, queued_only=True)
