"""Ranges of old blocks: the same deposits as block by block, whatever a node leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chain.client import ChainClient
from chain.errors import NodeRejected
from chain.lanes import in_lanes, split
from chain.observe import Watched
from chain.ranges import Range
from chain.rpc import Answer, Call, Rpc
from tests.chain.benches import OUTSIDER, SIGNER, Bench, local_network

WATCHED = Watched([OUTSIDER.lower()])
Logs = list[dict[str, Any]]
PADDED = "0x" + "0" * 24 + OUTSIDER[2:].lower()


class Altering:
    """The bench's transport, with what `alter` makes of each answer to eth_getLogs."""

    def __init__(self, rpc: Rpc, alter: Callable[[Logs], object]) -> None:
        self._rpc = rpc
        self._alter = alter
        self.asked: list[str] = []

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        self.asked.append(method)
        answer = await self._rpc.call(str(method), params)  # JSON, whatever shape it has
        return self._alter(answer) if method == "eth_getLogs" else answer  # type: ignore[arg-type]

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        self.asked += [method for method, _ in calls]
        return await self._rpc.batch(calls)

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        return await self._rpc.batch_answers(calls)

    async def aclose(self) -> None:
        raise AssertionError("not opened here")


async def history(bench: Bench) -> list[int]:
    """Blocks with tokens for OUTSIDER, coins, tokens for another, and nothing."""
    first = (await bench.client.head()).number + 1
    await bench.send_token(OUTSIDER, 5)
    await bench.dev.mine(2)
    await bench.send_native(OUTSIDER, 7)
    await bench.send_token(SIGNER, 9)
    await bench.send_token(OUTSIDER, 11)
    last = (await bench.client.head()).number
    return list(range(first, last + 1))


def client(bench: Bench, rpc: Rpc) -> ChainClient:
    return ChainClient(local_network(bench.usdc), rpc)


async def one_by_one(bench: Bench, numbers: Sequence[int]) -> dict[str, object]:
    found = {}
    for number in numbers:
        block = await bench.client.full_block(number)
        assert block is not None
        arrived = await bench.client.checked_deposits(block, watched=WATCHED)
        if arrived:
            found[block.hash] = arrived
    return found


async def test_a_range_says_what_its_blocks_say_one_by_one(bench: Bench) -> None:
    numbers = await history(bench)
    counting = Altering(bench.rpc, lambda logs: logs)
    reader = client(bench, counting)
    piece = await reader.block_range(numbers)
    assert [block.number for block in piece.blocks] == numbers
    found = await reader.range_deposits(piece, watched=WATCHED)
    assert found == await one_by_one(bench, numbers)
    assert sorted(d.amount for many in found.values() for d, _ in many) == [5, 7, 11]
    assert counting.asked.count("eth_getLogs") == 1
    assert "eth_getBlockReceipts" not in counting.asked


def without(index: int) -> Callable[[Logs], Logs]:
    return lambda logs: [log for place, log in enumerate(logs) if place != index]


def with_each(**changes: object) -> Callable[[Logs], Logs]:
    return lambda logs: [{**log, **changes} for log in logs]


@pytest.mark.parametrize(
    "alter",
    [
        lambda logs: [],
        without(0),
        without(1),
        without(2),
        lambda logs: [*logs, logs[-1]],
        with_each(logIndex="0x1"),
        with_each(logIndex=0),
        with_each(transactionHash="0x" + "cd" * 32),
        with_each(blockHash="0x" + "cd" * 32),
        with_each(blockHash=5),
        with_each(topics="0x00"),
        with_each(topics=None),
        with_each(topics=[PADDED]),
        with_each(address=None),
        with_each(address="0x" + "11" * 20),
        lambda logs: [{**log, "topics": [item.upper() for item in log["topics"]]} for log in logs],
        lambda logs: [
            {**log, "topics": [t.replace(PADDED[-4:], "beef") for t in log["topics"]]}
            for log in logs
        ],
    ],
)  # fmt: skip
async def test_what_does_not_add_up_is_left_to_the_receipts(
    bench: Bench, alter: Callable[[Logs], object]
) -> None:
    numbers = await history(bench)
    reader = client(bench, altered := Altering(bench.rpc, alter))
    piece = await reader.block_range(numbers)
    found = await reader.range_deposits(piece, watched=WATCHED)
    assert found == await one_by_one(bench, numbers)
    assert "eth_getBlockReceipts" in altered.asked


@pytest.mark.parametrize("told", [[None], ["0x"], [{}], [[]]])
async def test_a_list_of_what_is_no_log_is_left_to_the_receipts(bench: Bench, told: object) -> None:
    numbers = await history(bench)
    reader = client(bench, Altering(bench.rpc, lambda _: told))
    piece = await reader.block_range(numbers)
    assert piece.told is None
    found = await reader.range_deposits(piece, watched=WATCHED)
    assert found == await one_by_one(bench, numbers)


@pytest.mark.parametrize("told", [None, "0x", {"logs": []}])
async def test_no_list_of_logs_is_refused_but_for_a_single_block(
    bench: Bench, told: object
) -> None:
    numbers = await history(bench)
    reader = client(bench, Altering(bench.rpc, lambda _: told))
    with pytest.raises(Exception, match=r"eth_getLogs|log"):
        await reader.block_range(numbers)
    piece = await reader.block_range(numbers[:1])
    assert piece.told is None
    found = await reader.range_deposits(piece, watched=WATCHED)
    assert found == await one_by_one(bench, numbers[:1])


async def test_a_node_without_long_ranges_is_asked_block_by_block(bench: Bench) -> None:
    def refuse(_: Logs) -> Logs:
        raise NodeRejected(-32005, "query returned more than 10000 results")

    numbers = await history(bench)
    reader = client(bench, Altering(bench.rpc, refuse))
    with pytest.raises(NodeRejected):
        await reader.block_range(numbers)
    assert (await reader.block_range(numbers[:1])).told is None


async def test_empty_blocks_ask_for_no_logs_and_beyond_the_head_is_nothing(bench: Bench) -> None:
    await bench.dev.mine(3)
    head = (await bench.client.head()).number
    reader = client(bench, counting := Altering(bench.rpc, lambda logs: logs))
    piece = await reader.block_range(range(head - 1, head + 4))
    assert [block.number for block in piece.blocks] == [head - 1, head]
    assert piece.told == {} and "eth_getLogs" not in counting.asked
    assert await reader.range_deposits(piece, watched=WATCHED) == {}
    assert await reader.block_range(range(head + 1, head + 4)) == Range([], {})


async def test_lanes_keep_the_order_and_raise_the_first_error() -> None:
    async def twice(part: Sequence[int]) -> list[int]:
        if 13 in part:
            raise ValueError("thirteen")
        return [2 * item for item in part]

    parts = split(range(12), 5)
    assert [list(part) for part in parts] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    done = await in_lanes(parts, twice, lanes=2)
    assert [item for part in done for item in part] == [2 * item for item in range(12)]
    assert await in_lanes([], twice) == []
    with pytest.raises(ValueError, match="thirteen"):
        await in_lanes(split(range(40), 3), twice)
