"""A thief who took all coins of a hot address and left tokens there: the evacuation still ends."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chain.errors import NodeRejected, NodeUnavailable
from tests.treasury.test_treasury_evacuated import answering
from tests.treasury.test_treasury_stolen import COLD, OUTSIDE, _emptied, _opened
from wallet import cli_treasury_moves
from wallet.db import Database
from wallet.onchain import casework, signers
from wallet.onchain.freeze import freeze_network
from wallet.testing.seam import Seam
from wallet.treasury import hot, watch


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await _opened(db, tmp_path, hot_keys=2)
    yield seam
    await seam.close()


async def test_an_address_without_gas_keeps_no_evacuation(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what halted it before, where the command did not wait for the end."""
    first, second = await seam.signer.hot_addresses()
    await seam.pay_in(first, "100", "USDC")  # its coins are gone
    for address in (first, second):
        await hot.introduce(seam.db, seam.chain, address)
    async with seam.db.transaction() as session:
        await signers.halt_signer(session, network="local", address=second, reason=hot.STANDBY)
        await casework.halt_signer(
            session, network="local", address=first, reason="foreign_transaction"
        )
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason=hot.ORDERED, by="ada", to=COLD)
    await _emptied(seam, 4)
    [move] = await seam.rows("SELECT state, waiting_for FROM chain_intents")
    assert (move.state, move.waiting_for) == ("queued", "liquidity")  # somebody may send it coins
    monkeypatch.setattr(watch, "GAS_SECONDS", 0.0)
    await _emptied(seam, 4)
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None
    services: Any = SimpleNamespace(
        db=seam.operators, chains={"local": seam.chain}, assets=seam.assets, signer=seam.signer,
        networks={"local": seam.network},
    )  # fmt: skip
    chosen = argparse.Namespace(action="unfreeze", network="local", by="ada")
    assert await cli_treasury_moves.run(services, chosen) == 0
    rows = await seam.rows(
        "SELECT halted_reason FROM chain_signers ORDER BY address = :b", b=second
    )
    assert [row.halted_reason for row in rows] == [hot.COMPROMISED, None]
    await seam.pay_in(second, "10", "ETH")
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"


@pytest.mark.parametrize(
    "told", [NodeRejected(3, "execution reverted: blacklisted"), NodeUnavailable("HTTP 503")]
)
async def test_nor_does_one_whose_token_will_not_go_any_more(
    seam: Seam, monkeypatch: pytest.MonkeyPatch, told: Exception
) -> None:
    """Its issuer has barred the thief's address while the move waited for gas."""
    first, second = await seam.signer.hot_addresses()
    await seam.pay_in(first, "100", "USDC")  # its coins are gone
    await seam.pay_in(second, "10", "ETH")
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason=hot.ORDERED, by="ada", to=COLD)
    await _emptied(seam, 2)
    waiting = await seam.rows("SELECT waiting_for FROM chain_intents WHERE state = 'queued'")
    assert [row.waiting_for for row in waiting] == ["liquidity"]
    monkeypatch.setattr(watch, "GAS_SECONDS", 0.0)
    seam.treasury = answering(seam, told)
    await _emptied(seam, 8)
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None
    assert await seam.on_chain(second, "ETH") == 0
