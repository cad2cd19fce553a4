"""What stands behind a payment is money of the very thing that it moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from chain.address import checked
from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam

OUTSIDE = checked("0x00000000000000000000000000000000000A11cE")


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, transport=node.transport
    )
    await seam.fund_house()
    yield seam
    await seam.close()


async def test_a_withdrawal_of_a_token_is_no_call_that_pays_coins(
    seam: Seam, database: ScratchDatabase
) -> None:
    """Who can write rows could hold a million of a cheap token and name a call that sends as many
    wei along: the signer knows `payNative`, and its limits alone would stop it."""
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        await session.execute(text("ALTER TABLE chain_intents DISABLE TRIGGER USER"))
        await session.execute(text("UPDATE chain_intents SET data = decode('a9059cbb', 'hex')"))
        await session.execute(text("ALTER TABLE chain_intents ENABLE TRIGGER USER"))
    await owner.dispose()
    await seam.pass_once()
    waits = await seam.withdrawal(ada, made.id)
    assert (waits.status, waits.waiting_for) == ("held", "review")
    assert await seam.rows("SELECT 1 FROM chain_intents WHERE nonce IS NOT NULL") == []
