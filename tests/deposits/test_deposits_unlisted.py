"""An asset that no network lists any more holds up nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from chain.client import ChainClient
from chain.testing.fake_node import FakeNode
from wallet import cases
from wallet.bootstrap import asset_book
from wallet.db import Database
from wallet.deposits import Scanner
from wallet.testing.seam import Seam


async def test_its_deposits_are_set_aside(db: Database, tmp_path: Path) -> None:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    try:
        ada = await seam.person()
        address = await seam.address(ada)
        await seam.pay_in(address, "5", "USDC")
        await seam.observer.tick()
        await seam.scanner.tick()
        without = replace(seam.network, tokens=())
        chain = ChainClient(without, node.transport())
        scanner = Scanner(db, chain, asset_book({"local": without}))
        await seam.pay_in(address, "1", "ETH")
        await seam.dev.mine(4)
        for _ in range(2):
            await seam.observer.tick()
            await scanner.tick()
        rows = await seam.rows("SELECT asset, status, reason FROM deposits ORDER BY block_number")
        assert [tuple(row) for row in rows] == [
            ("USDC", "quarantined", "asset_unlisted"), ("ETH", "credited", None)
        ]  # fmt: skip
        async with db.transaction() as session:
            [case] = await cases.listed(session)
        assert case.kind == "deposit_quarantined" and "on no network's list" in case.what
    finally:
        await seam.close()
