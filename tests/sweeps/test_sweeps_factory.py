"""A key-less address is given out only where the factory that the networks file names makes it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from chain.testing import AnvilProcess
from wallet.db import Database
from wallet.onchain import ChainUnavailable
from wallet.onchain.network import require_addresses
from wallet.testing.seam import Seam

STRANGERS_CONTRACT = "0x000000000000000000000000000000000000dEaD"


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    made = await Seam.open(db, anvil.url, tmp_path / "signer", sweeps="create2")
    yield made
    await made.close()


@pytest.mark.parametrize("what", ["none", "another"])
async def test_a_factory_that_is_not_there(seam: Seam, what: str) -> None:
    """Coins that are paid to what it would have made are nobody's for ever."""
    right = seam.network
    wrong = STRANGERS_CONTRACT if what == "none" else right.contracts["sweep_batch"]
    async with seam.db.transaction() as session:
        await require_addresses(session, right)
    seam.network = dataclasses.replace(
        right, contracts={**right.contracts, "forwarder_factory": wrong}
    )
    seam.restart_worker()
    await seam.observer.tick()
    [case] = await seam.rows("SELECT kind, what FROM cases WHERE closed_at IS NULL")
    assert case.kind == "wrong_chain" and "contracts.forwarder_factory" in case.what
    async with seam.db.transaction() as session:
        with pytest.raises(ChainUnavailable):
            await require_addresses(session, seam.network)
    # The right file again.
    seam.network = right
    seam.restart_worker()
    await seam.observer.tick()
    assert await seam.rows("SELECT 1 FROM cases WHERE closed_at IS NULL") == []
    async with seam.db.transaction() as session:
        await require_addresses(session, right)


async def test_a_file_that_names_another_factory_than_the_one_that_was_asked(seam: Seam) -> None:
    """The API reads it before the worker does, or while the node is away."""
    right = seam.network
    wrong = dataclasses.replace(
        right, contracts={**right.contracts, "forwarder_factory": STRANGERS_CONTRACT}
    )
    async with seam.db.transaction() as session:
        with pytest.raises(ChainUnavailable):
            await require_addresses(session, wrong)
        await require_addresses(session, right)
        # So it stands where an earlier version looked at the network: the factory was never asked.
        await session.execute(text("UPDATE network_state SET factory = NULL"))
        with pytest.raises(ChainUnavailable):
            await require_addresses(session, right)


async def test_before_the_first_look(seam: Seam) -> None:
    async with seam.db.transaction() as session:
        await session.execute(text("UPDATE network_state SET as_of = NULL"))
        with pytest.raises(ChainUnavailable):
            await require_addresses(session, seam.network)
        await require_addresses(session, dataclasses.replace(seam.network, deposit_kind="eoa"))
