"""What one of several nodes says otherwise than others do: a case names both, or it is outvoted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from chain.abi import DECIMALS
from chain.client import ChainClient
from chain.differences import LAPSE_SECONDS, STANDS_SECONDS
from chain.failover import FailoverRpc
from chain.testing.fake_node import FakeNode
from tests.treasury.test_treasury_stolen import COLD, _emptied
from wallet import clock
from wallet.db import Database
from wallet.onchain import NetworkObserver
from wallet.onchain import network as networks
from wallet.onchain.freeze import freeze_network
from wallet.onchain.tokens import TokenWatch
from wallet.sweeps import Sweeper
from wallet.testing.seam import Seam
from wallet.treasury import TreasuryWatch
from wallet.withdrawals import Planner

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
DEAR = 10**18
Bend = Callable[[dict[str, Any], Any], Any]
"""What a call was, and its honest result: what the liar says."""


class Clock:
    """The real one, and what tests put on top."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now + monotonic()


@pytest.fixture
def time() -> Iterator[Clock]:
    source = Clock()
    clock.install(source)
    yield source
    clock.install(None)


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def seam(db: Database, tmp_path: Path, node: FakeNode) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", cold=COLD, confirmations=2,
        transport=node.transport,
    )  # fmt: skip
    await seam.fund_house()
    yield seam
    await seam.close()


class Liar:
    """A node of the same chain that lies as long as `bend` is there."""

    def __init__(self, honest: FakeNode, bend: Bend | None = None) -> None:
        self.node, self.bend = FakeNode(), bend
        self.node.chain, self._exchange = honest.chain, self.node.exchange
        self.node.exchange = self._lying  # type: ignore[method-assign]

    async def _lying(self, body: bytes) -> bytes:
        asked: Any = json.loads(body)
        answer: Any = json.loads(await self._exchange(body))
        if self.bend is None:
            return json.dumps(answer).encode()
        many, told = ([asked], [answer]) if isinstance(asked, dict) else (asked, answer)
        calls = {one["id"]: one for one in many}
        for one in told:
            if "result" in one:
                bent = self.bend(calls[one["id"]], one["result"])
                if isinstance(bent, Exception):
                    del one["result"]
                    one["error"] = {"code": -32601, "message": str(bent)}
                else:
                    one["result"] = bent
        return json.dumps(told if isinstance(asked, list) else told[0]).encode()


def dear_heads(call: dict[str, Any], result: Any) -> Any:
    if isinstance(result, dict) and "baseFeePerGas" in result and "hash" in result:
        return result | {"baseFeePerGas": hex(DEAR)}
    return result


def dear(call: dict[str, Any], result: Any) -> Any:
    if call["method"] == "eth_feeHistory":
        return {"oldestBlock": "0x1", "baseFeePerGas": [hex(DEAR)], "reward": []}
    return result


def behind(seam: Seam, nodes: list[FakeNode], time: Clock) -> None:
    """These stand behind the network from now on."""
    several = FailoverRpc(seam.network, [one.transport() for one in nodes], clock=time)
    seam.chain = ChainClient(seam.network, several)
    seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
    seam.planner = Planner(seam.db, {"local": seam.chain}, seam.assets)
    seam.runner = seam.new_runner()
    seam.treasury = TreasuryWatch(seam.db, seam.chain, seam.assets)


async def passes(seam: Seam, time: Clock, seconds: float) -> None:
    """The worker goes on for so long."""
    for _ in range(int(seconds // 20) + 1):
        await seam.observer.tick()
        await seam.runner.tick()
        await seam.treasury.tick()
        time.now += 20


async def told(seam: Seam, status: str = "open") -> list[str]:
    rows = await seam.rows(
        "SELECT what FROM cases WHERE kind = 'nodes_differ' AND status = :status ORDER BY id",
        status=status,
    )
    return [row.what for row in rows]


async def test_two_nodes_that_differ_about_fees_are_a_case_until_they_do_not(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """Payments wait, and nobody knew for which node."""
    liar = Liar(node, dear_heads)
    behind(seam, [node, liar.node], time)
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await passes(seam, time, 0)
    assert await told(seam) == []  # a moment: nobody is told
    await passes(seam, time, STANDS_SECONDS + 40)
    waits = await seam.withdrawal(ada, made.id)
    assert (waits.status, waits.waiting_for) == ("held", "fees")
    [what] = await told(seam)
    assert f"node 2 says a base fee of {DEAR} wei" in what and "node 1 says " in what
    liar.bend = None
    await passes(seam, time, LAPSE_SECONDS + 20)
    assert (await told(seam), len(await told(seam, "closed"))) == ([], 1)
    assert (await seam.withdrawal(ada, made.id)).status in ("broadcast", "mined")


async def test_a_slow_node_that_is_looked_at_makes_nothing_stale(
    seam: Seam, node: FakeNode, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One standby that answered in nearly three seconds held up what is written for eighteen."""
    monkeypatch.setattr(networks, "CLOSER_WAIT_SECONDS", 0.1, raising=False)
    slow, answers = Liar(node), asyncio.Event()
    behind(seam, [node, slow.node], time)
    quick = slow.node.exchange

    async def slowly(body: bytes) -> bytes:
        if b"eth_feeHistory" in body:
            await answers.wait()
        return await quick(body)

    slow.node.exchange = slowly  # type: ignore[method-assign]
    async with asyncio.timeout(2):  # less than a standby is waited for
        for _ in range(3):
            await seam.observer.tick()
    answers.set()
    slow.bend = dear_heads
    await passes(seam, time, STANDS_SECONDS + 100)
    assert len(await told(seam)) == 1


async def test_what_stood_before_a_start_ends_once_the_node_is_out_of_the_file(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    liar = Liar(node, dear_heads)
    behind(seam, [node, liar.node], time)
    await passes(seam, time, STANDS_SECONDS + 60)
    assert len(await told(seam)) == 1
    behind(seam, [node, liar.node], time)  # started anew, with the liar in the file
    await passes(seam, time, LAPSE_SECONDS + 40)
    assert (len(await told(seam)), await told(seam, "closed")) == (1, [])
    seam.chain = ChainClient(seam.network, node.transport())
    seam.observer = NetworkObserver(seam.db, seam.chain)
    await seam.observer.tick()
    assert (await told(seam), len(await told(seam, "closed"))) == ([], 1)


async def test_sweeps_that_wait_for_fees_say_so(seam: Seam, node: FakeNode, time: Clock) -> None:
    [hot] = seam.desk.hot_addresses
    seam.network = replace(seam.network, contracts={"treasury": hot})
    behind(seam, [node, Liar(node, dear_heads).node], time)
    await seam.observer.tick()
    with capture_logs() as logs:
        await Sweeper(seam.db, seam.chain, seam.assets, seam.signer).tick()
    assert [(one["event"], one["error"]) for one in logs] == [("sweep.waits", "fees_differ")]
    behind(seam, [Liar(node, dear).node, node], time)
    with capture_logs() as logs:
        await Sweeper(seam.db, seam.chain, seam.assets, seam.signer).tick()
    assert [(one["event"], one["error"]) for one in logs] == [("sweep.waits", "fee_ceiling")]


async def test_a_serving_node_that_asks_too_much_is_outvoted_by_two(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """All payments waited for its fees, and no other node was ever asked."""
    second = Liar(node)
    behind(seam, [Liar(node, dear).node, node, second.node], time)
    ada = await seam.funded_person()
    await passes(seam, time, 60)
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await passes(seam, time, 60)
    assert (await seam.withdrawal(ada, made.id)).status in ("broadcast", "mined")


async def test_of_two_nodes_the_one_that_asks_too_much_is_named(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    behind(seam, [Liar(node, dear).node, node], time)
    await passes(seam, time, 150)
    [what] = await told(seam)
    assert f"a base fee of {DEAR}, node 2 says" in what


async def test_a_serving_node_that_refuses_what_no_stranger_has_a_part_in_serves_no_more(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """It knows the chain and a head, so that it went on serving for good."""

    def refuses(call: dict[str, Any], result: Any) -> Any:
        return ValueError("no such method") if call["method"] == "eth_feeHistory" else result

    ada = await seam.funded_person()
    behind(seam, [Liar(node, refuses).node, node], time)
    await seam.observer.tick()
    await seam.observer.tick()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.runner.tick()
    assert (await seam.withdrawal(ada, made.id)).status == "broadcast"


def left(wei: int) -> Bend:
    """It claims that so much lies at every address."""

    def bend(call: dict[str, Any], result: Any) -> Any:
        return hex(wei) if call["method"] == "eth_getBalance" else result

    return bend


async def _ordered(seam: Seam) -> None:
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)


async def _over(seam: Seam) -> bool:
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    return freeze.evacuate_to is None


@pytest.mark.parametrize("third", [False, True])
async def test_a_wei_that_one_node_claims_is_named_and_of_three_ends_an_evacuation(
    seam: Seam, node: FakeNode, time: Clock, third: bool
) -> None:
    liar, second = Liar(node, left(7)), Liar(node)
    behind(seam, [node, liar.node, *([second.node] if third else [])], time)
    await _ordered(seam)
    await _emptied(seam, 6)
    assert await _over(seam) == third
    await passes(seam, time, STANDS_SECONDS + 20)
    [address] = await seam.signer.hot_addresses()
    assert [f"balance/{address}/ETH" in one and "node 2 says 7" in one for one in await told(seam)]\
        == ([] if third else [True])  # fmt: skip
    assert await seam.on_chain(address, "ETH") == 0


async def test_a_standby_to_which_nothing_is_final_is_named(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """Nothing is credited meanwhile, and no payment ends."""

    def never(call: dict[str, Any], result: Any) -> Any:
        return None if call["params"][:1] == ["finalized"] else result

    seam.network = replace(seam.network, finality="both", block_time_ms=100_000)
    behind(seam, [node, Liar(node, never).node], time)
    node.chain.mine(100)
    await passes(seam, time, 150)
    assert ["node 2 says block -1" in one for one in await told(seam)] == [True]


async def test_one_of_three_keeps_no_nonce_and_no_receipt_back(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """It denied both, and payments stayed mined, addresses unknown for good."""

    def denies(call: dict[str, Any], result: Any) -> Any:
        if call["method"] in ("eth_getTransactionReceipt", "eth_getBlockReceipts"):
            return None
        return "0x0" if call["method"] == "eth_getTransactionCount" else result

    behind(seam, [node, Liar(node, denies).node, Liar(node).node], time)
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    for _ in range(4):
        await seam.observer.tick()
        await seam.runner.tick()
        await seam.mine(3)
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    [hot] = await seam.signer.hot_addresses()
    assert await seam.chain.passed(hot, 0)


async def test_decimals_that_one_node_alone_tells_halt_no_token(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """Nothing of it was credited or sent until an operator had let it go on."""

    def other(call: dict[str, Any], result: Any) -> Any:
        asked = call["method"] == "eth_call" and call["params"][0]["data"] == DECIMALS
        return f"0x{7:064x}" if asked else result

    liar = Liar(node, other)
    behind(seam, [liar.node, node], time)
    await seam.observer.tick()
    await TokenWatch(seam.db, seam.chain).tick()
    assert await seam.rows("SELECT 1 FROM halted_tokens") == []
    behind(seam, [liar.node, liar.node], time)  # all of them say so
    await seam.observer.tick()
    await TokenWatch(seam.db, seam.chain).tick()
    assert await seam.rows("SELECT 1 FROM halted_tokens") != []


async def test_doubts_about_nonces_end_with_the_difference_and_so_does_an_evacuation(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """Of a database that was started anew: nothing is taken back before it was compared."""

    def many(call: dict[str, Any], result: Any) -> Any:
        return "0x9" if call["method"] == "eth_getTransactionCount" else result

    liar = Liar(node, many)
    behind(seam, [liar.node, node], time)
    async with seam.db.transaction() as session:
        await session.execute(text("UPDATE network_state SET compared_in = 'of another'"))
    await _ordered(seam)
    await passes(seam, time, STANDS_SECONDS + 40)
    [hot] = await seam.signer.hot_addresses()
    assert not await _over(seam)
    assert [f"nonces/{hot}" in one for one in await told(seam)] == [True]
    liar.bend = None
    await _emptied(seam, 12)
    assert await _over(seam)
    assert await seam.on_chain(hot, "ETH") == 0
