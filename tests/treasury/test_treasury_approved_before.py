"""What was approved before a key was lost, and waits: it keeps nothing of an evacuation back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from sqlalchemy import text

from chain.address import checked
from chain.testing.fake_node import FakeNode
from keys.policy import Limit
from tests.treasury.test_treasury_stolen import COLD, OUTSIDE, _emptied
from wallet import ledger
from wallet.db import Database
from wallet.ledger import accounts
from wallet.money import Money
from wallet.onchain.freeze import freeze_network
from wallet.testing.seam import Seam
from wallet.treasury import moves
from wallet.treasury.routes import Kind

OPERATORS = [Account.from_key(bytes([number]) * 32).address for number in (7, 8)]


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", cold=COLD, confirmations=2, warm=OPERATORS,
        transport=FakeNode().transport,
    )  # fmt: skip
    await seam.fund_house()
    yield seam
    await seam.close()


async def approved(seam: Seam, kind: Kind, to: str, amount: str) -> None:
    """And above the signer's limit: it waits for an operator's signature that nobody gives now."""
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    asks = replace(
        chain, warm=None,
        tokens={contract: Limit(10**12, 10**15, 0) for contract in chain.tokens},
    )  # fmt: skip
    [sender] = await seam.signer.hot_addresses()
    async with seam.operators.transaction() as session:
        move_id = await moves.propose(
            session, network="local", money=seam.money(amount, "USDC"), kind=kind, to_address=to,
            by="ada",
        )  # fmt: skip
        await moves.approve(
            session, move_id, by="bob", chain=seam.chain, sender=sender, assets=seam.assets
        )
    seam.desk.policy = replace(seam.desk.policy, chains={chain_id: asks})
    await seam.runner.tick()
    [row] = await seam.rows("SELECT state, waiting_for FROM chain_intents")
    assert (row.state, row.waiting_for) == ("queued", "approval")


async def ordered(seam: Seam) -> str:
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="evacuation", by="ada", to=COLD)
    [address] = await seam.signer.hot_addresses()
    return address


async def test_profit_that_waits_for_a_signature(seam: Seam) -> None:
    """Nor does it leave afterwards: somebody takes it off the list."""
    earned = seam.money("25", "USDC")
    capital = ledger.Line(accounts.capital("USDC"), Money(-earned.minor, earned.asset))
    async with seam.operators.transaction() as session:
        lines = [capital, ledger.Line(accounts.spread_income("USDC"), earned)]
        await ledger.post(session, ledger.Command(kind="test", ref="earned", lines=lines))
    await approved(seam, "profit", OUTSIDE, "20")
    address = await ordered(seam)
    held = await seam.on_chain(address, "USDC")
    await _emptied(seam, 12)
    assert await seam.on_chain(COLD, "USDC") == held
    assert (await seam.on_chain(address, "USDC"), await seam.on_chain(address, "ETH")) == (0, 0)
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None
    assert await seam.differences() == []
    async with seam.operators.transaction() as session:
        await session.execute(text("DELETE FROM network_freezes"))
    await seam.finish()
    assert await seam.on_chain(OUTSIDE, "USDC") == 0
    [move] = await seam.rows("SELECT id FROM treasury_moves WHERE state = 'approved'")
    async with seam.operators.transaction() as session:
        await moves.dismiss(session, move.id, by="ada")


async def test_what_was_to_go_to_warm(seam: Seam) -> None:
    """Its key is in the same vault: it may be lost with hot's."""
    assert seam.desk.warm_address is not None
    async with seam.operators.transaction() as session:
        move_id = await moves.propose(
            session, network="local", money=seam.money("20", "USDC"), kind="to_warm",
            to_address=checked(seam.desk.warm_address), by="ada",
        )  # fmt: skip
        [sender] = await seam.signer.hot_addresses()
        await moves.approve(
            session, move_id, by="bob", chain=seam.chain, sender=sender, assets=seam.assets
        )
    address = await ordered(seam)
    held = await seam.on_chain(address, "USDC")
    await _emptied(seam, 12)
    assert await seam.on_chain(COLD, "USDC") == held
    assert await seam.on_chain(seam.desk.warm_address, "USDC") == 0
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None
