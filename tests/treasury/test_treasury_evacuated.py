"""What an evacuation does not leave behind: beside a token that breaks, or still on its way."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.client import ChainClient
from chain.errors import NodeRejected, NodeUnavailable
from chain.failover import FailoverRpc
from chain.testing.fake_node import FakeNode
from tests.treasury.test_treasury_stolen import COLD, _emptied
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import ChainUnavailable
from wallet.onchain.freeze import freeze_network
from wallet.testing.meddler import Meddler
from wallet.testing.seam import GWEI, Seam
from wallet.treasury import TreasuryWatch, moves, watch


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


async def order(seam: Seam) -> str:
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    [address] = await seam.signer.hot_addresses()
    return address


async def over(seam: Seam) -> bool:
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    return freeze.evacuate_to is None


def answering(seam: Seam, told: object, asked: str = "eth_estimateGas") -> TreasuryWatch:
    """Where the node answers this when the token is tried out, or asked for a balance."""
    [token] = seam.network.tokens

    def breaks(method: str, params: Sequence[Any], honest: Any) -> Any:
        if method == asked and params[0]["to"] == token.contract:
            if isinstance(told, NodeUnavailable):
                raise told
            return told
        return honest

    meddler = Meddler(seam.opened[0])
    meddler.alter = breaks
    return TreasuryWatch(seam.db, ChainClient(seam.network, meddler), seam.assets)


@pytest.mark.parametrize(
    "told",
    [NodeRejected(-32000, "invalid opcode: INVALID"), hex(30_000_000), hex(13_000_000)],
)
async def test_a_token_that_breaks_keeps_nothing_else_from_cold(seam: Seam, told: object) -> None:
    """An old one fails by `assert`, which no node calls a revert; a hostile one burns all gas, or
    so much that its margin is more than is ever signed."""
    seam.treasury = answering(seam, told)
    address = await order(seam)
    await _emptied(seam)
    assert await seam.on_chain(address, "ETH") == 0
    assert await seam.on_chain(COLD, "ETH") > 99 * 10**18
    assert await over(seam)


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        (NodeRejected(-32000, "execution aborted (timeout = 5s)"), "eth_estimateGas"),
        (NodeUnavailable("HTTP 503"), "eth_estimateGas"),
        ("<html>502</html>", "eth_estimateGas"),
        ("0x1", "eth_estimateGas"),
        (NodeUnavailable("HTTP 503"), "eth_call"),
    ],
)
async def test_what_may_be_the_nodes_is_tried_for_a_while(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, told: object, asked: str
) -> None:
    """Coins stay for its gas; but not for ever, since somebody else has the key."""
    seam.treasury = answering(seam, told, asked)
    address = await order(seam)
    await _emptied(seam, 3)
    assert await seam.on_chain(address, "ETH") == 100 * 10**18
    monkeypatch.setattr(watch, "GAS_SECONDS", 0.0)
    await _emptied(seam)
    assert await seam.on_chain(address, "ETH") == 0
    assert await over(seam)


@pytest.mark.parametrize("asked", ["eth_estimateGas", "eth_call"])
async def test_a_break_of_long_ago_says_nothing_of_a_token(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """The node was away between two of them: all coins left at the second one, and the token's gas
    with them."""
    seam.treasury = answering(seam, NodeUnavailable("HTTP 503"), asked)
    address = await order(seam)
    await seam.treasury.tick()
    later = time.monotonic() + watch.GAS_SECONDS
    monkeypatch.setattr(watch.clock, "steady", lambda: later)
    await _emptied(seam, 3)
    assert await seam.on_chain(address, "ETH") == 100 * 10**18
    assert not await over(seam)


async def test_nor_does_one_that_breaks_after_it_was_promised(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await order(seam)
    await seam.treasury.tick()
    monkeypatch.setattr(watch, "GAS_SECONDS", 0.0)
    seam.treasury = answering(seam, NodeRejected(-32000, "invalid opcode: INVALID"))
    seam.chain = seam.treasury._chain
    seam.runner = seam.new_runner()
    await _emptied(seam)
    assert await seam.on_chain(address, "ETH") == 0
    assert await over(seam)


async def test_what_is_swept_to_it_meanwhile_is_taken_along(seam: Seam) -> None:
    """A sweep that was sent before the order, and is mined after all else is final."""
    [address] = await seam.signer.hot_addresses()
    seam.network = replace(seam.network, contracts={"treasury": address})
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    swept = replace(chain, sweep_to=frozenset({address}))
    seam.desk.policy = replace(seam.desk.policy, chains={chain_id: swept})
    seam.restart_worker()
    await seam.funded_person(eth="2", usdc="0.01")
    await seam.automine(False)
    await seam.sweeper.tick()
    await seam.runner.tick()
    assert [row.state for row in await seam.rows("SELECT state FROM chain_intents")] == ["sent"]
    await order(seam)

    async def dear(passes: int) -> None:
        """Blocks that the sweep bids too little for."""
        for _ in range(passes):
            for _ in range(seam.network.confirmations + 1):
                await seam.node("anvil_setNextBlockBaseFeePerGas", hex(60 * GWEI))
                await seam.dev.mine(1)
            with suppress(ChainUnavailable):
                await seam.observer.tick()
                await seam.treasury.tick()
                await seam.runner.tick()

    await dear(12)
    assert await seam.on_chain(address, "USDC") == 0
    assert await seam.on_chain(address, "ETH") < 10**18
    await seam.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await _emptied(seam, 12)
    assert await over(seam)
    assert await seam.on_chain(address, "ETH") == 0
    assert await seam.on_chain(COLD, "ETH") > 101 * 10**18


async def proposed(seam: Seam) -> str:
    """A move to cold, for which the evacuation leaves nothing."""
    async with seam.operators.transaction() as session:
        return await moves.propose(
            session, network="local", money=seam.money("1", "USDC"), kind="to_cold",
            to_address=COLD, by="ada",
        )  # fmt: skip


async def approve(seam: Seam, move_id: str) -> None:
    [address] = await seam.signer.hot_addresses()
    async with seam.operators.transaction() as session:
        await moves.approve(
            session, move_id, by="bob", chain=seam.chain, sender=address, assets=seam.assets
        )


async def test_nothing_else_is_agreed_with_where_all_is_taken_away(seam: Seam) -> None:
    """It would wait for float for ever, and the evacuation for it."""
    move_id = await proposed(seam)
    address = await order(seam)
    with pytest.raises(InvalidState, match="is being emptied"):
        await approve(seam, move_id)
    await _emptied(seam, 12)
    assert await over(seam)
    with pytest.raises(InvalidState, match=f"{address} is being emptied, or"):
        await approve(seam, move_id)


async def test_what_was_agreed_with_as_the_order_came_does_not_keep_it_open(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction saw no order, and the worker's pass that took all coins saw no move."""
    move_id = await proposed(seam)
    address = await order(seam)
    await seam.treasury.tick()

    async def not_yet(*_: object) -> bool:
        return False

    with monkeypatch.context() as patched:
        patched.setattr(moves.hot, "given_up", not_yet)
        await approve(seam, move_id)
    await _emptied(seam, 12)
    assert await over(seam)
    assert await seam.on_chain(address, "ETH") == 0


async def test_one_of_several_nodes_does_not_say_alone_that_nothing_is_left(
    seam: Seam, node: FakeNode
) -> None:
    """What it denied would lie for good at an address whose key is somebody else's, and which
    signs nothing any more."""
    liar = FakeNode()
    liar.chain, exchange = node.chain, liar.exchange

    async def lying(body: bytes) -> bytes:
        asked: Any = json.loads(body)
        many = asked if isinstance(asked, list) else [asked]
        honest: Any = json.loads(await exchange(body))
        told = [
            one | {"result": f"0x{0:064x}" if call["method"] == "eth_call" else "0x0"}
            if call["method"] in ("eth_call", "eth_getBalance") else one
            for call, one in zip(many, honest if isinstance(asked, list) else [honest], strict=True)
        ]  # fmt: skip
        return json.dumps(told if isinstance(asked, list) else told[0]).encode()

    liar.exchange = lying  # type: ignore[method-assign]
    several = FailoverRpc(seam.network, [liar.transport(), node.transport()])
    true, seam.treasury = (
        seam.treasury, TreasuryWatch(seam.db, ChainClient(seam.network, several), seam.assets)
    )  # fmt: skip
    address = await order(seam)
    await _emptied(seam, 3)
    assert not await over(seam)
    seam.treasury = true  # the liar is out of the file
    await _emptied(seam)
    assert (await seam.on_chain(address, "USDC"), await seam.on_chain(address, "ETH")) == (0, 0)
    assert await over(seam)


async def test_nor_that_a_token_does_not_go(seam: Seam, node: FakeNode) -> None:
    """It would be left with the coins gone; the case says who differs."""
    address = await order(seam)
    [token] = seam.network.tokens
    liar, honest = Meddler(seam.opened[0]), seam.opened[0]

    def refuses(method: str, params: Sequence[Any], honest: Any) -> Any:
        if method == "eth_estimateGas" and params[0]["to"] == token.contract:
            return NodeRejected(3, "execution reverted")
        return honest

    liar.alter = refuses
    several = FailoverRpc(seam.network, [node.transport(), node.transport()])
    several._nodes[0].rpc = liar  # type: ignore[attr-defined]
    seam.treasury = TreasuryWatch(seam.db, ChainClient(seam.network, several), seam.assets)
    await _emptied(seam, 3)
    assert await seam.on_chain(address, "ETH") == 100 * 10**18
    assert any(one.startswith("transfers/") for one in several.differences._seen)
    assert not await over(seam)
    seam.treasury = TreasuryWatch(seam.db, ChainClient(seam.network, honest), seam.assets)
    await _emptied(seam)
    assert (await seam.on_chain(address, "USDC"), await seam.on_chain(address, "ETH")) == (0, 0)
    assert await over(seam)


async def test_an_address_without_coins_is_not_asked_what_they_would_cost(
    db: Database, tmp_path: Path, node: FakeNode
) -> None:
    """geth tries no payment out of more than lies there; Anvil does. Each is so in the end, since
    not a wei is left, and the other one was from the start."""
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", cold=COLD, confirmations=2, hot_keys=2,
        transport=node.transport,
    )  # fmt: skip
    [bare, address] = await seam.signer.hot_addresses()
    await seam.pay_in(address, "10", "ETH")

    def as_geth(method: str, params: Sequence[Any], honest: Any) -> Any:
        if method != "eth_estimateGas" or "value" not in params[0]:
            return honest
        has, wants = node.chain.state.wei.get(params[0]["from"].lower(), 0), params[0]["value"]
        short = f"insufficient funds for gas * price + value: have {has} want {wants}"
        return honest if has >= int(wants, 16) else NodeRejected(-32000, short)

    meddler = Meddler(seam.opened[0])
    meddler.alter = as_geth
    seam.treasury = TreasuryWatch(seam.db, ChainClient(seam.network, meddler), seam.assets)
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await _emptied(seam)
    assert await seam.on_chain(COLD, "ETH") > 9 * 10**18
    assert await over(seam)
    rows = await seam.rows("SELECT address FROM chain_signers WHERE halted_reason = 'compromised'")
    assert {row.address for row in rows} == {bare, address}
    await seam.close()
