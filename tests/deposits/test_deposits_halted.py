"""A token that is halted while a deposit of it waits for its finality."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from chain.testing.fake_node import FakeNode
from wallet import cases
from wallet.db import Database
from wallet.deposits import SurplusFinder, arrivals
from wallet.errors import InvalidState
from wallet.onchain import tokens
from wallet.testing.seam import Seam


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4, transport=node.transport
    )
    yield seam
    await seam.close()


async def halt(seam: Seam) -> None:
    async with seam.db.transaction() as session:
        await tokens.halt_token(session, network="local", asset="USDC", reason="minted at will")


async def test_what_was_seen_before_is_not_credited_after(seam: Seam) -> None:
    """Somebody mints what they like, pays it in, and an operator halts the token in time."""
    mallory = await seam.person()
    address = await seam.address(mallory)
    await seam.pay_in(address, "5", "USDC")
    await seam.pay_in(address, "1", "ETH")
    await seam.pass_once()
    await halt(seam)
    await seam.finish()
    rows = await seam.rows("SELECT asset, status, reason FROM deposits ORDER BY block_number")
    assert [tuple(row) for row in rows] == [
        ("USDC", "quarantined", "token_halted"), ("ETH", "credited", None)
    ]  # fmt: skip
    assert (await seam.balance(mallory, "USDC")).total_minor == 0
    async with seam.db.transaction() as session:
        assert [one.kind for one in await cases.listed(session)] == [
            "token_halted", "deposit_quarantined"
        ]  # fmt: skip


async def test_what_balances_found_before_is_assigned_to_nobody_after(seam: Seam) -> None:
    mallory = await seam.person()
    address = seam.deriver.address(0)
    await seam.pay_in(address, "5", "USDC")
    await seam.finish()
    assert await seam.address(mallory) == address
    finder = SurplusFinder(seam.db, seam.chain, seam.assets, seam.deriver)
    for _ in range(2):
        await finder.tick()
    async with seam.db.transaction() as session:
        [found] = await arrivals.arrivals(session, seam.assets)
    async with seam.operators.transaction() as session:
        await arrivals.propose(
            session, arrival_id=found.id, principal_id=mallory, tx_hash="0x" + "a7" * 32, by="ada",
            assets=seam.assets,
        )  # fmt: skip
    await halt(seam)
    for halted in (True, False):
        with pytest.raises(InvalidState) if halted else nullcontext():
            async with seam.operators.transaction() as session:
                await arrivals.approve(
                    session, arrival_id=found.id, principal_id=mallory, by="ben", assets=seam.assets
                )
        assert (await seam.balance(mallory, "USDC")).total_minor == (0 if halted else 5 * 10**6)
        async with seam.operators.transaction() as session:
            await tokens.resume_token(session, network="local", asset="USDC", by="ben")
