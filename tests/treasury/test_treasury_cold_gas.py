"""Gas of a cold address: an expense at finality, once, and reconcile agrees at every block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from chain.blocks import Receipt
from chain.testing import AnvilProcess
from wallet import ledger
from wallet.db import Database
from wallet.ledger import accounts
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam

ETHER = 10**18
OUTSIDE = "0x00000000000000000000000000000000000A11cE"
COLD = "0x000000000000000000000000000000000000C01D"


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    """A house whose cold address holds 10 ETH and 500 USDC."""
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", cold=COLD)
    await seam.pay_in(COLD, "10", "ETH")
    await seam.pay_in(COLD, "500", "USDC")
    await seam.arrive()
    await seam.node("anvil_impersonateAccount", COLD)
    yield seam
    await seam.close()


async def send(seam: Seam, to: str, *, wei: int = 0, data: str = "0x") -> Receipt:
    """The cold machine sends, without telling us."""
    tx = await seam.node(
        "eth_sendTransaction",
        {"from": COLD, "to": to, "value": hex(wei), "data": data, "gas": hex(100_000)},
    )
    return await seam.dev.wait_mined(str(tx))


async def spent(seam: Seam) -> int:
    async with seam.db.transaction() as session:
        return await ledger.balance_of(session, accounts.gas_expense("local", "ETH"))


async def entries(seam: Seam) -> int:
    return len(await seam.rows("SELECT 1 FROM entries WHERE kind = 'cold_gas'"))


async def test_a_refill_costs_gas_and_the_books_know_it_at_every_block(seam: Seam) -> None:
    [hot] = await seam.signer.hot_addresses()
    refill = await send(seam, hot, wei=2 * ETHER)
    transfer = "0xa9059cbb" + hot[2:].lower().rjust(64, "0") + hex(7)[2:].rjust(64, "0")
    tokens = await send(seam, seam.network.tokens[0].contract, data=transfer)
    assert refill.status == tokens.status == 1
    for _ in range(seam.network.confirmations + 3):
        await seam.mine(1)
        assert await seam.differences() == []
    assert await spent(seam) == refill.fee_wei + tokens.fee_wei and await entries(seam) == 2
    assert await seam.booked("ETH", "cold") == 8 * ETHER - refill.fee_wei - tokens.fee_wei
    assert await seam.on_chain(COLD, "ETH") == await seam.booked("ETH", "cold")


async def test_what_fails_costs_gas_too(seam: Seam) -> None:
    failed = await send(seam, seam.network.tokens[0].contract, data="0xdeadbeef")
    assert failed.status == 0
    await seam.finish()
    assert await spent(seam) == failed.fee_wei
    assert await seam.differences() == []


async def test_gas_in_a_block_that_is_left_is_none_and_again_is_once(seam: Seam) -> None:
    [hot] = await seam.signer.hot_addresses()
    refill = await send(seam, hot, wei=ETHER)
    await seam.mine(2)
    assert len(await seam.rows("SELECT 1 FROM cold_gas")) == 1
    await seam.dev.reorg(3)
    await seam.mine(1)
    assert await seam.rows("SELECT 1 FROM cold_gas") == []
    assert await seam.differences() == []
    again = await send(seam, hot, wei=ETHER)
    assert again.tx_hash != "" and refill.fee_wei > 0
    await seam.finish()
    assert await spent(seam) == again.fee_wei and await entries(seam) == 1
    assert await seam.differences() == []


async def test_a_scan_from_genesis_books_no_gas_twice(
    seam: Seam, database: ScratchDatabase
) -> None:
    refill = await send(seam, OUTSIDE, wei=0)
    await seam.finish()
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        for table in ("scan_state", "chain_blocks"):
            await session.execute(text(f"DELETE FROM {table}"))
    await owner.dispose()
    seam.restart_worker()
    await seam.finish()
    assert await spent(seam) == refill.fee_wei and await entries(seam) == 1
    booked: list[Any] = await seam.rows("SELECT entry_id FROM cold_gas")
    assert len(booked) == 1 and booked[0].entry_id
