"""The loop that brings every intent of one network to its end. Any number of workers may run it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog

from chain.blocks import BlockRef
from chain.errors import NodeGarbage, NodeRejected, NodeTimeout, NodeUnavailable
from keys.errors import SignerUnavailable
from keys.request import SignedBefore
from wallet import clock, custody
from wallet.crashpoints import hit
from wallet.onchain import casework, journal, never_signed, repository, signers
from wallet.onchain import network as networks
from wallet.onchain.batch import Batcher, with_batches
from wallet.onchain.burn import burnt, must_burn
from wallet.onchain.deliver import BUMP_AFTER_SECONDS, Deliverer
from wallet.onchain.desk import Desk, leadership
from wallet.onchain.doubtful import REST_SECONDS as BATCH_REST_SECONDS
from wallet.onchain.finality import final_number
from wallet.onchain.freeze import emptying
from wallet.onchain.intents import take_apart
from wallet.onchain.journal import Ahead
from wallet.onchain.keyless import Keyless
from wallet.onchain.observe import IntentObserver
from wallet.onchain.prepare import Preparer
from wallet.onchain.signers import SignerRow
from wallet.onchain.states import IN_FLIGHT, State

TICK_SECONDS = 0.5
REBROADCAST_SECONDS = 3.0
CALM_SECONDS = 60.0
log = structlog.get_logger(__name__)


class IntentRunner:
    """Sends and follows the payments of one network: observe, deliver, then take on new ones."""

    def __init__(
        self,
        desk: Desk,
        *,
        rebroadcast_seconds: float = REBROADCAST_SECONDS,
        bump_seconds: float = BUMP_AFTER_SECONDS,
        batch_rest_seconds: float = BATCH_REST_SECONDS,
    ) -> None:
        self._desk = desk = with_batches(desk)
        self._observer = IntentObserver(desk)
        self._deliverer = Deliverer(
            desk, rebroadcast_seconds=rebroadcast_seconds, bump_seconds=bump_seconds
        )
        self._preparer = Preparer(desk)
        self._batcher = Batcher(desk, rest_seconds=batch_rest_seconds)
        self._calm: dict[str, float] = {}
        self._keyless = Keyless(desk.db, desk.network)

    @property
    def network(self) -> str:
        """Name of the network."""
        return self._desk.network

    async def tick(self) -> None:
        """One pass. Idle networks cost one query, once these books were held against the signer
        and the chain; a node or signer that is away ends the pass."""
        desk = self._desk
        doubts: set[str] = set()  # this pass's own: a job's may run beside the loop's
        async with desk.db.transaction() as session:
            database = await repository.anything_due(session, desk.network)
            if database is None:
                return
            status = await networks.read(session, desk.network)
        try:
            if status is None or not status.usable:
                await self._queued_wait_for("chain")
                return
            await desk.chain.verify_identity()
            head = await desk.chain.head()
            final = await final_number(desk.chain, status=status, head=head)
            has = await self._introduce_signers(final, doubts)
            async with desk.db.transaction() as session:
                known = await signers.all_signers(session, desk.network)
                lanes = list(await repository.lanes(session, desk.network))
            missing = set() if has is None else await self._keyless.look(known, has)
            asked = None if has is None else await self._signed_before(known)
            signer_there, before = asked is not None, asked or {}
            async with desk.db.transaction() as session:
                kept = [one for ahead in before.values() for one in ahead.waiting]
                await take_apart(session, desk.network, keep=kept)
            plain = not before
            strange, taken = await self._nonces_of_nobody(known, before, doubts)
            looked = signer_there and not doubts  # else what was paid may be waiting here
            if looked and plain:
                await self._compared(database)
            # The least busy lane chooses first; addresses that take nothing new come before all.
            known.sort(key=lambda row: lanes.index(row.address) if row.address in lanes else -1)
            for signer in known:
                async with leadership(desk.db, f"signer/{desk.network}/{signer.address}") as mine:
                    if mine:
                        gives = signer_there and signer.address not in taken | missing
                        ahead = before.get(signer.address, Ahead())
                        await self._serve(
                            signer, head, final, gives=gives, strange=strange, ahead=ahead,
                            missing=missing,
                        )  # fmt: skip
            if not signer_there or not has or (lanes and missing.issuperset(lanes)):
                await self._queued_wait_for("signer")
                return
            if looked and not plain and await self._all_written():
                await self._compared(database)
        except (NodeUnavailable, NodeTimeout) as error:
            log.warning("node.away", network=desk.network, error=error.code)
            await self._queued_wait_for("chain")

    async def _all_written(self) -> bool:
        """Whether every address of which the signer knows more than these books is halted: what
        was signed for what waits here has its row again."""
        async with self._desk.db.transaction() as session:
            known = await signers.all_signers(session, self._desk.network)
        left = await self._signed_before([row for row in known if row.halted_reason is None])
        return left == {}

    async def _compared(self, database: str) -> None:
        async with self._desk.db.transaction() as session:
            await signers.compared(session, self._desk.network, within=database)

    async def _signed_before(self, known: Sequence[SignerRow]) -> dict[str, Ahead] | None:
        """What the signer has signed at hot addresses beyond these books, by address, where it has
        any. None when it is away."""
        try:
            found = {
                row.address: await journal.ahead(self._desk, row.address, row.next_nonce)
                for row in known
                if row.role == "hot"
            }
        except SignerUnavailable:
            return None
        return {address: ahead for address, ahead in found.items() if ahead.places}

    async def _nonces_of_nobody(
        self, known: Sequence[SignerRow], before: dict[str, Ahead], doubts: set[str]
    ) -> tuple[bool, set[str]]:
        """Whether a hot address has used nonces that were never given, which halts it, or its
        signer has signed what no row knows. Until an operator has looked no hot address pays
        customers: these books may be an old copy, and what waits in them may have been paid by it,
        in a batch whose members no signer knows. So while a nonce of nobody waits in the pool; the
        second: addresses of which one does, which give none: the signer knows it as another's.
        While addresses are emptied `before` halts them and is left out from then on."""
        async with self._desk.db.transaction() as session:
            emptied = await emptying(session, self._desk.network)
        if emptied:  # what is saved goes behind it; but nobody takes back what it may have paid
            for address in [*before]:
                await self._contradicted(address, before.pop(address))
            return False, set()
        batches = "batch_payout" in self._desk.chain.network.contracts
        halted, taken = False, set()
        for row in known:
            if row.role != "hot" or row.halted_reason not in (None, *signers.CONTRADICTED):
                continue
            ahead = before.get(row.address, Ahead())
            count = await self._desk.chain.nonce(row.address)
            halted |= await self._signed_since(row, ahead) and batches
            if not ahead.explains(range(row.next_nonce, count)):
                if await self._halted(row.address, doubts):
                    halted = True
                elif ahead.strange:  # it was emptied once; that stranger is its own signer
                    await self._contradicted(row.address, ahead)
                    halted |= batches
            elif ahead.strange or row.halted_reason in signers.CONTRADICTED[1:]:
                await self._contradicted(row.address, ahead, halted_only=not ahead.strange)
                halted |= batches
            elif batches and await self._in_pool(row, ahead):
                taken.add(row.address)
        for address in taken:
            self._calm.pop(address, None)
        await self._close_calm({row.address for row in known if row.role == "hot"} - taken)
        if halted or taken:
            await self._queued_wait_for("review")
        return halted or bool(taken), taken

    async def _signed_since(self, row: SignerRow, ahead: Ahead) -> bool:
        """Whether the signer of an address that stands halted here has signed more at it, also for
        what waits here: that is not written again meanwhile, and nobody takes it back."""
        since = row.halted_reason is not None and bool(ahead.places)
        if since:
            await self._contradicted(row.address, ahead, halted_only=not ahead.strange)
        return since

    async def _contradicted(self, address: str, ahead: Ahead, *, halted_only: bool = False) -> None:
        """Halt it: its signer has used nonces for what these books do not have. Not where another
        worker has written their rows since, or an operator has let it go on behind them; with
        `halted_only` not where one has let it go on at all."""
        desk = self._desk
        async with desk.db.transaction() as session:
            now = await signers.lock_signer(session, network=desk.network, address=address)
            left = [one.nonce + 1 for one in ahead.places if one.nonce >= now.next_nonce]
            if left and (now.halted_reason is not None or not halted_only):
                await casework.halt_signer(
                    session, network=desk.network, address=address, reason=signers.NONCE_USED,
                    used=max(left),
                )  # fmt: skip

    async def _in_pool(self, row: SignerRow, ahead: Ahead) -> bool:
        """Whether the node's pool has a nonce that was never given. A node that says nothing of its
        pool, or nothing that can be read, shows none."""
        chain = self._desk.chain
        try:
            try:
                count = await chain.nonce_in_pool(row.address)
            except NodeGarbage:  # its failure: where there is another node, that one is asked
                count = await chain.nonce_in_pool(row.address)
        except (NodeRejected, NodeGarbage):
            return False
        if ahead.explains(range(row.next_nonce, count)):
            return False
        async with self._desk.db.transaction() as session:  # what was given meanwhile is ours
            now = await signers.lock_signer(
                session, network=self._desk.network, address=row.address
            )
            if count > now.next_nonce:
                await casework.nonce_of_nobody(session, self._desk.network, row.address, count)
        return count > now.next_nonce

    async def _close_calm(self, addresses: set[str]) -> None:
        """No nonce of nobody waits at these. Its case ends once none did for a while: a node may
        forget it for a moment, or another node not know it."""
        now = clock.steady()
        calm = [one for one in addresses if now - self._calm.setdefault(one, now) >= CALM_SECONDS]
        if not calm:
            return
        async with self._desk.db.transaction() as session:
            await casework.nobody_waits(session, self._desk.network, calm)
        self._calm |= dict.fromkeys(calm, math.inf)

    async def _halted(self, address: str, doubts: set[str]) -> bool:
        """Halt it for what it did, by the nonce that is the next one now. False while it is
        emptied, and when it was. While nodes differ about that it is not halted, and nobody pays
        customers all the same: it is among the `doubts`."""
        desk = self._desk
        count = await desk.chain.nonce(address)
        async with desk.db.transaction() as session:
            now = await signers.lock_signer(session, network=desk.network, address=address)
            if count <= now.next_nonce or await emptying(session, desk.network):
                return False
            if await signers.emptied(session, network=desk.network, address=address):
                return False
        if not await desk.chain.passed(address, count - 1):
            log.error("node.nonces_differ", address=address, nonce=count - 1)
            doubts.add(address)
            return True
        async with desk.db.transaction() as session:
            now = await signers.lock_signer(session, network=desk.network, address=address)
            if count > now.next_nonce:
                await casework.halt_signer(
                    session, network=desk.network, address=address, reason=signers.FOREIGN,
                    used=count,
                )  # fmt: skip
        return True

    async def _serve(
        self, signer: SignerRow, head: BlockRef, final: int, *, gives: bool, strange: bool,
        ahead: Ahead, missing: set[str],
    ) -> None:  # fmt: skip
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
        if gives and ahead.places and not await self._write_again(address, ahead):
            return
        if gives:
            async with desk.db.transaction() as session:
                gives = not await never_signed.hole(
                    session, network=desk.network, address=address, used=mined_nonces
                )
        if gives and signer.role == "hot" and not strange:
            await self._batcher.run(address, head=head)
        if gives and await self._preparer.run(
            address, head=head, role=signer.role, own_only=strange, missing=missing
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

    async def _write_again(self, address: str, ahead: Ahead) -> bool:
        """Whether all that its signer has signed beyond these books has its row again. Else it is
        halted: what it gives next was given before."""
        try:
            for one in ahead.places:  # behind one that cannot be written nothing is
                if one.intent_id not in ahead.waiting or not await journal.write_again(
                    self._desk, [one]
                ):
                    await self._contradicted(address, ahead)
                    return False
        except SignerUnavailable:
            return False
        return True

    async def _may_sign(self, address: str) -> bool:
        async with self._desk.db.transaction() as session:
            known = await signers.all_signers(session, self._desk.network)
            passed = await repository.nonce_passed(
                session, network=self._desk.network, address=address
            )
            emptied = await emptying(session, self._desk.network)
        row = next((item for item in known if item.address == address), None)
        return row is not None and signers.may_give(row, emptied=emptied) and not passed

    async def _introduce_signers(self, final: int, doubts: set[str]) -> set[str] | None:
        """Know every address the signer signs for. Its nonce starts where the chain stands, or
        where the signer began: what it signed before these books knew the address is looked at.

        Those it signs for; None when the signer is away: no nonce is given then, and what is signed
        goes on.
        """
        desk = self._desk
        try:
            addresses = await desk.signer.hot_addresses()
        except SignerUnavailable:
            return None
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
            signed: Sequence[SignedBefore] = ()
            if not trap:
                try:
                    signed = await desk.signer.signed_from(
                        chain_id=desk.chain.network.chain_id, address=address, nonce=0
                    )
                except SignerUnavailable:
                    return None
                nonce = min([nonce, *(one.nonce for one in signed)])
            if nonce and not signed and not await desk.chain.passed(address, nonce - 1):
                doubts.add(address)
                continue  # begun too far ahead none of its payments would ever be mined
            async with desk.db.transaction() as session:
                await signers.add_signer(
                    session, network=desk.network, address=address, next_nonce=nonce
                )
                await custody.register_house_address(
                    session, network=desk.network, address=address, place="hot"
                )
        return set(addresses)

    async def _queued_wait_for(self, reason: str) -> None:
        async with self._desk.db.transaction() as session:
            queued = await repository.intents_in(
                session, network=self._desk.network, states=[State.QUEUED]
            )
            ids = [intent.id for intent in queued]
            await repository.set_waiting(session, ids, reason, queued_only=True)
