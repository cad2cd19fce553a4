"""Receipts of several blocks in one request: the same as one by one, and never a reason to fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from chain import receipts
from chain.blocks import Block
from chain.errors import NodeGarbage, NodeTimeout
from chain.receipts import BlockReceipts
from chain.rpc import Answer, Call, Rpc
from chain.told import BLOCK_RECEIPTS
from tests.chain.benches import OUTSIDER, Bench


class Counting:
    """The bench's transport; counts batches, and alters or refuses what they answer."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.batches: list[int] = []
        self.alter: Any = None

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        return await self._rpc.call(method, params)

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        return await self._rpc.batch(calls)

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        assert {method for method, _ in calls} == {BLOCK_RECEIPTS}
        self.batches.append(len(calls))
        answers = await self._rpc.batch_answers(calls)
        return answers if self.alter is None else self.alter(answers)

    async def aclose(self) -> None:
        raise AssertionError("not opened here")


async def _blocks(bench: Bench, count: int) -> list[Block]:
    """The newest `count` blocks, each with a transfer of tokens."""
    for _ in range(count):
        await bench.send_token(OUTSIDER, 5)
    head = (await bench.client.head()).number
    found = await bench.client.full_blocks(list(range(head - count + 1, head + 1)))
    return [block for block in found if block is not None]


async def test_one_request_for_many_blocks(bench: Bench) -> None:
    blocks = await _blocks(bench, 5)
    counting = Counting(bench.rpc)
    reader = BlockReceipts(counting)
    assert await reader.ahead(blocks) == {}, "not before the node has shown that it can"
    alone = {block.hash: await reader.of(block) for block in blocks}
    assert await reader.ahead(blocks) == alone
    assert counting.batches == [5]
    assert all(alone.values())


async def test_requests_are_bounded_by_transactions(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = await _blocks(bench, 5)
    monkeypatch.setattr(receipts, "TRANSACTIONS_AHEAD", 2)
    counting = Counting(bench.rpc)
    reader = BlockReceipts(counting)
    await reader.of(blocks[0])
    assert set(await reader.ahead(blocks)) == {block.hash for block in blocks[:4]}
    assert counting.batches == [2, 2], "a block that stands alone is asked for alone"


async def test_what_is_wrong_is_left_out(bench: Bench) -> None:
    blocks = await _blocks(bench, 3)
    counting = Counting(bench.rpc)
    reader = BlockReceipts(counting)
    await reader.of(blocks[0])
    counting.alter = lambda answers: [answers[0], None, answers[2]]
    assert set(await reader.ahead(blocks)) == {blocks[0].hash, blocks[2].hash}
    counting.alter = lambda answers: [answers[1], *answers[1:]]
    assert await reader.ahead(blocks) == {}, "another block's receipts"

    def late(answers: object) -> object:
        raise NodeTimeout("too late")

    counting.alter = late
    assert await reader.ahead(blocks) == {}


async def test_deposits_are_the_same_with_and_without(bench: Bench) -> None:
    blocks = await _blocks(bench, 3)
    watched = {OUTSIDER}
    alone = [await bench.client.checked_deposits(block, watched=watched) for block in blocks]
    ahead = await bench.client.receipts_ahead(blocks, watched=watched)
    assert set(ahead) == {block.hash for block in blocks}
    assert alone == [
        await bench.client.checked_deposits(block, watched=watched, ahead=ahead) for block in blocks
    ]
    assert all(alone)
    wrong = {blocks[0].hash: ahead[blocks[1].hash]}
    with pytest.raises(NodeGarbage):
        await bench.client.deposits(blocks[0], watched=watched, ahead=wrong)
