"""The signer knows of nonces that a restored database never gave, before any block does."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from chain.address import checked
from chain.testing import AnvilProcess
from tests.onchain.older_signer import no_pool, silent
from tests.onchain.test_onchain_lost_rows import _lose
from tests.onchain.test_onchain_restored import (
    OLDEST_ALONE,
    PAID,
    _paid,
    _paid_and_lost,
    _resume,
    _services,
    lanes,
    seam,
)
from wallet import cli_treasury_moves
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import signers
from wallet.onchain.freeze import freeze_network
from wallet.onchain.review import resolve
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam
from wallet.treasury import hot

__all__ = ["lanes", "seam"]
COLD = checked("0x00000000000000000000000000000000c01d0001")


async def test_a_payer_takes_nothing_back_that_waits_in_the_pool(
    seam: Seam, database: ScratchDatabase
) -> None:
    ada, made = await _paid_and_lost(seam, database, mined=False)
    await seam.runner.tick()
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made[0])
    await seam.automine(True)
    await seam.finish()
    [row] = await seam.rows("SELECT address FROM chain_signers")
    await _resume(seam, row.address)
    await seam.finish()
    assert await _paid(seam) == PAID
    assert {(await seam.withdrawal(ada, one)).status for one in made} == {"settled"}
    assert await seam.differences() == []


async def test_no_other_address_pays_it_where_the_node_says_nothing_of_its_pool(
    lanes: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, made = await _paid_and_lost(lanes, database, mined=False)
    no_pool(lanes, monkeypatch)
    for _ in range(3):
        await lanes.runner.tick()
    await lanes.automine(True)
    await lanes.finish()
    assert await _paid(lanes) == PAID
    [row] = await lanes.rows("SELECT address FROM chain_signers WHERE halted_reason IS NOT NULL")
    await _resume(lanes, row.address)
    await lanes.finish()
    assert await _paid(lanes) == PAID
    assert {(await lanes.withdrawal(ada, one)).status for one in made} == {"settled"}
    assert await lanes.differences() == []


async def test_what_the_transaction_at_its_nonce_paid_in_a_batch_is_not_given_back(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker was killed between nonce and signer, and the block came before the next one."""
    await _paid_and_lost(seam, database, mined=False)
    _lose(database, OLDEST_ALONE)
    no_pool(seam, monkeypatch)
    silent(seam, monkeypatch)
    with monkeypatch.context() as killed:
        killed.setattr(seam.runner._deliverer, "run", _nothing)
        await seam.runner.tick()
        await seam.automine(True)
        await seam.dev.mine(1)
        await seam.finish()
    [row] = await seam.rows("SELECT id, reason FROM chain_intents WHERE state = 'in_review'")
    assert row.reason == "foreign_transaction"
    with pytest.raises(InvalidState, match="names it"):
        await resolve(seam.runner._desk, row.id, by="bea")
    assert await _paid(seam) == PAID


async def test_an_address_that_the_copy_does_not_know_is_known_from_its_first_nonce(
    lanes: Seam, database: ScratchDatabase
) -> None:
    """It is of before that address was made a hot one; where the chain stands is too late."""
    ada, made = await _paid_and_lost(lanes, database)
    _lose(database, "DELETE FROM chain_signers WHERE created_at ="
                    " (SELECT max(created_at) FROM chain_signers)")  # fmt: skip
    for _ in range(2):
        await lanes.finish()
    assert await _paid(lanes) == PAID
    [row] = await lanes.rows("SELECT address FROM chain_signers WHERE halted_reason IS NOT NULL")
    await _resume(lanes, row.address)
    await lanes.finish()
    assert await _paid(lanes) == PAID
    assert {(await lanes.withdrawal(ada, one)).status for one in made} == {"settled"}
    assert await lanes.differences() == []


async def test_nor_one_that_was_evacuated_once_and_let_go_on(
    lanes: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a stranger does at an emptied address is in nobody's way; what its signer did is."""

    async def once(*_: object, **__: object) -> bool:
        return True

    monkeypatch.setattr(signers, "emptied", once)
    await _paid_and_lost(lanes, database)
    for _ in range(2):
        await lanes.finish()
    assert await _paid(lanes) == PAID


async def test_an_evacuation_does_not_hide_what_the_emptied_address_paid(
    db: Database, anvil: AnvilProcess, tmp_path: Path, database: ScratchDatabase
) -> None:
    """The foreign transaction was the house's own, of before the copy: whoever takes the emptied
    address for a stolen one has another one pay the same."""
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", batches=True, hot_keys=2, cold=COLD)
    try:
        await seam.fund_house()
        standby = (await seam.signer.hot_addresses())[1]
        await hot.introduce(seam.db, seam.chain, standby)
        async with seam.operators.transaction() as session:
            await signers.halt_signer(
                session, network="local", address=standby, reason=signers.STANDBY
            )
        ada, made = await _paid_and_lost(seam, database)
        await seam.pass_once()
        async with seam.operators.transaction() as session:
            await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
        for _ in range(6):
            await seam.treasury.tick()
            await seam.pass_once()
            await seam.mine(seam.network.confirmations)
        [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
        assert freeze.evacuate_to is None
        chosen = argparse.Namespace(network="local", by="bea", action="unfreeze")
        await cli_treasury_moves.run(_services(seam), chosen)
        await seam.finish()
        assert await _paid(seam) == PAID
        assert {(await seam.withdrawal(ada, one)).status for one in made} == {"settled"}
        assert await seam.differences() == []
    finally:
        await seam.close()


async def _nothing(*_: object, **__: object) -> None:
    return None
