"""A node whose answers show to be garbage when they are read: the next one is asked, and a single
node is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from chain.address import checked
from chain.answerable import answerable
from chain.client import ChainClient
from chain.dev import DevNode
from chain.errors import NodeGarbage, NodeTimeout
from chain.failover import BACKOFF_FIRST_SECONDS, STANDBY_PROBE_SECONDS, FailoverRpc
from chain.nodes import MAX_LAG_BLOCKS
from chain.rpc import Rpc
from chain.testing import FakeNode
from tests.chain.benches import FAKE_CONTRACT, OUTSIDER, local_network
from wallet.deposits import Scanner
from wallet.onchain import NetworkObserver
from wallet.testing.meddler import Alter, Meddler
from wallet.testing.seam import Seam

PAID = 12
"""The block with a transfer of tokens; ten more lie on it."""
RECENT = PAID + 8
ELSEWHERE = "0x" + "ab" * 32


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def node() -> Meddler:
    fake = FakeNode()
    rpc, dev = fake.rpc, DevNode(fake.rpc)
    usdc = fake.add_token(FAKE_CONTRACT, owner=(await dev.accounts())[0], supply=10**12)
    await dev.mine(PAID - 1)
    await dev.send_token(usdc, OUTSIDER, 7)
    await dev.mine(10)
    return Meddler(rpc)


def client(*doors: Rpc, clock: Clock) -> ChainClient:
    network = local_network(checked(FAKE_CONTRACT), rpc_urls=("http://node.invalid",) * len(doors))
    return ChainClient(network, FailoverRpc(network, doors, clock=clock))


def block_shape(method: str, params: Sequence[Any], result: Any) -> Any:
    return {"number": params[0]} if _is_block(method, params) else result


def block_number(method: str, params: Sequence[Any], result: Any) -> Any:
    return {**result, "number": hex(PAID + 1)} if _is_block(method, params) else result


def receipts_block(method: str, params: Sequence[Any], result: Any) -> Any:
    if method != "eth_getBlockReceipts":
        return result
    logs = [{**log, "blockHash": ELSEWHERE} for log in result[0]["logs"]]
    return [{**result[0], "blockHash": ELSEWHERE, "logs": logs}]


def receipts_logs(method: str, params: Sequence[Any], result: Any) -> Any:
    if method != "eth_getBlockReceipts":
        return result
    logs = [{**log, "blockHash": ELSEWHERE} for log in result[0]["logs"]]
    return [{**result[0], "logs": logs}]


def receipts_bloom(method: str, params: Sequence[Any], result: Any) -> Any:
    return [{**result[0], "logs": []}] if method == "eth_getBlockReceipts" else result


def _is_block(method: str, params: Sequence[Any]) -> bool:
    return method == "eth_getBlockByNumber" and params[0] == hex(PAID)


async def one_block(chain: ChainClient) -> int:
    block = await chain.full_block(PAID)
    assert block is not None
    return len(await chain.deposits(block, watched={OUTSIDER}))


async def a_range(chain: ChainClient) -> int:
    piece = await chain.block_range(range(1, PAID + 5))
    found = await chain.range_deposits(piece, watched={OUTSIDER})
    return sum(map(len, found.values()))


Reading = Callable[[ChainClient], Awaitable[int]]
LIES: list[tuple[Alter, Reading]] = [
    (block_shape, one_block),
    (block_shape, a_range),
    (block_number, one_block),
    (block_number, a_range),
    (receipts_block, one_block),
    (receipts_logs, one_block),
    (receipts_bloom, one_block),
]


@pytest.mark.parametrize(("lie", "reading"), LIES)
async def test_the_next_node_is_asked_and_a_single_one_again(lie: Alter, reading: Reading) -> None:
    liar, honest = await node(), await node()
    both, alone = client(liar, honest, clock=Clock()), client(liar, clock=Clock())
    assert await reading(both) == 1 and not honest.asked
    liar.alter = lie
    with pytest.raises(NodeGarbage):
        await reading(both)
    liar.asked.clear()
    assert await reading(both) == 1
    assert honest.asked and not liar.asked
    for _ in range(3):
        with pytest.raises(NodeGarbage):
            await reading(alone)
    liar.calm()
    assert await reading(alone) == 1


async def test_logs_of_another_block_are_left_to_the_receipts_of_the_next_node() -> None:
    def lie(method: str, params: Sequence[Any], result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        return [{**log, "blockHash": ELSEWHERE} for log in result]

    liar, honest = await node(), await node()
    chain = client(liar, honest, clock=Clock())
    liar.alter = lie
    assert await a_range(chain) == 1
    assert "eth_getBlockReceipts" in honest.asked and "eth_getBlockReceipts" not in liar.asked


async def test_what_is_read_at_once_is_one_failure() -> None:
    liar, honest, clock = await node(), await node(), Clock()
    chain = client(liar, honest, clock=clock)
    await chain.head()
    liar.alter = block_number
    liar.before = lambda: asyncio.sleep(0.02)
    read = [one_block(chain) for _ in range(5)]
    told = await asyncio.gather(*read, return_exceptions=True)
    assert all(isinstance(error, NodeGarbage) for error in told)
    assert await states(chain) == ["away", "standby"]
    clock.now += BACKOFF_FIRST_SECONDS
    assert await states(chain) == ["serving", "standby"]  # it paused no longer than for one


async def test_what_it_told_before_it_failed_is_no_further_failure() -> None:
    one, two, clock = await node(), await node(), Clock()
    chain = client(one, two, clock=clock)
    one.lose_before = {"eth_getTransactionReceipt"}
    with pytest.raises(NodeGarbage):
        async with answerable():
            await chain.head()
            with pytest.raises(NodeTimeout):
                await chain.receipts([ELSEWHERE])
            clock.now += BACKOFF_FIRST_SECONDS
            assert await states(chain) == ["serving", "standby"]
            raise NodeGarbage("that head")
    assert await states(chain) == ["serving", "standby"]


async def test_views_that_differ_are_nobodys_fault() -> None:
    """One node told a block and fell behind; the other one has no such block."""
    one, two, clock = await node(), await node(), Clock()
    await two.inner.call("anvil_reorg", (5, []))
    chain = client(one, two, clock=clock)
    with pytest.raises(NodeGarbage):
        async with answerable():
            block = await chain.full_block(RECENT)
            assert block is not None
            await two.inner.call("anvil_mine", (hex(MAX_LAG_BLOCKS + 1),))
            clock.now += STANDBY_PROBE_SECONDS
            await states(chain)
            await chain.block_receipts(block)
    assert await states(chain) == ["lagging", "serving"]


async def states(chain: ChainClient) -> list[str]:
    assert isinstance(chain.rpc, FailoverRpc)
    return [health.state for health in await chain.rpc.probe()]


async def behind(seam: Seam, *doors: Rpc) -> Scanner:
    network = replace(seam.network, rpc_urls=(seam.url,) * len(doors))
    seam.network = network
    return Scanner(seam.db, ChainClient(network, FailoverRpc(network, doors)), seam.assets)


@pytest.mark.parametrize("blocks", [4, 40])  # next to the head; so deep that ranges are read
@pytest.mark.parametrize("missing", [False, True])
async def test_a_lineage_that_does_not_fit_is_read_from_the_next_node(
    seam: Seam, blocks: int, missing: bool
) -> None:
    ada = await seam.person()
    address = await seam.address(ada)
    await seam.mine()
    where = (await seam.pay_in(address, "1", "ETH")).block_number
    await seam.dev.mine(blocks)

    def lie(method: str, params: Sequence[Any], result: Any) -> Any:
        if method != "eth_getBlockByNumber" or params[0] != hex(where) or not params[1]:
            return result
        return None if missing else {**result, "parentHash": ELSEWHERE}

    def liar() -> Meddler:
        door = Meddler(seam.reach(seam.url, timeout_seconds=2.0))
        door.alter = lie
        return door

    alone = await behind(seam, liar())
    for _ in range(3):
        await alone.tick()
    assert await place(seam) == where - 1
    scanner = await behind(seam, liar(), seam.reach(seam.url, timeout_seconds=2.0))
    for _ in range(3):
        await scanner.tick()
    assert await place(seam) == where + blocks
    await seam.finish()
    assert (await seam.balance(ada, "ETH")).total_minor == 10**18


async def test_a_node_that_lost_the_block_we_stand_on_makes_room_for_the_next(seam: Seam) -> None:
    await seam.mine()
    tip = await place(seam)
    await seam.dev.mine(3)

    def lie(method: str, params: Sequence[Any], result: Any) -> Any:
        return None if method == "eth_getBlockByNumber" and params[0] == hex(tip) else result

    doors = [Meddler(seam.reach(seam.url, timeout_seconds=2.0)) for _ in range(3)]
    doors[0].alter = doors[1].alter = lie
    alone, scanner = await behind(seam, doors[0]), await behind(seam, *doors[1:])
    for _ in range(3):
        await alone.tick()
    assert await place(seam) == tip
    for _ in range(3):
        await scanner.tick()
    assert await place(seam) == tip + 3


@pytest.mark.parametrize("field", ["timestamp", "number"])
async def test_a_head_beyond_time_and_numbers_is_garbage_and_the_next_node_serves(
    seam: Seam, field: str
) -> None:
    """Neither PostgreSQL nor a date holds it: each look broke, and what is known grew old."""
    await seam.observer.tick()

    def lie(method: str, params: Sequence[Any], result: Any) -> Any:
        latest = method == "eth_getBlockByNumber" and params[0] == "latest"
        return {**result, field: hex(2**63)} if latest else result

    liar, honest = (Meddler(seam.reach(seam.url, timeout_seconds=2.0)) for _ in range(2))
    liar.alter = lie
    network = replace(seam.network, rpc_urls=(seam.url,) * 2)
    several = FailoverRpc(network, [liar, honest])
    observer = NetworkObserver(seam.db, ChainClient(network, several), nodes=several)
    before = await known_at(seam)
    for _ in range(2):
        await observer.tick()
    assert await known_at(seam) > before
    assert [one.state for one in await several.probe()] == ["away", "serving"]


async def known_at(seam: Seam) -> Any:
    [row] = await seam.rows("SELECT as_of FROM network_state")
    return row.as_of


async def place(seam: Seam) -> int:
    [stands] = await seam.rows("SELECT tip_number FROM scan_state")
    return int(stands.tip_number)
