"""A reorganisation between the logs of a block and the balances at its height."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chain.client import ChainClient
from chain.errors import NodeGarbage
from chain.rpc import Answer, Call, Rpc
from tests.chain.benches import OUTSIDER, Bench, local_network

NOTHING = "0x" + "0" * 64


class AnotherFork:
    """The node follows a fork in which the tokens never came."""

    def __init__(self, rpc: Rpc, number: int) -> None:
        self._rpc = rpc
        self._number = hex(number)

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        if method == "eth_getBlockByNumber" and params[0] == self._number:
            params = (hex(int(self._number, 16) - 1), *params[1:])
        return await self._rpc.call(method, params)

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        return await self._rpc.batch(calls)

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        answers = await self._rpc.batch_answers(calls)
        return [
            NOTHING if method == "eth_call" else answer
            for (method, _), answer in zip(calls, answers, strict=True)
        ]

    async def aclose(self) -> None:
        raise AssertionError("not opened here")


async def test_balances_of_another_fork_contradict_no_log(bench: Bench) -> None:
    """What they seem to contradict would be set aside until two people release it."""
    await bench.send_token(OUTSIDER, 7)
    head = (await bench.client.head()).number
    block = await bench.client.full_block(head)
    assert block is not None
    client = ChainClient(local_network(bench.usdc), AnotherFork(bench.rpc, head))
    with pytest.raises(NodeGarbage, match="while balances were read"):
        await client.checked_deposits(block, watched={OUTSIDER})
    [(_, right)] = await bench.client.checked_deposits(block, watched={OUTSIDER})
    assert right
