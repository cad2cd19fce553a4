"""The day a hot key is in other hands, and they have used it: what is left still goes to cold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from chain.address import checked
from chain.testing.fake_node import FakeNode
from tests.onchain.test_onchain_strangers import _spend_from_hot
from wallet.db import Database
from wallet.onchain import ChainUnavailable, signers
from wallet.testing.seam import Seam
from wallet.treasury import hot

COLD = checked("0x00000000000000000000000000000000c01d0001")


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", cold=COLD, confirmations=2,
        transport=node.transport,
    )  # fmt: skip
    yield seam
    await seam.close()


async def test_what_a_thief_left_of_a_hot_address_is_evacuated(seam: Seam) -> None:
    """They used a nonce that was never given: that halts the address, for customers only."""
    [address] = await seam.signer.hot_addresses()
    await seam.pay_in(address, "10", "ETH")
    await seam.pay_in(address, "100", "USDC")
    await hot.introduce(seam.db, seam.chain, address)
    await _spend_from_hot(seam, 0)
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'a key is out', :cold, 'ada')"), {"cold": COLD},
        )  # fmt: skip
    async with seam.db.transaction() as session:  # as the payments before it had it
        await signers.halt_signer(
            session, network="local", address=address, reason="foreign_transaction"
        )
    for _ in range(8):
        if await seam.rows("SELECT 1 FROM network_freezes WHERE evacuate_to IS NULL"):
            break
        with suppress(ChainUnavailable):  # the node's word is old on a crowded machine
            await seam.treasury.tick()
            await seam.pass_once()
            await seam.mine(seam.network.confirmations)
    assert await seam.on_chain(COLD, "USDC") == 100 * 10**6
    assert (await seam.on_chain(address, "USDC"), await seam.on_chain(address, "ETH")) == (0, 0)
    async with seam.db.transaction() as session:
        assert await signers.lost(session, network="local", address=address)
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None
