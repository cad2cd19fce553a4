"""One of several nodes that lies: what is final is not for it alone to say."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from chain.client import ChainClient
from chain.errors import NodeUnavailable
from chain.failover import BACKOFF_LAST_SECONDS, FailoverRpc
from chain.nodes import STILL_SECONDS
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


async def test_what_is_claimed_on_top_of_the_true_head_confirms_nothing(
    db: Database, tmp_path: Path
) -> None:
    """All of them have the newest true block; it may be reorganised away like any other."""
    honest, liar, clock = FakeNode(), FakeNode(), Clock()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4,
        transport=honest.transport,
    )  # fmt: skip
    try:
        ada = await seam.person()
        address = await seam.address(ada)
        await seam.mine(5)
        several = FailoverRpc(seam.network, [liar.transport(), honest.transport()], clock=clock)
        seam.chain = ChainClient(seam.network, several)
        seam.observer = NetworkObserver(seam.db, seam.chain, nodes=several)
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        await seam.pay_in(address, "1", "ETH")
        liar.chain = copy.deepcopy(honest.chain)
        liar.chain._forks = 1  # its blocks from here on are its own
        liar.chain.mine(AHEAD)
        for mined, credited in ((0, 0), (2, 0), (1, 1)):
            clock.now += 10
            honest.chain.mine(mined)
            for _ in range(2):
                await seam.observer.tick()
                await seam.scanner.tick()
            assert (await seam.balance(ada, "ETH")).total_minor == credited * 10**18
    finally:
        await seam.close()


async def test_the_others_are_asked_when_more_would_be_final_and_not_twice_a_second(
    db: Database, tmp_path: Path
) -> None:
    node, other, asked = FakeNode(), FakeNode(), 0
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4, transport=node.transport
    )
    try:
        ada = await seam.person()
        address = await seam.address(ada)
        await seam.mine(5)
        other.chain = node.chain
        exchange = other.exchange

        async def counted(body: bytes) -> bytes:
            nonlocal asked
            asked += 1
            return await exchange(body)

        other.exchange = counted  # type: ignore[method-assign]
        several = FailoverRpc(seam.network, [node.transport(), other.transport()])
        seam.chain = ChainClient(seam.network, several)
        await seam.observer.tick()
        seam.scanner = Scanner(seam.db, seam.chain, seam.assets)
        await seam.pay_in(address, "1", "ETH")
        await seam.scanner.tick()
        before = asked
        for _ in range(3):
            await seam.scanner.tick()
        assert (before > 0, asked - before) == (True, 0)
        node.chain.mine(4)
        await seam.observer.tick()
        await seam.scanner.tick()
        assert asked > before
        assert (await seam.balance(ada, "ETH")).total_minor == 10**18
    finally:
        await seam.close()


@pytest.mark.parametrize("limps", [False, True])
async def test_a_node_that_stands_still_is_not_waited_for_for_ever(
    db: Database, tmp_path: Path, limps: bool
) -> None:
    """Nor where it fails now and then: that it is back is no new block."""
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
            if limps:
                several.failed(several._nodes[1], NodeUnavailable("429"))
                clock.now += BACKOFF_LAST_SECONDS
            await seam.observer.tick()
            await seam.scanner.tick()
            assert (await seam.balance(ada, "ETH")).total_minor == credited * 10**18
    finally:
        await seam.close()
