"""A scanner that catches up is ahead of its credits: none of them is lost on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.deposits import lineage, scanner
from wallet.testing.seam import Seam


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    yield seam
    await seam.close()


async def test_a_deposit_that_waits_for_its_credit_keeps_its_block(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks are kept for so long only, and a pass makes so many credits: more wait than that."""
    monkeypatch.setattr(lineage, "KEEP_BLOCKS", 8)
    monkeypatch.setattr(lineage, "PRUNE_EVERY", 4)
    monkeypatch.setattr(scanner, "CREDITS_PER_TICK", 1)
    ada = await seam.person()
    address = await seam.address(ada)
    for _ in range(5):
        await seam.pay_in(address, "1", "ETH")
    for _ in range(3):
        await seam.dev.mine(12)
        await seam.observer.tick()
        await seam.scanner.tick()
    for _ in range(3):
        await seam.scanner.tick()
    statuses = [row.status for row in await seam.rows("SELECT status FROM deposits")]
    assert statuses == ["credited"] * 5
    assert (await seam.balance(ada, "ETH")).total_minor == 5 * 10**18
    await seam.dev.mine(12)  # and then the blocks go as ever
    await seam.observer.tick()
    await seam.scanner.tick()
    await seam.dev.mine(12)
    await seam.observer.tick()
    await seam.scanner.tick()
    [oldest] = await seam.rows("SELECT min(number) AS number FROM chain_blocks")
    assert oldest.number > 20
