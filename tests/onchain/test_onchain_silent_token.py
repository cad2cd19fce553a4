"""A listed token that says nothing of balances any more keeps nobody else's payments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from chain.address import checked
from chain.testing.anvil import AnvilProcess
from wallet.db import Database
from wallet.onchain.signers import COMPROMISED
from wallet.testing.seam import Seam

COLD = checked("0x000000000000000000000000000000000000c01d")
OUTSIDE = checked("0x00000000000000000000000000000000000A11cE")
SILENT = {"reverts": "0x60006000fd", "answers no number": "0x00"}


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", cold=COLD)
    await seam.fund_house()
    yield seam
    await seam.close()


@pytest.mark.parametrize("silent", SILENT)
async def test_what_waits_in_it_keeps_no_other_payment_waiting(seam: Seam, silent: str) -> None:
    """Nobody can tell whether hot holds enough of it: that payment waits, and goes later."""
    ada, contract = await seam.funded_person(), seam.network.tokens[0].contract
    first = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    second = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    honest = await seam.node("eth_getCode", contract, "latest")
    await seam.node("anvil_setCode", contract, SILENT[silent])
    await seam.finish()
    assert (await seam.withdrawal(ada, second.id)).status == "settled"
    waits = await seam.withdrawal(ada, first.id)
    assert (waits.status, waits.waiting_for) == ("held", "liquidity")
    await seam.node("anvil_setCode", contract, honest)
    await seam.finish()
    assert (await seam.withdrawal(ada, first.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == 10**6


async def test_an_evacuation_goes_on_without_what_it_had_promised_of_it(seam: Seam) -> None:
    """It answered when the move was promised, and says nothing when its nonce would be given."""
    [hot] = await seam.signer.hot_addresses()
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'key lost', :cold, 'ada')"), {"cold": COLD},
        )  # fmt: skip
    await seam.treasury.tick()
    assert await seam.rows("SELECT 1 FROM treasury_moves WHERE asset = 'USDC'")
    await seam.node("anvil_setCode", seam.network.tokens[0].contract, SILENT["reverts"])
    for _ in range(6):
        await seam.pass_once()
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
    assert await seam.on_chain(hot, "ETH") == 0
    assert await seam.on_chain(COLD, "ETH") > 99 * 10**18
    [row] = await seam.rows("SELECT halted_reason FROM chain_signers")
    assert row.halted_reason == COMPROMISED


async def test_nor_is_it_kept_by_one_that_would_go_and_never_does(seam: Seam) -> None:
    """Its transfer does in a call what it does in no transaction: it reverts where gas is paid."""
    [hot] = await seam.signer.hot_addresses()
    await seam.node("anvil_setCode", seam.network.tokens[0].contract,
                    "0x3a600e57600160005260206000f35b60006000fd")  # fmt: skip
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'key lost', :cold, 'ada')"), {"cold": COLD},
        )  # fmt: skip
    for _ in range(8):
        await seam.treasury.tick()
        await seam.pass_once()
        await seam.mine(seam.network.confirmations)
    assert len(await seam.rows("SELECT 1 FROM treasury_moves WHERE asset = 'USDC'")) == 2
    assert await seam.on_chain(hot, "ETH") == 0
    assert await seam.on_chain(COLD, "ETH") > 99 * 10**18
