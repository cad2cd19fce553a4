"""Coins that our own hot key sent, by a payment that these books do not know, are nobody's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from eth_account import Account

from chain.testing.fake_node import FakeNode
from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.testing import test_seed as seed_of_tests
from wallet.db import Database
from wallet.testing.seam import FIRST_HOT_INDEX, GWEI, Seam


@pytest.fixture
async def fake() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def seam(db: Database, fake: FakeNode, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=fake.transport
    )
    yield seam
    await seam.close()


async def test_gas_whose_row_a_restored_database_lost_is_not_the_customers(
    seam: Seam, fake: FakeNode
) -> None:
    """The house gave a deposit address gas for its sweep; the copy is from before that."""
    ada = await seam.person()
    address = await seam.address(ada)
    [hot] = await seam.signer.hot_addresses()
    fake.fund(hot, 10**18)
    key = derive_key(seed_of_tests(), path(HOT_ACCOUNT, FIRST_HOT_INDEX))
    signed = Account.sign_transaction(
        {
            "type": 2, "chainId": 31337, "nonce": 0, "to": bytes.fromhex(address[2:]),
            "value": 10**16, "gas": 21000, "data": b"",
            "maxFeePerGas": 100 * GWEI, "maxPriorityFeePerGas": 2 * GWEI,
        },
        key.reveal(),
    )  # fmt: skip
    await seam.node("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    await seam.pay_in(address, "1", "ETH")  # what somebody else sends is theirs as ever
    await seam.mine(3)
    assert (await seam.balance(ada, "ETH")).total_minor == 10**18
    rows = await seam.rows("SELECT status, reason FROM deposits ORDER BY amount_minor")
    assert [(row.status, row.reason) for row in rows] == [
        ("quarantined", "sent_by_house"), ("credited", None),
    ]  # fmt: skip
    [case] = await seam.rows("SELECT kind FROM cases WHERE status = 'open'")
    assert case.kind == "deposit_quarantined"
