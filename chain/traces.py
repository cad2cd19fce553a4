"""Coins paid inside a transaction: read from call traces, believed only where balances agree.

A node traces a block with geth's `callTracer`. A frame moves coins when it is a CALL, a CREATE or
a SELFDESTRUCT with value and neither it nor a frame above it failed. What a trace says of an
address counts only when the address's balance changed by exactly that in the block: a node that
traces wrongly, or a way to be paid that we do not know, leaves the coins to the balance finder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chain import parse
from chain.address import to_checksum
from chain.blocks import Block, BlockTx, Receipt
from chain.client import ChainClient
from chain.errors import (
    AnswerTooLarge,
    ChainError,
    NodeGarbage,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
)
from chain.lanes import split
from chain.observe import NATIVE_LOG_INDEX, ObservedDeposit, is_watched
from chain.rpc import MAX_BATCH, Answer, Call
from chain.transactions import PLAIN_TRANSFER_GAS

TRACER: Mapping[str, object] = {"tracer": "callTracer"}
MAX_FRAMES = 500_000  # In one block; at 60,000,000 gas there is room for less than 100,000.
MAX_DEPTH = 1_025  # The EVM's limit of calls inside calls, and the transaction itself.
MAX_PATH = 400  # Characters of a path in a key; a deeper payment is left to the balance finder.
MAX_TRACED_ONE_BY_ONE = 500
MAX_UNREAD = 128
LARGE_UNREAD = 16
"""Answers of one block that cannot be read, before the rest of it is scanned without traces:
batches are halved down to the single transactions that are to blame. One that is too large, 16 MB
of it read in vain, counts for 16."""
TRIES = 3  # Passes that ask for the traces of a block before it is scanned without them.
GARBAGE_IN_A_ROW = 5
PAUSE_FIRST_SECONDS = 60.0
PAUSE_LAST_SECONDS = 960.0
_MISSING = (-32601, -32700, -32004)  # "No such method": Anvil and geth, Ganache, some providers.
_MOVES = frozenset({"CALL", "CREATE", "CREATE2", "SELFDESTRUCT"})
_CREATES = frozenset({"CREATE", "CREATE2"})
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InnerMove:
    """Coins that one frame moved. `path` counts the calls from the transaction down, `0.2.1`;
    addresses are lower-case, `wei` above zero."""

    tx_hash: str
    path: str
    from_address: str
    to_address: str
    wei: int


def inner_moves(tx: BlockTx, frame: object, *, budget: int = MAX_FRAMES) -> list[InnerMove]:
    """What moved inside one transaction, in the order of its calls, without the transaction's own.

    Raises NodeGarbage when the frames are not that transaction's, or not frames.
    """
    root = parse.table(frame, "trace")
    moves: list[InnerMove] = []
    for path, fields in _alive(root, budget):
        move = _move(tx.hash, path, fields) if path else None  # the outermost is the transaction
        if move is not None:
            moves.append(move)
    if moves:
        _must_belong(tx, root)
    return moves


def _alive(root: Mapping[str, object], budget: int) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Frames that were not undone, each before its own calls, with their paths."""
    stack: list[tuple[str, int, object]] = [("", 0, root)]
    while stack:
        path, depth, item = stack.pop()
        budget -= 1
        if budget < 0 or depth > MAX_DEPTH:
            raise NodeGarbage("a trace has more frames than a block can have")
        fields = parse.table(item, "trace.calls")
        if fields.get("error"):
            continue  # whatever happened in there was undone with it
        yield path, fields
        calls = fields.get("calls")
        if calls is not None:
            inner = parse.items(calls, "trace.calls")
            if len(inner) > budget:
                raise NodeGarbage("a trace has more frames than a block can have")
            prefix = path + "." if path else ""
            stack += [(f"{prefix}{n}"[: MAX_PATH + 1], depth + 1, call)
                      for n, call in reversed(list(enumerate(inner)))]  # fmt: skip


def _move(tx_hash: str, path: str, fields: Mapping[str, object]) -> InnerMove | None:
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise NodeGarbage("trace.type is not a text")
    value = fields.get("value")
    if kind not in _MOVES or value is None:
        return None  # a DELEGATECALL repeats its caller's value and moves nothing
    wei = parse.quantity(value, "trace.value")
    if wei == 0:
        return None
    sender = parse.address(fields.get("from"), "trace.from")
    recipient = parse.address(fields.get("to"), "trace.to")
    if sender == recipient or len(path) > MAX_PATH:
        return None
    return InnerMove(tx_hash, path, sender, recipient, wei)


def _must_belong(tx: BlockTx, root: Mapping[str, object]) -> None:
    """A trace names no block: its outermost frame must be the transaction itself."""
    value = root.get("value")
    told = (
        parse.address(root.get("from"), "trace.from"),
        0 if value is None else parse.quantity(value, "trace.value"),
        root.get("type") in _CREATES,
    )
    if told != (tx.from_address, tx.value, tx.to is None):
        raise NodeGarbage("a trace is not of the transaction it was asked for")
    if tx.to is not None and parse.address(root.get("to"), "trace.to") != tx.to:
        raise NodeGarbage("a trace is not of the transaction it was asked for")


class InnerPayments:
    """Internal payments of one network, as far as its node traces. Remembers how it last went."""

    def __init__(self, chain: ChainClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._chain = chain
        self._clock = clock
        self._by_block = True
        self._quiet_until = 0.0
        self._pause = PAUSE_FIRST_SECONDS
        self._garbage = 0
        self._tried: tuple[str, int] = ("", 0)

    async def deposits(self, block: Block, *, watched: Container[str]) -> list[ObservedDeposit]:
        """What watched addresses were paid inside the block's transactions, in block order.

        Moves between watched addresses are no deposits. Nothing is raised for traces that fail, but
        for a node that is away (NodeUnavailable, NodeTimeout): then TRIES times, so that a short
        outage costs no trace; afterwards the block goes without and tracing pauses.
        """
        if self._nothing_inside(block) or self._clock() < self._quiet_until:
            return []
        try:
            found = await self._read(block, watched)
        except (NodeUnavailable, NodeTimeout) as error:
            before, count = self._tried
            self._tried = (block.hash, count + 1 if before == block.hash else 1)
            if self._tried[1] < TRIES:
                raise
            self._rest(block, error)
            return []
        except ChainError as error:
            self._garbage += not isinstance(error, AnswerTooLarge)  # strangers' doing, no node's
            log.warning("%s: no traces of block %d: %s", self._name, block.number, error)
            if self._garbage >= GARBAGE_IN_A_ROW:
                self._rest(block, error)
            return []
        self._garbage, self._pause = 0, PAUSE_FIRST_SECONDS
        return found

    async def told(self, block: Block, *, watched: Container[str]) -> list[ObservedDeposit]:
        """The same, but that it raises what keeps the node from saying so (ChainError)."""
        return [] if self._nothing_inside(block) else await self._read(block, watched)

    @property
    def _name(self) -> str:
        return self._chain.network.name

    def _nothing_inside(self, block: Block) -> bool:
        """Whether the block holds plain payments only: each uses at least 21,000 gas by itself."""
        if self._chain.network.fee_model != "l1":
            return not block.transactions
        return block.gas_used == PLAIN_TRANSFER_GAS * len(block.transactions)

    def _rest(self, block: Block, error: ChainError) -> None:
        self._quiet_until = self._clock() + self._pause
        log.error(
            "%s: no traces from block %d on for %d s (%s); internal payments are found by balances",
            self._name, block.number, self._pause, error.code,
        )  # fmt: skip
        self._pause = min(2 * self._pause, PAUSE_LAST_SECONDS)
        self._garbage = 0

    async def _read(self, block: Block, watched: Container[str]) -> list[ObservedDeposit]:
        receipts: list[Receipt] | None = None
        traces = await self._block_traces(block) if self._by_block else None
        if traces is None:
            receipts = await self._chain.block_receipts(block)
            traces = await self._one_by_one(block, receipts)
        moves: list[InnerMove] = []
        for tx, frame in traces:
            moves += [
                move for move in inner_moves(tx, frame)
                if is_watched(move.to_address, watched) or is_watched(move.from_address, watched)
            ]  # fmt: skip
        if not any(is_watched(move.to_address, watched) for move in moves):
            return []
        receipts = receipts or await self._chain.block_receipts(block)
        done = {receipt.tx_hash for receipt in receipts if receipt.status == 1}
        moves = [move for move in moves if move.tx_hash in done]
        paid = [move for move in moves if is_watched(move.to_address, watched)]
        agreed = await self._agreed(block, receipts, moves, {move.to_address for move in paid})
        return [
            self._deposit(move) for move in paid
            if move.to_address in agreed and not is_watched(move.from_address, watched)
        ]  # fmt: skip

    async def _block_traces(self, block: Block) -> list[tuple[BlockTx, object]] | None:
        """Each transaction with its outermost frame; one that could not be traced is left out.
        None: they are to be asked for one by one."""
        try:
            answer = await self._chain.rpc.call("debug_traceBlockByHash", (block.hash, TRACER))
        except NodeRejected as error:
            if error.rpc_code not in _MISSING:
                raise
            self._by_block = False
            return None
        except NodeGarbage:
            return None  # too long or too deep: strangers decide that, and lose their own alone
        listed = parse.items(answer, "debug_traceBlockByHash")
        if len(listed) != len(block.transactions):
            raise NodeGarbage("the traces are not those of the block's transactions")
        traces = []
        for tx, item in zip(block.transactions, listed, strict=True):
            entry = parse.table(item, "debug_traceBlockByHash")
            if entry.get("txHash") not in (None, tx.hash):
                raise NodeGarbage("the traces are not those of the block's transactions")
            if not entry.get("error"):
                traces.append((tx, entry.get("result")))
        return traces

    async def _one_by_one(
        self, block: Block, receipts: Sequence[Receipt]
    ) -> list[tuple[BlockTx, object]]:
        """The same by single transactions; one whose trace cannot be read is left out. Those that
        used least gas are asked first: it takes gas to be too much, and then the heavy ones go
        without."""
        plain = self._chain.network.fee_model == "l1"
        used = {
            tx: receipt.gas_used
            for tx, receipt in zip(block.transactions, receipts, strict=True)
            if receipt.status == 1 and not (plain and receipt.gas_used == PLAIN_TRANSFER_GAS)
        }
        if len(used) > MAX_TRACED_ONE_BY_ONE and not self._by_block:
            raise NodeGarbage("too many transactions to be traced one by one")
        asked = sorted(used, key=lambda tx: used[tx])[:MAX_TRACED_ONE_BY_ONE]
        calls: list[Call] = [("debug_traceTransaction", (tx.hash, TRACER)) for tx in asked]
        unread = 0
        last: NodeGarbage | None = None

        async def some(part: Sequence[Call]) -> list[Answer | None]:
            nonlocal unread, last
            if unread > MAX_UNREAD:
                return [None] * len(part)
            try:
                return [*await self._chain.rpc.batch_answers(part)]
            except NodeGarbage as error:
                unread += LARGE_UNREAD if isinstance(error, AnswerTooLarge) else 1
                last = error
            if len(part) == 1:
                return [None]
            half = len(part) // 2
            return [*await some(part[:half]), *await some(part[half:])]

        answers = [one for part in split(calls, MAX_BATCH) for one in await some(part)]
        if last is not None and all(answer is None for answer in answers):
            raise last
        refused = [answer for answer in answers if isinstance(answer, NodeRejected)]
        if refused and len(refused) == len(answers):
            raise refused[0]
        read = [
            (tx, answer) for tx, answer in zip(asked, answers, strict=True)
            if answer is not None and not isinstance(answer, NodeRejected)
        ]  # fmt: skip
        return sorted(read, key=lambda one: one[0].index)

    async def _agreed(
        self, block: Block, receipts: Sequence[Receipt], moves: Sequence[InnerMove],
        addresses: set[str],
    ) -> set[str]:  # fmt: skip
        """Those whose balance changed in this block by exactly what is said to have moved.

        Raises NodeRejected where the node has no state of the block.
        """
        told = dict.fromkeys(addresses, 0)

        def add(address: str | None, wei: int) -> None:
            if address in told:
                told[address] += wei

        for tx, receipt in zip(block.transactions, receipts, strict=True):
            add(tx.from_address, -receipt.fee_wei)
            if receipt.status == 1 and tx.to is not None:
                add(tx.from_address, -tx.value)
                add(tx.to, tx.value)
        for move in moves:
            add(move.from_address, -move.wei)
            add(move.to_address, move.wei)
        listed = sorted(told)
        checksummed = [to_checksum(address) for address in listed]
        asset = self._chain.network.native_asset
        before = await self._chain.balances(checksummed, asset, block.number - 1)
        after = await self._chain.balances(checksummed, asset, block.number)
        agreed = set()
        for address, was, now in zip(listed, before, after, strict=True):
            if now - was == told[address]:
                agreed.add(address)
            else:
                log.error(
                    "%s: block %d: traces say %d wei of %s, its balance %d; left to balances",
                    self._name, block.number, told[address], to_checksum(address), now - was,
                )  # fmt: skip
        return agreed

    def _deposit(self, move: InnerMove) -> ObservedDeposit:
        return ObservedDeposit(
            tx_hash=move.tx_hash,
            log_index=NATIVE_LOG_INDEX,
            asset=self._chain.network.native_asset,
            contract=None,
            from_address=to_checksum(move.from_address),
            to_address=to_checksum(move.to_address),
            amount=move.wei,
            trace_path=move.path,
        )
