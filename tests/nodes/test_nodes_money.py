"""Money while nodes fail: paid once through another one, and stopped where they contradict."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.rpc import JsonRpc
from chain.testing import AnvilProcess, FaultProxy
from wallet.deposits import Scanner
from wallet.networks import states
from wallet.onchain import ChainUnavailable, NetworkObserver
from wallet.testing.seam import Seam
from wallet.withdrawals import Planner

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
EVERYTHING = {
    "eth_chainId", "eth_getBlockByNumber", "eth_sendRawTransaction", "eth_getTransactionCount",
    "eth_feeHistory", "eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_estimateGas",
    "eth_getBalance", "eth_call", "web3_clientVersion",
}  # fmt: skip


@pytest.fixture
async def doors(seam: Seam) -> AsyncIterator[tuple[FaultProxy, FaultProxy]]:
    """Two ways to the same node, and the seam's worker behind both."""
    async with FaultProxy(seam.url) as one, FaultProxy(seam.url) as two:
        _stand_behind(seam, one.url, two.url)
        yield one, two


def _stand_behind(seam: Seam, *urls: str) -> None:
    rpcs = [JsonRpc(url, timeout_seconds=2.0) for url in urls]
    seam.opened += rpcs
    failover = FailoverRpc(seam.network, rpcs)
    seam.chain = ChainClient(seam.network, failover)
    seam.observer = NetworkObserver(seam.db, seam.chain, nodes=failover)
    seam.runner = seam.new_runner()
    seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
    seam.planner = Planner(seam.db, {"local": seam.chain}, seam.assets)


async def test_paid_once_through_the_other_node(
    seam: Seam, doors: tuple[FaultProxy, FaultProxy]
) -> None:
    """The first node takes the bytes, dies before it answers, and stays away."""
    one, two = doors
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    one.fault = "drop_reply"
    await seam.pass_once()
    assert one.seen["eth_sendRawTransaction"] == 1
    one.fault, one.methods = "drop_request", EVERYTHING
    for _ in range(3):
        await seam.pass_once()
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert two.seen["eth_getTransactionReceipt"] > 0
    assert await seam.on_chain(OUTSIDE, "ETH") == 10**18
    async with seam.db.transaction() as session:
        assert (await states(session))["local"].nodes_well == 1
    assert await seam.differences() == []


async def test_all_away_refuses_sends_and_everything_comes_back(
    seam: Seam, doors: tuple[FaultProxy, FaultProxy]
) -> None:
    ada = await seam.funded_person()
    for door in doors:
        door.fault, door.methods = "drop_request", EVERYTHING
    for _ in range(3):
        await seam.observer.tick()
    async with seam.db.transaction() as session:
        seen = (await states(session))["local"]
    assert (seen.healthy, seen.nodes_well) == (False, 0)
    assert seen.as_of is not None  # how old the last word is can be told
    with pytest.raises(ChainUnavailable):
        await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    for door in doors:
        door.fault = "none"
    await seam.observer.tick()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"


async def test_nodes_that_contradict_stop_the_network(seam: Seam) -> None:
    """Two nodes, two final histories: nothing is sent or credited until they agree."""
    ada = await seam.funded_person()
    process = AnvilProcess()
    process.start()
    liar = process.rpc()
    try:
        dump = await seam.node("anvil_dumpState", True)
        await liar.call("anvil_loadState", (dump,))
        seam.network = replace(seam.network, block1_hash=None)
        _stand_behind(seam, seam.url, process.url)
        await seam.observer.tick()
        await seam.dev.mine(seam.network.confirmations + 2)
        await liar.call("anvil_mine", (hex(seam.network.confirmations + 2), "0x7"))
        failover = seam.observer._nodes
        assert failover is not None
        failover._nodes[1].probed_at = None  # due now
        await seam.observer.tick()
        async with seam.db.transaction() as session:
            seen = (await states(session))["local"]
        assert not seen.healthy and seen.as_of is None
        assert "disagree about final block" in seen.detail or "another one" in seen.detail
        [case] = await seam.rows("SELECT kind, subject, what FROM cases WHERE status = 'open'")
        assert (case.kind in ("nodes_disagree", "wrong_chain"), case.subject) == (True, "local")
        assert seen.detail in case.what
        with pytest.raises(ChainUnavailable):
            await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    finally:
        await liar.aclose()
        process.stop()
