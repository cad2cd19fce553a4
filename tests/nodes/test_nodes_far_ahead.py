"""One of several nodes that lies: what is final is not for it alone to say."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from chain.client import ChainClient
from chain.failover import STILL_SECONDS, FailoverRpc
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.deposits import Scanner
from wallet.onchain import NetworkObserver
from wallet.testing.seam import Seam

AHEAD = 30


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("first", ["honest", "liar"])
async def test_a_node_that_claims_to_be_far_ahead_credits_nobody(
    db: Database, tmp_path: Path, first: str
) -> None:
    """It makes up blocks on top of the true head, with money in them; the others do not have
    them, and as they are far behind it they are not read from."""
    honest, liar, clock = FakeNode(), FakeNode(), Clock()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4,
        transport=honest.transport,
    )  # fmt: skip
    try:
        ada = await seam.person()
        address = await seam.address(ada)
        await seam.mine(5)
        liar.chain = copy.deepcopy(honest.chain)
        liar.chain._forks = 1  # its blocks from here on are its own
        nodes = [honest.transport(), liar.transport()]
        several = FailoverRpc(
            seam.network, nodes if first == "honest" else nodes[::-1], clock=clock
        )
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        lie = {"from": seam.faucet, "to": address, "value": hex(10**18)}
        await liar.transport().call("eth_sendTransaction", (lie,))
        liar.chain.mine(AHEAD)
        for _ in range(3):
            clock.now += 10
            honest.chain.mine()
            await seam.observer.tick()
            await seam.scanner.tick()
        assert (await seam.balance(ada, "ETH")).total_minor == 0
    finally:
        await seam.close()


async def test_a_node_that_stands_still_is_not_waited_for_for_ever(
    db: Database, tmp_path: Path
) -> None:
    node, still, clock = FakeNode(), FakeNode(), Clock()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4, transport=node.transport
    )
    try:
        ada = await seam.person()
        address = await seam.address(ada)
        await seam.mine(5)
        still.chain = copy.deepcopy(node.chain)
        several = FailoverRpc(seam.network, [node.transport(), still.transport()], clock=clock)
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        await seam.observer.tick()
        await seam.pay_in(address, "1", "ETH")
        for wait, credited in ((10, 0), (STILL_SECONDS, 1)):
            clock.now += wait
            node.chain.mine(10)
            await seam.observer.tick()
            await seam.scanner.tick()
            assert (await seam.balance(ada, "ETH")).total_minor == credited * 10**18
    finally:
        await seam.close()
