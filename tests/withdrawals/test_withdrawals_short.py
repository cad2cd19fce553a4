"""Withdrawals that are asked for while the hot address holds too little."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from eth_utils.address import to_checksum_address

from chain.testing.fake_calls import RETURNS_TRUE
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.testing.seam import Seam

SAFE = to_checksum_address("0x00000000000000000000000000000000005afe00")


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    yield seam
    await seam.close()


async def test_coins_for_an_address_with_code_wait_for_float_and_are_paid(seam: Seam) -> None:
    """A recipient's code takes gas whatever lies at the hot address."""
    [hot] = seam.desk.hot_addresses
    await seam.pay_in(hot, "1", "ETH")
    ada = await seam.funded_person()
    await seam.node("anvil_setCode", SAFE, "0x" + RETURNS_TRUE.hex())
    made = await seam.withdraw(ada, "2", "ETH", SAFE)
    await seam.runner.tick()
    waits = await seam.withdrawal(ada, made.id)
    assert (waits.status, waits.waiting_for) == ("held", "liquidity")
    await seam.pay_in(hot, "10", "ETH")
    await seam.finish()
    ended = await seam.withdrawal(ada, made.id)
    assert (ended.status, ended.failure_code) == ("settled", None)
