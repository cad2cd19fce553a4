"""Several nodes behind one transport: who serves, who is kept out, and what is never repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from chain.errors import NodeTimeout, NodeUnavailable
from chain.failover import BACKOFF_LAST_SECONDS, FailoverRpc
from chain.nodes import MAX_LAG_BLOCKS, Disagreement
from chain.rpc import Answer, Call, Rpc
from chain.testing import FakeNode
from tests.chain.benches import local_network


class Door(Rpc):
    """A node's transport that can be shut, and that counts what came through."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.shut: Exception | None = None
        self.methods: list[str] = []

    def _pass(self, *methods: str) -> None:
        self.methods += methods
        if self.shut is not None:
            raise self.shut

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        self._pass(method)
        return await self.node.rpc.call(method, params)

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        self._pass(*(method for method, _ in calls))
        return await self.node.rpc.batch(calls)

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        self._pass(*(method for method, _ in calls))
        return await self.node.rpc.batch_answers(calls)

    async def aclose(self) -> None:
        await self.node.rpc.aclose()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def twins(count: int = 2, blocks: int = 20) -> list[Door]:
    doors = [Door(FakeNode()) for _ in range(count)]
    for door in doors:
        await door.node.rpc.call("anvil_mine", (hex(blocks),))
    return doors


async def head(rpc: Rpc) -> int:
    return int(str(await rpc.call("eth_blockNumber")), 16)


async def test_the_first_serves_and_the_next_takes_over(clock: Clock) -> None:
    one, two = await twins()
    rpc = FailoverRpc(local_network(), [one, two], clock=clock)
    assert await head(rpc) == 20 and not two.methods
    one.shut = NodeUnavailable("gone")
    with pytest.raises(NodeUnavailable):  # this call fails: a pass never mixes two views unnoticed
        await head(rpc)
    assert await head(rpc) == 20
    assert "eth_chainId" in two.methods
    states = [health.state for health in await rpc.probe()]
    assert states == ["away", "serving"]
    one.shut = None
    clock.now += BACKOFF_LAST_SECONDS
    assert [health.state for health in await rpc.probe()] == ["standby", "serving"]


async def test_reads_that_stand_alone_are_repeated_and_submissions_never(clock: Clock) -> None:
    one, two = await twins()
    rpc = FailoverRpc(local_network(), [one, two], retry_reads=True, clock=clock)
    await head(rpc)
    one.shut = NodeTimeout("slow")
    assert await head(rpc) == 20
    one.shut, two.shut = None, NodeTimeout("slow")
    with pytest.raises(NodeTimeout):
        await rpc.call("eth_sendRawTransaction", ("0x02",))
    sent = [door.methods.count("eth_sendRawTransaction") for door in (one, two)]
    assert sent == [0, 1]


async def test_another_chain_never_serves(clock: Clock) -> None:
    one, two = await twins()
    stranger = replace(local_network(), chain_id=1)
    with pytest.raises(NodeUnavailable):
        await head(FailoverRpc(stranger, [one, two], clock=clock))
    await two.node.rpc.call("anvil_reorg", (20, []))
    rpc = FailoverRpc(local_network(), [one, two], clock=clock)
    await head(rpc)
    one.shut = NodeUnavailable("gone")
    with pytest.raises(NodeUnavailable):
        await head(rpc)
    with pytest.raises(NodeUnavailable):  # the other one holds another block 1
        await head(rpc)
    assert [h.state for h in await rpc.probe()] == ["away", "wrong_chain"]


async def test_who_lags_is_not_asked(clock: Clock) -> None:
    one, two = await twins()
    rpc = FailoverRpc(local_network(), [one, two], clock=clock)
    await rpc.probe()
    await two.node.rpc.call("anvil_mine", (hex(MAX_LAG_BLOCKS + 1),))
    clock.now += 10
    assert [h.state for h in await rpc.probe()] == ["lagging", "standby"]
    assert await head(rpc) == 20 + MAX_LAG_BLOCKS + 1
    await one.node.rpc.call("anvil_mine", (hex(MAX_LAG_BLOCKS + 1),))
    clock.now += 10
    assert [h.state for h in await rpc.probe()] == ["standby", "serving"]


async def test_a_difference_in_final_blocks_is_named(clock: Clock) -> None:
    one, two = await twins()
    rpc = FailoverRpc(local_network(), [one, two], clock=clock)
    await rpc.probe()
    await two.node.rpc.call("anvil_reorg", (3, []))  # not final: nothing to say
    clock.now += 10
    await rpc.probe()
    await two.node.rpc.call("anvil_reorg", (12, []))
    clock.now += 10
    with pytest.raises(Disagreement) as told:
        await rpc.probe()
    assert told.value.number == 13
    assert str(told.value) == "node 1 and node 2 disagree about final block 13"


async def test_all_away_says_so_and_recovers(clock: Clock) -> None:
    one, two = await twins()
    rpc = FailoverRpc(local_network(), [one, two], clock=clock)
    one.shut = two.shut = NodeUnavailable("gone")
    for _ in range(4):
        with pytest.raises(NodeUnavailable):
            await head(rpc)
        clock.now += 1
    asked = len(one.methods) + len(two.methods)
    assert [h.state for h in await rpc.probe()] == ["away", "away"]
    assert len(one.methods) + len(two.methods) <= asked + 6
    one.shut = two.shut = None
    assert await head(rpc) == 20  # without waiting for the pause's end: there is nobody else


async def test_nodes_that_hang_are_waited_for_side_by_side(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other they take longer than what a node said counts as fresh."""
    well, *hanging = await twins(4)
    waiting = most = 0

    async def hang(_: Sequence[Call]) -> list[object]:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0.05)
        waiting -= 1
        raise NodeTimeout("the node did not answer in time")

    for door in hanging:
        monkeypatch.setattr(door, "batch", hang)
    rpc = FailoverRpc(local_network(), [well, *hanging], clock=clock)
    states = [health.state for health in await rpc.probe()]
    assert states == ["serving", "away", "away", "away"]
    assert most == 3


async def test_which_chain_it_is_says_the_first_of_the_file_and_not_the_fastest(
    clock: Clock,
) -> None:
    """Where block 1 is not pinned, a later node on another chain must not keep the first out."""
    one, two = await twins()
    await two.node.rpc.call("anvil_reorg", (20, []))  # another block 1
    answers = one.batch

    async def a_moment_later(calls: Sequence[Call]) -> list[object]:
        await asyncio.sleep(0.05)
        return await answers(calls)

    one.batch = a_moment_later  # type: ignore[method-assign]
    rpc = FailoverRpc(local_network(), [one, two], clock=clock)
    assert [h.state for h in await rpc.probe()] == ["serving", "wrong_chain"]


async def test_a_stranger_that_answered_first_goes_once_the_chain_is_known(clock: Clock) -> None:
    """The first of the file was away as this process began; which chain it is the books know."""
    one, two = await twins()
    await two.node.rpc.call("anvil_reorg", (20, []))
    rpc = FailoverRpc(local_network(), [one, two], clock=clock)
    one.shut = NodeUnavailable("gone")
    assert [h.state for h in await rpc.probe()] == ["away", "standby"]
    one.shut = None
    first = await one.node.rpc.call("eth_getBlockByNumber", ("0x1", False))
    rpc.pin(first["hash"])  # type: ignore[index]
    assert [h.state for h in await rpc.probe()] == ["serving", "wrong_chain"]


async def test_a_standby_that_takes_long_for_each_answer_is_not_waited_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never fails: each answer comes before the transport gives up."""
    one, two = await twins()
    rpc = FailoverRpc(local_network(), [one, two], clock=clock)
    assert [h.state for h in await rpc.probe()] == ["serving", "standby"]
    monkeypatch.setattr("chain.nodes.BESIDE_SECONDS", 0.05)
    slow = {"shared": 0.0, "probe": 0.0}
    for name, method in (("call", two.call), ("batch", two.batch)):

        async def late(*asked: object, real: object = method) -> object:
            await asyncio.sleep(0.5)
            return await real(*asked)  # type: ignore[operator]

        monkeypatch.setattr(two, name, late)
    for what in slow:
        clock.now += BACKOFF_LAST_SECONDS
        began = asyncio.get_running_loop().time()
        await (rpc.shared(10) if what == "shared" else rpc.probe())
        slow[what] = asyncio.get_running_loop().time() - began
    assert max(slow.values()) < 0.4
