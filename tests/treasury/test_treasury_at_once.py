"""Two operators at once: the same coins are told as capital once, and no key that was given up
comes back by a slip of the hand."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chain.testing.fake_node import FakeNode
from tests.treasury.test_treasury_stolen import COLD
from wallet import cli_operator, ledger
from wallet.db import Database
from wallet.errors import InvalidField, InvalidState
from wallet.ledger import accounts
from wallet.money import Money
from wallet.onchain import casework
from wallet.testing.seam import Seam
from wallet.treasury import hot, moves


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", cold=COLD, confirmations=2,
        transport=FakeNode().transport,
    )  # fmt: skip
    yield seam
    await seam.close()


async def test_capital_is_told_once(seam: Seam) -> None:
    came = seam.money("3", "ETH")
    lies = ledger.Line(accounts.on_chain("local", "ETH", "hot"), Money(-came.minor, came.asset))
    async with seam.operators.transaction() as session:
        lines = [lies, ledger.Line(accounts.unattributed("house", "ETH"), came)]
        await ledger.post(session, ledger.Command(kind="test", ref="came", lines=lines))

    async def fund(by: str) -> None:
        async with seam.operators.transaction() as session:
            await moves.fund(session, money=seam.money("3", "ETH"), by=by)

    async with seam.operators.transaction() as session:
        await moves.fund(session, money=seam.money("3", "ETH"), by="ada")
        other = asyncio.create_task(fund("bob"))
        await asyncio.sleep(0.5)
    with pytest.raises(InvalidField, match="Not so much is waiting"):
        await other
    async with seam.db.transaction() as session:
        assert await ledger.balance_of(session, accounts.capital("ETH")) == 3 * 10**18
        assert await ledger.balance_of(session, accounts.unattributed("house", "ETH")) == 0


async def test_a_key_that_was_given_up_signs_no_more(seam: Seam) -> None:
    """It would be the first that is filled, and swept to."""
    [address] = await seam.signer.hot_addresses()
    await hot.introduce(seam.db, seam.chain, address)
    async with seam.operators.transaction() as session:
        await casework.give_up(session, network="local", address=address, by="ada")
    services: Any = SimpleNamespace(
        db=seam.operators, chains={"local": seam.chain}, assets=seam.assets, signer=seam.signer,
        networks={"local": seam.network},
    )  # fmt: skip
    chosen = argparse.Namespace(
        network="local", address=address, by="bea", next_nonce=None, action="resume-signer"
    )
    with pytest.raises(InvalidState, match="given up"):
        await cli_operator.resume(services, chosen)
    [row] = await seam.rows("SELECT halted_reason FROM chain_signers")
    assert row.halted_reason == "compromised"
