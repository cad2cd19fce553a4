"""One of several nodes that tells of a base fee that nobody pays keeps nothing back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.testing.fake_node import FakeNode
from tests.treasury.test_treasury_stolen import COLD, _emptied
from wallet.db import Database
from wallet.onchain import NetworkObserver
from wallet.onchain.freeze import freeze_network
from wallet.testing.seam import Seam
from wallet.treasury import TreasuryWatch
from wallet.withdrawals import Planner

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


def _dear(node: FakeNode) -> None:
    """Its head tells of a fee above every bound."""
    exchange = node.exchange

    def raised(one: Any) -> Any:
        told = one.get("result") if isinstance(one, dict) else None
        if isinstance(told, dict) and "baseFeePerGas" in told:
            told["baseFeePerGas"] = hex(10**18)
        return one

    async def lying(body: bytes) -> bytes:
        told: Any = json.loads(await exchange(body))
        told = [raised(one) for one in told] if isinstance(told, list) else raised(told)
        return json.dumps(told).encode()

    node.exchange = lying  # type: ignore[method-assign]


async def test_one_node_of_three_stops_nobody_by_its_fees(db: Database, tmp_path: Path) -> None:
    """Two of the others say what nobody mines below; one alone does not."""
    honest, second, liar = FakeNode(), FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2,
        transport=honest.transport,
    )  # fmt: skip
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        liar.chain = second.chain = honest.chain
        _dear(liar)
        several = FailoverRpc(
            seam.network, [honest.transport(), liar.transport(), second.transport()]
        )
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.planner = Planner(seam.db, {"local": seam.chain}, seam.assets)
        seam.runner = seam.new_runner()
        await seam.observer.tick()
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        await seam.runner.tick()
        now = await seam.withdrawal(ada, made.id)
        assert (now.status, len(now.attempts)) == ("broadcast", 1)
    finally:
        await seam.close()


async def test_nor_does_the_other_of_two_stop_an_evacuation(db: Database, tmp_path: Path) -> None:
    honest, liar = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", cold=COLD, confirmations=2,
        transport=honest.transport,
    )  # fmt: skip
    try:
        await seam.fund_house()
        liar.chain = honest.chain
        _dear(liar)
        several = FailoverRpc(seam.network, [honest.transport(), liar.transport()])
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.runner = seam.new_runner()
        seam.treasury = TreasuryWatch(seam.db, seam.chain, seam.assets)
        await seam.observer.tick()
        async with seam.operators.transaction() as session:
            await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
        await _emptied(seam)
        [address] = await seam.signer.hot_addresses()
        assert await seam.on_chain(address, "ETH") == 0
    finally:
        await seam.close()


def _catches_up(node: FakeNode) -> None:
    """It was off for a day, and stands at a block of dear hours now, each time at a later one."""
    exchange, passed = node.exchange, 0

    async def behind(body: bytes) -> bytes:
        nonlocal passed
        asked: Any = json.loads(body)
        for one in asked if isinstance(asked, list) else [asked]:
            if one["method"] == "eth_getBlockByNumber" and one["params"][0] == "latest":
                passed = min(passed + 1, 20)
                one["params"][0] = hex(passed)
        return await exchange(json.dumps(asked).encode())

    node.exchange = behind  # type: ignore[method-assign]
    _dear(node)


async def test_a_node_that_catches_up_stops_nobody_by_the_fees_of_yesterday(
    db: Database, tmp_path: Path
) -> None:
    honest, late = FakeNode(), FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2,
        transport=honest.transport,
    )  # fmt: skip
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        await seam.mine(40)
        late.chain = honest.chain
        _catches_up(late)
        several = FailoverRpc(seam.network, [honest.transport(), late.transport()])
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.planner = Planner(seam.db, {"local": seam.chain}, seam.assets)
        seam.runner = seam.new_runner()
        await seam.observer.tick()
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        await seam.runner.tick()
        now = await seam.withdrawal(ada, made.id)
        assert (now.status, len(now.attempts)) == ("broadcast", 1)
    finally:
        await seam.close()
