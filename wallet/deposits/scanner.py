"""The scanner of one network: block after block along parent hashes.

Blocks' rows and the scanner's place commit together, so a crash neither skips nor repeats. Every
change compares the place first: two scanners at once get in each other's way, never in the books'.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from chain.answerable import answerable, blame
from chain.blocks import Block, BlockRef
from chain.client import ChainClient
from chain.errors import ChainError, NodeGarbage, NodeTimeout, NodeUnavailable
from chain.observe import ObservedDeposit, Watched
from chain.ranges import Range
from chain.receipts import Ahead
from chain.traces import InnerPayments
from chain.window import Window
from wallet import custody
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.deposits import (
    backfill,
    casework,
    cold_gas,
    known,
    lineage,
    losses,
    orphans,
    repository,
)
from wallet.deposits.credit import Crediter, tell
from wallet.deposits.forks import common_ancestor
from wallet.deposits.lineage import Tip
from wallet.deposits.orphans import Moved
from wallet.deposits.quiet import Settled, nothing_new
from wallet.deposits.repository import NewDeposit
from wallet.deposits.witnesses import Witnesses
from wallet.money import AssetBook
from wallet.onchain import network as networks
from wallet.onchain import tokens
from wallet.onchain.finality import final_number
from wallet.onchain.network import NetworkStatus

TICK_SECONDS = 0.5
BLOCKS_AT_ONCE = 20
RANGE_BLOCKS = 100  # in one query for logs, where a node allows it
DEEP = 2  # times the confirmations below the head: read in ranges
BLOCKS_PER_TICK = 500
CREDITS_PER_TICK = 500
SCAN_ALL_BELOW = 10_000  # a chain shorter than this when we first see it is scanned from its start
WATCH_OVERLAP = 1_000  # addresses; more than are being issued at any moment
Arrival = tuple[ObservedDeposit, bool]
"""What the logs say, and whether balances agree."""
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Read:
    """Blocks that follow each other, what arrived in each by its hash, and cold addresses' gas."""

    blocks: list[Block] = field(default_factory=list)
    arrived: dict[str, Sequence[Arrival]] = field(default_factory=dict)
    burnt: list[cold_gas.Burnt] = field(default_factory=list)

    def tip_after(self, tip: Tip) -> Tip:
        """Where we stand once they are stored behind `tip`."""
        if not self.blocks:
            return tip
        last = self.blocks[-1]
        return Tip(last.number, last.hash, tip.final_number)


class Scanner:
    """Sees what arrives at addresses of ours and has it credited once it is final."""

    def __init__(self, db: Database, chain: ChainClient, assets: AssetBook) -> None:
        self._db = db
        self._chain = chain
        self._assets = assets
        self._network = chain.network.name
        self._crediter = Crediter(db, assets)
        self._witnesses = Witnesses(db, chain, assets)
        self._window = Window(min(BLOCKS_AT_ONCE, chain.network.logs_window))
        self._ranges = Window(min(RANGE_BLOCKS, chain.network.logs_window))
        self._inner = InnerPayments(chain) if "traces" in chain.network.supports else None
        self._watched = Watched()
        self._cold: dict[str, str] = {}
        self._watched_until: int | None = None
        self._settled: Settled | None = None
        self._waits_at = ""

    @answerable()
    async def tick(self) -> None:
        """One pass: rejoin the node's chain, scan what is new, confirm, credit. Safe to repeat."""
        if self._settled is not None and await nothing_new(self._db, self._chain, self._settled):
            return
        self._settled = None
        async with self._db.transaction() as session:
            status = await networks.read(session, self._network)
            tip = await lineage.tip(session, self._network)
        if status is None or not status.usable:
            return
        began = None if tip is None else Settled(tip, status.snapshot_hash)
        try:
            identity = await self._chain.verify_identity()
            if status.block1_hash is not None and identity.block1_hash != status.block1_hash:
                return  # another chain: the observer says so
            head = await self._chain.head()
            if tip is None:
                tip = await self._start(head)
            tip = None if tip is None else await self._rejoin(tip, head)
            tip = None if tip is None else await self._advance(tip, head)
            if tip is not None:
                await self._promote(tip, status)
                self._settled = began
        except (NodeUnavailable, NodeTimeout) as error:
            log.warning("node.away", network=self._network, error=error.code)

    # Where to stand

    async def _start(self, head: BlockRef) -> Tip | None:
        number = head.number - self._chain.network.confirmations
        first = await self._chain.block_ref(0 if head.number < SCAN_ALL_BELOW else number)
        if first is None:
            return None
        async with self._db.transaction() as session:
            await lineage.start(session, self._network, first)
            tip = await lineage.tip(session, self._network)
            hit("scanner.before_commit_start")
        hit("scanner.after_commit_start")
        return tip

    async def _rejoin(self, tip: Tip, head: BlockRef) -> Tip | None:
        """Stand on the chain the node follows. None: not now (the node is behind, or all halts)."""
        height = min(tip.number, head.number)
        there = await self._chain.block_ref(height)
        async with self._db.transaction() as session:
            kept = await lineage.kept(session, self._network, at_most=height, limit=1)
        if there is None:
            self._wait_at(tip, "missing", height)
        if there is None or not kept:
            return None
        if kept[0] == (there.number, there.hash):
            return tip if head.number >= tip.number else None  # behind us: wait, unlearn nothing
        ancestor = await common_ancestor(self._db, self._chain, at_most=height)
        return await self._leave_fork(tip, ancestor)

    async def _leave_fork(self, tip: Tip, ancestor: tuple[int, str] | None) -> Tip | None:
        """Take back what the lost blocks brought, unless it was final: then everything stops.

        What was credited above a shared block is booked as lost at once; the lineage stays, for
        people to decide which chain is right (`wallet.deposits.forks`).
        """
        async with self._db.transaction() as session:
            now = await lineage.tip(session, self._network, lock=True)
            if now is None or (now.number, now.hash) != (tip.number, tip.hash):
                return None
            if ancestor is None or ancestor[0] < now.final_number:
                below = "all kept blocks" if ancestor is None else f"block {ancestor[0]}"
                await networks.halt(
                    session,
                    self._network,
                    f"reorganised down to {below}; final was {now.final_number}",
                    evidence={
                        "tip": now.number,
                        "tip_hash": now.hash,
                        "final": now.final_number,
                        "common_block": None if ancestor is None else ancestor[0],
                    },
                )
                if ancestor is not None:
                    await losses.book_losses(
                        session, self._assets, network=self._network, above=ancestor[0]
                    )
                hit("scanner.before_commit_halted")
                return None
            back = Tip(ancestor[0], ancestor[1], now.final_number)
            await lineage.rewind(session, self._network, back)
            gone = await repository.orphan_above(session, self._network, back.number)
            await losses.forget_above(session, self._network, back.number)
            await cold_gas.forget_above(session, self._network, back.number)
            await casework.gone(session, gone)
            await tell(session, self._assets, "deposit.orphaned", gone)
            hit("scanner.before_commit_rewound")
        hit("scanner.after_commit_rewound")
        log.warning(
            "scanner.reorg", network=self._network, depth=tip.number - back.number,
            orphaned=len(gone),
        )  # fmt: skip
        return back

    # Scanning

    async def _advance(self, tip: Tip, head: BlockRef) -> Tip | None:
        last = min(head.number, tip.number + BLOCKS_PER_TICK)
        deep = min(last, head.number - DEEP * self._chain.network.confirmations)
        if deep > tip.number:
            caught_up = await self._catch_up(tip, deep)
            if caught_up is None or caught_up.number < deep:
                if caught_up is not None:
                    self._wait_at(caught_up, "missing")
                return caught_up
            tip = caught_up
        while tip.number < last:
            blocks = await self._next_blocks(tip.number + 1, last)
            # Addresses after blocks: one that is issued and paid in between is not missed.
            await self._refresh_watch()
            ahead = await self._chain.receipts_ahead(
                [block for block in blocks if block is not None], watched=self._watched
            )
            read = _Read()
            try:
                for block in blocks:
                    here = read.tip_after(tip)
                    if block is None or block.parent_hash != here.hash:
                        # The chain changed while we read it; the next pass rejoins.
                        self._wait_at(here, "missing" if block is None else "of another parent")
                        break
                    await self._read_block(block, ahead, read)
            except Exception:
                await self._store(tip, read)  # a block that cannot be read holds up none
                raise
            stored = await self._store(tip, read)
            if stored is None or len(read.blocks) < len(blocks):
                return None
            tip = stored
        return tip

    async def _read_block(self, block: Block, ahead: Ahead, read: _Read) -> None:
        arrived = await self._chain.checked_deposits(block, watched=self._watched, ahead=ahead)
        if self._inner is not None:
            inner = await self._inner.deposits(block, watched=self._watched)
            arrived = [*arrived, *((seen, True) for seen in inner)]
        read.burnt += await cold_gas.burnt(self._chain, block, self._cold)
        read.arrived[block.hash] = arrived
        read.blocks.append(block)

    async def _catch_up(self, tip: Tip, last: int) -> Tip | None:
        """Blocks too deep to change, range by range; each range in one transaction."""
        pieces = backfill.ranges(self._chain, self._ranges, first=tip.number + 1, last=last)
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                if not _linked(tip, piece.blocks):
                    self._wait_at(tip, "of another parent")
                    return None
                await self._refresh_watch()
                read = _Read(list(piece.blocks), {**await self._arrived(piece)})
                for block in piece.blocks:
                    if self._inner is not None:
                        inner = await self._inner.deposits(block, watched=self._watched)
                        if inner:
                            before = read.arrived.get(block.hash, ())
                            read.arrived[block.hash] = [*before, *((seen, True) for seen in inner)]
                    read.burnt += await cold_gas.burnt(self._chain, block, self._cold)
                stored = await self._store(tip, read)
                if stored is None:
                    return None
                tip = stored
        return tip

    async def _arrived(self, piece: Range) -> Mapping[str, Sequence[Arrival]]:
        try:
            return await self._chain.range_deposits(piece, watched=self._watched)
        except ChainError:
            self._ranges.shrink(self._ranges.size)  # the next pass asks for less
            raise

    def _wait_at(self, tip: Tip, why: str, block: int | None = None) -> None:
        """A chain that changes while it is read is read anew; one with a hole is worth a word, and
        another node. `block`: the next one where none is given."""
        if self._waits_at == tip.hash:
            at = tip.number + 1 if block is None else block
            log.warning("scanner.waits", network=self._network, block=at, why=why)
            blame(NodeGarbage(f"block {at} is {why}"))
        self._waits_at = tip.hash

    async def _next_blocks(self, first: int, last: int) -> list[Block | None]:
        """Blocks from `first` on, as many as the node answers at once; never one left out."""
        size = self._window.size
        end = min(first + size, last + 1)
        try:
            blocks = await self._chain.full_blocks(list(range(first, end)))
        except ChainError:
            self._window.shrink(size)  # the next pass asks for less, from the same block
            raise
        if end - first == self._window.size:
            self._window.grow()
        return blocks

    async def _store(self, tip: Tip, read: _Read) -> Tip | None:
        """Blocks in one transaction: their rows and our place, all or nothing. None: somebody else
        moved."""
        if not read.blocks:
            return tip
        hit("scanner.before_block")
        async with self._db.transaction() as session:
            refs = [block.ref for block in read.blocks]
            if not await lineage.advance(session, self._network, refs):
                return None
            for ref in refs:
                if read.arrived.get(ref.hash):
                    await self._keep(session, ref, read.arrived[ref.hash])
            await cold_gas.keep(session, self._network, read.burnt)
            hit("scanner.before_commit_block")
        hit("scanner.after_commit_block")
        return read.tip_after(tip)

    async def _keep(
        self, session: AsyncSession, block: BlockRef, arrived: Sequence[Arrival]
    ) -> None:
        owners = await custody.owners(
            session, network=self._network, addresses=[seen.to_address for seen, _ in arrived]
        )
        stopped = await tokens.halted(session, self._network)
        own = await known.own_transactions(
            session, self._network, [seen.tx_hash for seen, _ in arrived]
        )
        held = await known.held_by_us(
            session, self._network, [seen.from_address for seen, _ in arrived]
        )
        swept = {
            (seen.tx_hash, seen.from_address) for seen, _ in arrived
            if seen.is_coin_sweep and seen.from_address in held
        }  # fmt: skip
        found = await known.found_by_balance(
            session, self._network, [seen.to_address for seen, _ in arrived], block.number,
        )  # fmt: skip
        unknown = await known.unknown_of_ours(
            session, self._network,
            {(seen.tx_hash, seen.from_address) for seen, _ in arrived if seen.to_address in owners},
        )  # fmt: skip
        before = await orphans.known(
            session, self._network, block, [seen.tx_hash for seen, _ in arrived]
        )
        again, new = [], []
        for seen, moved in arrived:
            if seen.is_coin_sweep and seen.from_address not in held:
                continue  # anybody can emit such a log
            if seen.trace_path and (seen.tx_hash, seen.from_address) in swept:
                continue  # the log says the same
            # Anybody may call the sweeping contracts: coins of ours that came to the house.
            is_move = seen.from_address in held and seen.to_address not in owners
            ours = own.get(seen.tx_hash)
            if ours is not None and not (is_move and seen.from_address not in ours):
                await repository.ignore(session, self._network, block, seen, "own_transaction",
                                        principal_id=None)  # fmt: skip
                continue
            if seen.tx_hash in before.lost and await losses.seen_again(
                session, self._network, block, seen, is_move=is_move
            ):
                continue  # credited once already; its loss is undone when it is final
            quarantine = self._doubt(seen, moved, {} if is_move else stopped)
            if quarantine is None and seen.tx_hash in unknown and seen.to_address in owners:
                quarantine = "sent_by_house"
            known_id = before.take(seen, is_move=is_move)
            if known_id is not None:
                again.append(Moved(known_id, seen, is_move, quarantine))
            elif (seen.to_address, seen.asset) not in found:
                new.append(NewDeposit(seen, owners.get(seen.to_address), is_move, quarantine))
            # else scanned again: the balance finder has booked it since
        rows = await orphans.move(session, self._network, block, again)
        rows += await repository.insert_deposits(session, self._network, block, new)
        await casework.set_all_aside(session, [row for row in rows if row.status == "quarantined"])
        await tell(session, self._assets, "deposit.seen", rows)

    def _doubt(self, seen: ObservedDeposit, moved: bool, stopped: Mapping[str, str]) -> str | None:
        """Why a person must look at this arrival before it is credited."""
        if seen.asset in stopped:
            return "token_halted"
        if seen.amount > self._assets.get(seen.asset).max_minor:
            return "amount_too_large"
        if not moved:
            log.error(
                "deposit.balance_differs", network=self._network, asset=seen.asset,
                tx_hash=seen.tx_hash,
            )  # fmt: skip
            return "balance_differs"
        return None

    async def _refresh_watch(self) -> None:
        last = self._watched_until  # an index: they grow, and a clock may be set back
        async with self._db.transaction() as session:
            house = await custody.house_addresses(session, network=self._network)
            issued = await custody.issued_since(
                session,
                network=self._network,
                after_index=None if last is None else last - WATCH_OVERLAP,
            )
            newest = await custody.newest_issue(session, network=self._network)
        self._watched.update(address.lower() for address in issued)
        self._watched.update(
            address.lower() for address, place in house.items() if place != "faucet"
        )
        self._cold = {a.lower(): a for a, place in house.items() if place == "cold"}
        self._watched_until = newest

    # Confirming and crediting

    async def _promote(self, tip: Tip, status: NetworkStatus) -> None:
        """Confirmations from blocks we followed ourselves, never from a head we only heard of."""
        [ours], _, there = await self._chain.refs_of_now([tip.number], settled=tip.final_number)
        if ours is None or ours.hash != tip.hash:
            return
        # Not above what is final for the node that showed our block: another may answer by now.
        final = await final_number(self._chain, status=status, head=ours)
        final = min(final, there, tip.number)
        enough = tip.number - self._chain.network.confirmations + 1
        async with self._db.transaction() as session:
            if not await lineage.set_final(session, self._network, at=tip, number=final):
                return
            left = await repository.leave_aside(
                session, self._network, [asset.code for asset in self._assets]
            )
            await casework.set_all_aside(session, left)
            confirmed = await repository.confirm_up_to(session, self._network, enough)
            await tell(session, self._assets, "deposit.confirmed", confirmed)
            waiting = await repository.creditable(
                session, self._network, up_to=final, limit=CREDITS_PER_TICK
            )
            back = await losses.returning(session, self._network, limit=CREDITS_PER_TICK)
            gas = await cold_gas.open_final(session, self._network, limit=CREDITS_PER_TICK)
            hit("scanner.before_commit_final")
        hit("scanner.after_commit_final")
        await self._crediter.credit_all(await self._witnesses.heard(waiting))
        for loss_id in back:
            await losses.give_back(self._db, self._assets, loss_id)
        for tx_hash in gas:
            await cold_gas.book(self._db, self._assets, self._chain, tx_hash)


def _linked(tip: Tip, blocks: Sequence[Block]) -> bool:
    """Whether each is the child of the one before, the first of `tip`."""
    parents = [tip.hash, *(block.hash for block in blocks)]
    return all(block.parent_hash == parent for block, parent in zip(blocks, parents, strict=False))
