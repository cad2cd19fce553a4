"""An evacuation is how people answer a halt for strange nonces; the books may be an old copy."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chain.testing import AnvilProcess
from tests.onchain.test_onchain_half_relearned import _forget
from tests.onchain.test_onchain_lost_rows import _lose
from tests.onchain.test_onchain_restored import PAID, PAYEES, _paid, _paid_and_lost
from tests.treasury.test_treasury_stolen import COLD
from wallet import cli_treasury_moves
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.money import Money
from wallet.onchain import ChainUnavailable, casework, signers
from wallet.onchain.freeze import freeze_network
from wallet.onchain.review import resolve
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam
from wallet.treasury import hot, moves


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, anvil.url, tmp_path / "signer", batches=True, hot_keys=2, cold=COLD, confirmations=2
    )
    await seam.fund_house()
    yield seam
    await seam.close()


def _services(seam: Seam) -> Any:
    return SimpleNamespace(
        db=seam.operators, chains={"local": seam.chain}, assets=seam.assets, signer=seam.signer,
        networks={"local": seam.network},
    )  # fmt: skip


async def test_what_a_lost_batch_paid_is_not_paid_again_after_an_evacuation(
    seam: Seam, database: ScratchDatabase
) -> None:
    first, second = await seam.signer.hot_addresses()
    await hot.introduce(seam.db, seam.chain, second)
    async with seam.db.transaction() as session:
        await signers.halt_signer(session, network="local", address=second, reason=hot.STANDBY)
    ada, made = await _paid_and_lost(seam, database)
    await seam.finish()
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="evacuation", by="ada", to=COLD)
    for _ in range(12):
        if await seam.rows("SELECT 1 FROM network_freezes WHERE evacuate_to IS NULL"):
            break
        with suppress(ChainUnavailable):
            await seam.treasury.tick()
            await seam.pass_once()
            await seam.mine(seam.network.confirmations)
    async with seam.operators.transaction() as session:
        await casework.give_up(session, network="local", address=first, by="ada")
    chosen = argparse.Namespace(action="unfreeze", network="local", by="ada")
    await cli_treasury_moves.run(_services(seam), chosen)
    await seam.pay_in(second, "10", "ETH")
    await seam.pay_in(second, "1000", "USDC")
    for _ in range(4):
        await seam.finish()
    assert await _paid(seam) == PAID
    assert {(await seam.withdrawal(ada, one)).status for one in made} == {"settled"}


async def test_what_an_emptied_address_paid_alone_is_not_given_back_and_has_its_row_again(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The evacuation was ordered before any worker had seen the copy."""
    first, second = await seam.signer.hot_addresses()
    await hot.introduce(seam.db, seam.chain, second)
    async with seam.db.transaction() as session:
        await signers.halt_signer(session, network="local", address=second, reason=hot.STANDBY)
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", PAYEES[0])
    await seam.pass_once()
    assert await seam.on_chain(PAYEES[0], "ETH") == 10**18
    _forget(database, made.id)
    _lose(database, "UPDATE network_state SET compared_in = 'of another'")
    seam.restart_worker()
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="evacuation", by="ada", to=COLD)
    for _ in range(12):
        if await seam.rows("SELECT 1 FROM network_freezes WHERE evacuate_to IS NULL"):
            break
        with suppress(ChainUnavailable):
            await seam.treasury.tick()
            await seam.pass_once()
            with pytest.raises(InvalidState, match="may be paid already"):
                await seam.cancel(ada, made.id)
            await seam.mine(seam.network.confirmations)
    await seam.finish()
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made.id)
    chosen = argparse.Namespace(action="unfreeze", network="local", by="ada")
    await cli_treasury_moves.run(_services(seam), chosen)
    [row] = await seam.rows("SELECT halted_reason FROM chain_signers WHERE address = :a", a=first)
    assert row.halted_reason == "compromised"
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.on_chain(PAYEES[0], "ETH") == 10**18
    assert await seam.differences() == []


async def test_an_evacuation_of_a_copy_that_knows_no_address_begins_at_none_unseen(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The copy is from before the first payment; the look at the treasury comes first."""
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", PAYEES[0])
    await seam.pass_once()
    assert await seam.on_chain(PAYEES[0], "ETH") == 10**18
    _forget(database, made.id)
    _lose(
        database,
        "DELETE FROM chain_signers",
        "UPDATE network_state SET compared_in = 'of another'",
    )
    seam.restart_worker()
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="evacuation", by="ada", to=COLD)
    await seam.observer.tick()
    await seam.treasury.tick()
    await seam.pass_once()
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made.id)
    for _ in range(12):
        if await seam.rows("SELECT 1 FROM network_freezes WHERE evacuate_to IS NULL"):
            break
        with suppress(ChainUnavailable):
            await seam.treasury.tick()
            await seam.pass_once()
            await seam.mine(seam.network.confirmations)
    assert await seam.rows("SELECT 1 FROM network_freezes WHERE evacuate_to IS NULL") != []
    for address in await seam.signer.hot_addresses():
        assert await seam.on_chain(address, "USDC") == 0


async def _moved_and_lost(seam: Seam, database: ScratchDatabase) -> Money:
    """A move to cold that is mined, and books of before it had a nonce; what it moved."""
    [address, _] = await seam.signer.hot_addresses()
    paid = seam.money("40000", "USDC")
    async with seam.operators.transaction() as session:
        move_id = await moves.propose(
            session, network="local", money=paid, kind="to_cold", to_address=COLD, by="ada"
        )
    async with seam.operators.transaction() as session:
        await moves.approve(
            session, move_id, by="bob", chain=seam.chain, sender=address, assets=seam.assets
        )
    await seam.automine(False)
    await seam.runner.tick()
    _lose(
        database,
        "DELETE FROM chain_attempts",
        "UPDATE chain_intents SET state = 'queued', from_address = NULL, nonce = NULL",
        "UPDATE chain_signers SET next_nonce = 0",
    )
    await seam.automine(True)
    seam.restart_worker()
    return paid


async def test_a_move_that_the_books_have_as_an_arrival_is_not_booked_again(
    seam: Seam, database: ScratchDatabase
) -> None:
    """It waited in the copy. The scanner was first, and knew nothing of it; the signer does."""
    paid = await _moved_and_lost(seam, database)
    for _ in range(4):
        await seam.dev.mine(seam.network.confirmations)
        await seam.observer.tick()
        await seam.scanner.tick()
    assert await seam.booked("USDC", "cold") == paid.minor
    for _ in range(2):
        await seam.finish()
    assert await seam.on_chain(COLD, "USDC") == paid.minor == await seam.booked("USDC", "cold")
    [done] = await seam.rows("SELECT state FROM chain_intents")
    assert done.state == "final_ok"
    assert await seam.differences() == []


async def test_one_that_an_earlier_version_left_in_review_is_ended_by_its_receipt(
    seam: Seam, database: ScratchDatabase
) -> None:
    """Its case stood open for good: what the move brought was booked as an arrival."""
    paid = await _moved_and_lost(seam, database)
    for _ in range(4):
        await seam.dev.mine(seam.network.confirmations)
        await seam.observer.tick()
        await seam.scanner.tick()
    await seam.runner.tick()
    _lose(
        database, "UPDATE chain_intents SET state = 'in_review', reason = 'lost_row'",
    )  # fmt: skip
    [left] = await seam.rows("SELECT id FROM chain_intents")
    assert await seam.differences() == []
    ended = await resolve(seam.runner._desk, left.id, by="bea")
    assert ended.state == "final_ok"
    assert await seam.on_chain(COLD, "USDC") == paid.minor == await seam.booked("USDC", "cold")
    assert await seam.differences() == []


async def test_one_that_is_only_seen_is_the_house_s_own_again(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The scanner was first there, too; but nothing of it is booked yet."""
    paid = await _moved_and_lost(seam, database)
    await seam.observer.tick()
    await seam.scanner.tick()
    [seen] = await seam.rows("SELECT status FROM deposits WHERE to_address = :to", to=COLD)
    assert seen.status == "seen"
    await seam.runner.tick()
    await seam.finish()
    assert await seam.on_chain(COLD, "USDC") == paid.minor == await seam.booked("USDC", "cold")
    [done] = await seam.rows("SELECT state FROM chain_intents")
    assert done.state == "final_ok"
    assert await seam.differences() == []
