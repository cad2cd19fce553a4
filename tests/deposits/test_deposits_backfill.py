"""Ranges read ahead: in order, none left out, few at once, and none left behind."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast
from weakref import WeakSet

import pytest

from chain.blocks import Block, BlockRef
from chain.client import ChainClient
from chain.errors import NodeUnavailable
from chain.ranges import LOG_BYTES, Range
from chain.told import LogTold
from chain.window import Window
from wallet.deposits.backfill import AHEAD, AHEAD_BYTES, ranges


class Node:
    """Blocks up to `head`; refuses ranges longer than `most`, is slow from some height on."""

    def __init__(
        self, head: int = 1_000, most: int = 1_000, slow_from: int = 1_000, logs: int = 0
    ) -> None:
        self.head, self.most, self.slow_from, self.logs = head, most, slow_from, logs
        self.alive: WeakSet[Logs] = WeakSet()
        self.most_alive = 0
        self.under_way = self.at_once = self.cancelled = 0
        self.asked: list[range] = []

    async def block_range(self, numbers: range) -> Range:
        self.asked.append(numbers)
        self.under_way += 1
        self.at_once = max(self.at_once, self.under_way)
        try:
            # What is asked later is answered sooner.
            await asyncio.sleep(9 if numbers[0] >= self.slow_from else 0.02 / len(self.asked))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if len(numbers) > self.most:
            raise NodeUnavailable("too much")
        blocks = [block(number) for number in numbers if number <= self.head]
        return Range(blocks, {"0x": Logs(self, len(numbers) * self.logs)} if self.logs else {})


class Logs(list[LogTold]):
    """So many of one log; the node knows how many such lists there are."""

    def __init__(self, node: Node, count: int) -> None:
        super().__init__([LOG] * count)
        node.alive.add(self)
        node.most_alive = max(node.most_alive, len(node.alive))

    __hash__ = object.__hash__  # type: ignore[assignment]  # by identity


LOG = LogTold("0x", (), "0x", "0x", "0x", "0x", "0x")


def block(number: int) -> Block:
    return Block(BlockRef(number, hex(number), hex(number - 1), number, 0), b"", ())


def read(node: Node, window: Window, *, last: int = 95) -> Any:
    return ranges(cast(ChainClient, node), window, first=1, last=last)


async def heights(node: Node, window: Window, *, last: int = 95) -> list[int]:
    return [one.number async for piece in read(node, window, last=last) for one in piece.blocks]


async def test_pieces_come_in_order_and_few_are_read_at_once() -> None:
    node = Node()
    assert await heights(node, Window(10)) == list(range(1, 96))
    assert node.at_once == AHEAD and [len(one) for one in node.asked] == [10] * 9 + [5]


async def test_it_ends_where_the_node_has_no_block() -> None:
    node = Node(head=27)
    assert await heights(node, Window(10)) == list(range(1, 28))
    assert node.under_way == 0
    assert await heights(Node(head=0), Window(10)) == []


async def test_what_was_refused_by_several_at_once_halves_the_window_once() -> None:
    node, window = Node(most=5), Window(10)
    with pytest.raises(NodeUnavailable):
        await heights(node, window)
    assert window.size == 5 and node.under_way == 0


async def test_a_node_that_refused_is_asked_for_one_range_at_a_time() -> None:
    node, window = Node(most=5), Window(10)
    window.shrink(10)
    with contextlib.suppress(NodeUnavailable):  # the window grows until it is refused again
        await heights(node, window)
    assert node.at_once == 1


def logs_of(size_bytes: int) -> int:
    """Logs in each block that make ranges of ten blocks take so much."""
    return size_bytes // LOG_BYTES // 10 + 1


async def test_after_a_heavy_range_they_are_smaller_and_read_one_at_a_time() -> None:
    node, window = Node(logs=logs_of(AHEAD_BYTES)), Window(10)
    assert await heights(node, window, last=10) == list(range(1, 11))
    assert (window.size, node.at_once) == (5, 1)
    assert await heights(node, window, last=25) == list(range(1, 26))
    assert [len(one) for one in node.asked] == [10, 5, 6, 7, 7] and node.at_once == 1


async def test_what_is_kept_ahead_is_bounded_and_read_again_in_its_turn() -> None:
    node = Node(logs=logs_of(AHEAD_BYTES // 2))
    found: list[int] = []
    async for piece in read(node, Window(10), last=30):
        found += [one.number for one in piece.blocks]
        await asyncio.sleep(0.05)  # the next two have come
    assert found == list(range(1, 31))
    assert node.most_alive <= 3  # in hand, kept, and the one too many
    assert sorted(one[0] for one in node.asked) == [1, 11, 11, 21]


async def test_ranges_of_some_weight_are_read_two_at_a_time() -> None:
    node = Node(logs=logs_of(AHEAD_BYTES * 3 // 4))
    async for piece in read(node, Window(10)):
        if piece.blocks[0].number == 21:
            node.at_once = 0
    assert node.at_once == 2


async def test_whoever_leaves_early_leaves_nothing_under_way() -> None:
    node = Node(slow_from=11)
    async with contextlib.aclosing(read(node, Window(10))) as pieces:
        async for _ in pieces:
            break
    assert node.under_way == 0 and node.cancelled == AHEAD - 1
