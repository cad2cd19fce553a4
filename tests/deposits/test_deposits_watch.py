"""Every address that is given out is watched, whatever the database's clock says."""

from __future__ import annotations

from pathlib import Path

from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.testing.seam import Seam


async def test_an_address_given_out_after_the_clock_was_set_back(
    db: Database, tmp_path: Path
) -> None:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    try:
        ada = await seam.person()
        await seam.address(ada)
        await seam.mine(1)
        bob = await seam.person()
        address = seam.deriver.address(1)
        await seam.rows(
            "INSERT INTO deposit_addresses (id, principal_id, network, derivation_index, address,"
            " created_at) VALUES ('adr_late', :who, 'local', 1, :address,"
            " clock_timestamp() - interval '2 hours') RETURNING 1",
            who=bob, address=address,
        )  # fmt: skip
        await seam.pay_in(address, "1", "USDC")
        await seam.finish()
        assert (await seam.balance(bob, "USDC")).total_minor == 10**6
    finally:
        await seam.close()
