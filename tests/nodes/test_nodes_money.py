"""Money while nodes fail: paid once through another one, and stopped where they contradict."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.rpc import JsonRpc
from chain.testing import FakeNode, FaultProxy
from wallet.cases import HOUSE
from wallet.db import Database
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
    _behind(seam, FailoverRpc(seam.network, rpcs))


def _behind(seam: Seam, failover: FailoverRpc) -> None:
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


async def test_nodes_that_contradict_stop_the_network_until_they_agree(
    db: Database, tmp_path: Path
) -> None:
    """Of two nodes one reorganises below finality: nothing is sent or credited, and a case says so
    until it is back."""
    node, other = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4, transport=node.transport
    )
    await seam.fund_house()
    ada = await seam.funded_person(usdc="0.000001")
    await seam.dev.send_native(await seam.address(ada), 10**18)  # seen before, and final later
    await seam.pass_once()
    other.chain = copy.deepcopy(node.chain)
    nodes = FailoverRpc(seam.network, [node.transport(), other.transport()])
    _behind(seam, nodes)
    await seam.observer.tick()
    assert await seam.rows("SELECT 1 FROM cases") == []
    await other.rpc.call("anvil_reorg", (8, []))
    for one in (node, other):
        await one.rpc.call("anvil_mine", (hex(4),))
    for _ in range(2):
        nodes._nodes[1].probed_at = None  # due now
        await seam.pass_once()
    async with db.transaction() as session:
        seen = (await states(session))["local"]
    assert not seen.healthy and seen.as_of is None
    assert "node 1 and node 2 disagree about final block" in seen.detail
    [case] = await seam.rows("SELECT kind, subject, severity, status, what FROM cases")
    assert (case.kind, case.subject, case.status) == ("nodes_disagree", "local", "open")
    assert case.severity == "critical" and seen.detail in case.what
    assert (await seam.balance(ada, "ETH")).total_minor == 10 * 10**18
    with pytest.raises(ChainUnavailable):
        await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    other.chain = copy.deepcopy(node.chain)
    nodes._nodes[1].probed_at = None
    await seam.pass_once()
    [case] = await seam.rows("SELECT status, closed_by FROM cases")
    assert (case.status, case.closed_by) == ("closed", HOUSE)
    assert (await seam.balance(ada, "ETH")).total_minor == 11 * 10**18
    await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.close()
