"""What arrived is no single node's word: one of several invents coins, or hides some."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from chain import witness
from chain.address import checked
from chain.blocks import Block
from chain.client import ChainClient
from chain.differences import STANDS_SECONDS
from chain.errors import NodeRejected
from chain.failover import FailoverRpc
from chain.observe import ObservedDeposit
from chain.testing.fake_node import FakeNode
from chain.traces import InnerPayments
from tests.nodes.test_nodes_differ import Bend, Clock, Liar, node, seam, time, told
from wallet.auditor.rooms.receiving import CHECKS
from wallet.deposits import Scanner, SurplusFinder, scanner
from wallet.deposits.witnesses import AGAIN_SECONDS, Witnesses
from wallet.onchain import NetworkObserver
from wallet.testing.seam import Seam

__all__ = ["node", "seam", "time"]
ETH = 10**18
NEVER = "0x" + "fe" * 32
STRANGER = "0x" + "51" * 20
PAID, OTHER = checked("0x" + "52" * 20), checked("0x" + "53" * 20)


def behind(seam: Seam, nodes: list[FakeNode], time: Clock) -> None:
    """These stand behind the network from now on, and a worker that begins anew."""
    rpcs = [one.transport() for one in nodes]
    several = FailoverRpc(seam.network, rpcs, clock=time) if len(nodes) > 1 else None
    seam.chain = ChainClient(seam.network, several or rpcs[0])
    seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
    seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
    seam.runner = seam.new_runner()


def more(address: str) -> Bend:
    """What was paid there was a thousand coins more."""

    def bend(call: dict[str, Any], result: Any) -> Any:
        if call["method"] != "eth_getBlockByNumber" or not call["params"][1] or result is None:
            return result
        paid = [
            one | {"value": hex(int(one["value"], 16) + 1_000 * ETH)}
            if (one["to"] or "").lower() == address.lower()
            else one
            for one in result["transactions"]
        ]
        return result | {"transactions": paid}

    return bend


def invented(address: str, where: int) -> Bend:
    """A transaction in that block which nobody sent."""

    def bend(call: dict[str, Any], result: Any) -> Any:
        method, params = call["method"], call["params"]
        full = method == "eth_getBlockByNumber" and params[1] and result is not None
        if full and int(result["number"], 16) == where:
            place = {"blockHash": result["hash"], "transactionIndex": hex(1)}
            paid = {"hash": NEVER, "from": STRANGER, "to": address, "value": hex(ETH)}
            return result | {
                "transactions": [*result["transactions"], {**place, **paid, "nonce": "0x0"}]
            }
        if method == "eth_getBlockReceipts" and result:
            [one] = result
            if int(one["blockNumber"], 16) == where:
                more = {"transactionHash": NEVER, "transactionIndex": "0x1", "logs": []}
                return [one, one | more]
        return result

    return bend


async def credited(seam: Seam, who: str) -> int:
    return (await seam.balance(who, "ETH")).total_minor


@pytest.mark.parametrize("lie", ["more", "invented"])
async def test_coins_that_one_of_two_nodes_alone_tells_of_are_nobodys(
    seam: Seam, node: FakeNode, time: Clock, lie: str
) -> None:
    ada, bob = await seam.person(), await seam.person()
    hers, his = await seam.address(ada), await seam.address(bob)
    liar = Liar(node)
    behind(seam, [liar.node, node], time)
    await seam.mine()
    where = node.chain.head.number + 1
    liar.bend = more(hers) if lie == "more" else invented(hers, where)
    await seam.pay_in(hers if lie == "more" else STRANGER, "1", "ETH")
    await seam.pay_in(his, "2", "ETH")
    await seam.arrive()
    await seam.pass_once()
    assert (await credited(seam, ada), await credited(seam, bob)) == (0, 2 * ETH)
    for _ in range(6):
        await seam.observer.tick()
        await seam.scanner.tick()
        time.now += STANDS_SECONDS / 4
    [what] = await told(seam)
    assert "differ about arrivals" in what and "brought no such thing" in what
    behind(seam, [node], time)  # an operator has taken the liar out of the file
    for _ in range(2):
        await seam.pass_once()
    assert await credited(seam, ada) == 0
    [row] = await seam.rows("SELECT status FROM deposits WHERE principal_id = :who", who=ada)
    assert row.status == "orphaned"


async def test_what_nodes_differ_about_keeps_no_others_waiting(
    seam: Seam, node: FakeNode, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as one pass credits."""
    monkeypatch.setattr(scanner, "CREDITS_PER_TICK", 1)
    ada, bob = await seam.person(), await seam.person()
    hers, his = await seam.address(ada), await seam.address(bob)
    liar = Liar(node)
    behind(seam, [liar.node, node], time)
    await seam.mine()
    liar.bend = more(hers)
    await seam.pay_in(hers, "1", "ETH")
    await seam.pay_in(his, "2", "ETH")
    await seam.arrive()
    for _ in range(3):
        await seam.pass_once()
    assert (await credited(seam, ada), await credited(seam, bob)) == (0, 2 * ETH)


async def test_of_three_one_alone_neither_credits_nor_hides(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """As the serving node it is outvoted, and what it told of is in no block."""
    ada, bob = await seam.person(), await seam.person()
    hers, his = await seam.address(ada), await seam.address(bob)
    liar, other = Liar(node), Liar(node)
    behind(seam, [liar.node, node, other.node], time)
    await seam.mine()
    liar.bend = more(hers)
    await seam.pay_in(hers, "1", "ETH")
    await seam.pay_in(his, "2", "ETH")
    for _ in range(3):
        await seam.arrive()
        time.now += AGAIN_SECONDS
    assert (await credited(seam, ada), await credited(seam, bob)) == (0, 2 * ETH)
    [row] = await seam.rows("SELECT status FROM deposits WHERE principal_id = :who", who=ada)
    assert row.status == "orphaned"
    finder = SurplusFinder(seam.db, seam.chain, seam.assets, seam.deriver)
    await finder.tick()
    [found] = await seam.rows("SELECT address, amount_minor FROM unattributed_arrivals")
    assert (found.address, int(found.amount_minor)) == (hers, ETH)  # what did come is not lost
    behind(seam, [node, other.node, liar.node], time)
    liar.bend = hidden
    await seam.pay_in(his, "3", "ETH")
    await seam.arrive()
    assert await credited(seam, bob) == 5 * ETH
    assert await seam.differences() == []


def hidden(call: dict[str, Any], result: Any) -> Any:
    """Nothing was ever sent."""
    if call["method"] == "eth_getBlockReceipts":
        return []
    if call["method"] != "eth_getBlockByNumber" or result is None:
        return result
    return result | {"transactions": [], "logsBloom": "0x" + "0" * 512}


@pytest.mark.parametrize("asset", ["ETH", "USDC"])
async def test_what_one_of_two_hides_waits_and_is_credited_when_both_show_it(
    seam: Seam, node: FakeNode, time: Clock, asset: str
) -> None:
    ada = await seam.person()
    liar = Liar(node, hidden)
    behind(seam, [node, liar.node], time)
    await seam.mine()
    await seam.pay_in(await seam.address(ada), "1", asset)
    for _ in range(2):
        await seam.arrive()
    assert (await seam.balance(ada, asset)).total_minor == 0
    [row] = await seam.rows(
        "SELECT status, reason FROM deposits WHERE principal_id = :who", who=ada
    )
    assert (row.status, row.reason) == ("confirmed", "nodes_differ")
    [early] = [one for one in CHECKS if one.code == "deposit_booked_early"]
    assert await seam.rows(early.sql) == []  # the auditor finds nothing in that
    liar.bend = None
    await seam.arrive()
    assert (await seam.balance(ada, asset)).total_minor == 0  # asked again after a while only
    time.now += AGAIN_SECONDS
    await seam.pass_once()
    assert (await seam.balance(ada, asset)).total_minor == seam.money("1", asset).minor
    [row] = await seam.rows(
        "SELECT status, reason FROM deposits WHERE principal_id = :who", who=ada
    )
    assert (row.status, row.reason) == ("credited", None)


async def test_what_moves_inside_the_house_waits_for_nobody(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """It is nobody's money, and by whom it is shown may hang on a treasury of before."""
    [hot] = await seam.signer.hot_addresses()
    behind(seam, [node, Liar(node, hidden).node], time)
    await seam.pay_in(hot, "1", "ETH")
    await seam.mine()
    [row] = await seam.rows(
        "UPDATE deposits SET is_move = true WHERE entry_id IS NULL RETURNING id"
    )
    assert await Witnesses(seam.db, seam.chain, seam.assets).heard([row.id]) == [row.id]


async def test_who_paid_may_be_another_one_after_a_reorganisation(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    """The row keeps who was seen first; amount and place must be as they are told."""
    address = await seam.address(await seam.person())
    receipt = await seam.pay_in(address, "1", "USDC")
    behind(seam, [node, Liar(node).node], time)
    [log] = receipt.logs
    contract = seam.network.tokens[0].contract
    told = ObservedDeposit(receipt.tx_hash, log.log_index, "USDC", contract, OTHER, address, 10**6)
    block = receipt.block_number, receipt.block_hash
    claims = [told, replace(told, amount=10**6 + 1), replace(told, to_address=PAID)]
    assert await witness.arrived(seam.chain, *block, claims) == [True, False, False]
    assert await witness.arrived(seam.chain, block[0], NEVER, claims) == [None] * 3


async def test_a_node_that_is_away_holds_up_no_credit(
    seam: Seam, node: FakeNode, time: Clock
) -> None:
    ada, away = await seam.person(), FakeNode()
    behind(seam, [node, away], time)
    away.away = True
    await seam.pay_in(await seam.address(ada), "1", "ETH")
    await seam.arrive()
    assert await credited(seam, ada) == ETH


class Traced(InnerPayments):
    """As if the node at that place of the file traced a payment of one coin inside each block."""

    shows: ClassVar[dict[int, bool | None]] = {}

    async def told(self, block: Block, *, watched: Container[str]) -> list[ObservedDeposit]:
        shows = self.shows.get(id(self._chain.rpc), True)
        if shows is None:
            raise NodeRejected(-32601, "no such method")
        return [INNER] if shows else []


INNER = ObservedDeposit(NEVER, -1, "ETH", None, OTHER, PAID, ETH, "0.1")


@pytest.mark.parametrize(
    ("others", "verdict"),
    [([True], True), ([False], None), ([None], True), ([True, False], True), ([False] * 2, None)],
)
async def test_payments_inside_are_asked_of_those_that_trace(
    seam: Seam, node: FakeNode, time: Clock, monkeypatch: pytest.MonkeyPatch,
    others: list[bool | None], verdict: bool | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(witness, "InnerPayments", Traced)
    network = replace(seam.network, supports=("traces",))
    standby = [Liar(node).node.transport() for _ in others]
    monkeypatch.setattr(
        Traced, "shows", dict(zip(map(id, standby), others, strict=True)), raising=False
    )
    chain = ChainClient(network, FailoverRpc(network, [node.transport(), *standby], clock=time))
    head = await chain.head()
    assert await witness.arrived(chain, head.number, head.hash, [INNER]) == [verdict]
