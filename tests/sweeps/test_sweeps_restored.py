"""A sweep that a restored database holds as queued, and whose coins the scanner has booked before
its row comes back: its end books the rest, and the books are as without a restore."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from chain.testing import AnvilProcess
from tests.onchain.older_copy import OlderCopy
from tests.onchain.test_onchain_lost_rows import _lose
from tests.sweeps.test_sweeps_strangers import person_with
from tests.treasury.test_treasury_restored import _services as services
from tests.treasury.test_treasury_stolen import COLD
from wallet import cli_operator, cli_treasury_moves
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import ChainUnavailable, signers
from wallet.onchain.freeze import freeze_network
from wallet.onchain.review import resolve
from wallet.sweeps import repository
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.seam import Seam
from wallet.treasury import hot

Kind = Literal["prefund", "eip7702", "create2"]
Open = Callable[..., Awaitable[OlderCopy]]


@pytest.fixture
async def opened(
    db: Database, anvil: AnvilProcess, tmp_path: Path, database: ScratchDatabase,
    cluster: ScratchCluster,
) -> AsyncIterator[Open]:  # fmt: skip
    seams: list[Seam] = []

    async def open_seam(kind: Kind) -> OlderCopy:
        seam = await Seam.open(
            db, anvil.url, tmp_path / "signer", sweeps=kind, confirmations=2, cold=COLD, hot_keys=2
        )
        seams.append(seam)
        await seam.fund_house()
        return OlderCopy(seam, database, cluster)

    yield open_seam
    for seam in seams:
        await seam.close()


async def _sweeps(seam: Seam) -> list[tuple[str, str, str]]:
    rows = await seam.rows(
        "SELECT s.kind, s.state, i.state AS sent, i.reason FROM sweeps s"
        " JOIN chain_intents i ON i.id = s.intent_id ORDER BY s.created_at, s.id"
    )
    return [(row.kind, row.state, row.sent) for row in rows]


SWEPT: list[tuple[Kind, dict[str, str], str]] = [
    ("prefund", {"eth": "2"}, "coin"),
    ("prefund", {"eth": "0.01", "usdc": "500"}, "token"),
    ("eip7702", {"usdc": "500"}, "delegated"),
    ("create2", {"eth": "1", "usdc": "50"}, "flush"),
]
TOPPED_UP: tuple[Kind, dict[str, str], str] = ("prefund", {"usdc": "500"}, "top_up")


@pytest.mark.parametrize(("kind", "amounts", "named"), SWEPT)
async def test_a_sweep_that_is_booked_as_an_arrival_ends_with_its_gas(
    opened: Open, kind: Kind, amounts: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = await opened(kind)
    seam = copy.seam
    people = [await person_with(seam, **amounts) for _ in range(2)]
    await seam.sweeper.tick()
    waiting = await _sweeps(seam)
    assert {one[0] for one in waiting} == {named}
    await copy.take()
    await seam.finish()
    ended = await _sweeps(seam)
    assert {one[1:] for one in ended} == {("done", "final_ok")}
    assert await copy.unexplained() == []
    as_it_was = await copy.balances()
    for _ in range(2):
        await copy.put_back()
        await copy.scan_first()
        booked = await seam.rows("SELECT 1 FROM deposits WHERE is_move AND entry_id IS NOT NULL")
        assert len(booked) >= len(waiting)
        assert await _sweeps(seam) == waiting
        await seam.finish()
        assert await _sweeps(seam) == ended
        assert await copy.unexplained() == []
        assert await copy.balances() == as_it_was
        left = await seam.rows("SELECT 1 FROM sweep_accounts WHERE open")
        assert left == []
    # The addresses are swept again as any others are.
    monkeypatch.setattr(repository, "COOL_DOWN_SECONDS", 0.0)
    for _, address in people:
        await seam.pay_in(address, "3", "USDC")
    await seam.arrive()
    for _ in range(2):
        await seam.sweeper.tick()
        await seam.finish()
    assert [await seam.on_chain(address, "USDC") for _, address in people] == [0, 0]
    assert await copy.unexplained() == []


async def test_gas_for_a_sweep_that_was_set_aside_is_the_house_s_own_again(opened: Open) -> None:
    """What came to a customer's address from the house by a payment that no row knows."""
    copy = await opened("prefund")
    seam = copy.seam
    person, address = await person_with(seam, usdc="500")
    await seam.sweeper.tick()
    await copy.take()
    await seam.finish()
    assert await _sweeps(seam) == [("top_up", "done", "final_ok")]
    as_it_was = await copy.balances()
    for _ in range(2):
        await copy.put_back()
        await copy.scan_first()
        [aside] = await seam.rows(
            "SELECT reason FROM deposits WHERE to_address = :a AND asset = 'ETH'", a=address
        )
        assert aside.reason == "sent_by_house"
        await seam.finish()
        assert await _sweeps(seam) == [("top_up", "done", "final_ok")]
        assert await copy.unexplained() == []
        assert await copy.balances() == as_it_was
    await seam.sweeper.tick()
    await seam.finish()
    assert [one[:2] for one in await _sweeps(seam)] == [("top_up", "done"), ("token", "done")]
    assert (await seam.balance(person, "ETH")).total_minor == 0
    assert await copy.unexplained() == []


async def test_gas_that_its_address_was_credited_with_waits_for_a_person(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy knows no hot address: to its scanner it is a deposit like any other."""
    copy = await opened("prefund")
    seam = copy.seam
    person, address = await person_with(seam, usdc="500")
    await seam.sweeper.tick()
    await copy.take()
    await seam.finish()
    [gas] = await seam.rows("SELECT gas_fee_wei FROM chain_intents")
    given = await seam.on_chain(address, "ETH")
    await copy.put_back()
    _lose(
        copy.database, "DELETE FROM chain_signers",
        "DELETE FROM house_addresses WHERE place = 'hot'",
    )  # fmt: skip
    await copy.scan_first()
    assert (await seam.balance(person, "ETH")).total_minor == given > 0
    await seam.finish()
    [left] = await seam.rows("SELECT id, state, reason FROM chain_intents")
    assert (left.state, left.reason) == ("in_review", "lost_row")
    assert await seam.differences() == []
    await resolve(replace(seam.runner._desk, db=seam.operators), left.id, by="bea")
    assert await _sweeps(seam) == [("top_up", "done", "final_ok")]
    balances = await copy.balances()
    assert balances["expense:gas:local:ETH"] == -given - int(gas.gas_fee_wei)
    assert await copy.unexplained() == []
    monkeypatch.setattr(repository, "COOL_DOWN_SECONDS", 0.0)
    await seam.sweeper.tick()
    await seam.finish()
    assert [one[:2] for one in await _sweeps(seam)] == [("top_up", "done"), ("token", "done")]
    assert await copy.unexplained() == []


async def test_what_a_token_s_code_took_by_the_way_stays_an_arrival_of_its_own(
    opened: Open,
) -> None:
    """Out of an address that is not in the sweep: no end of it books that."""
    copy = await opened("prefund")
    seam = copy.seam
    await person_with(seam, eth="2")
    await seam.sweeper.tick()
    await copy.take()
    await seam.finish()
    await copy.put_back()
    await copy.scan_first()
    _lose(
        copy.database,
        "INSERT INTO deposits (id, network, block_hash, block_number, block_time, tx_hash,"
        " log_index, asset, from_address, to_address, amount_minor, is_move, status)"
        " SELECT 'dep_' || n.id, network, 'x', 1000000, block_time, tx_hash, n.log, 'USDC',"
        " CASE n.id WHEN 'other' THEN 'elsewhere' ELSE from_address END, to_address, 5, true,"
        " 'seen' FROM deposits, (VALUES ('other', 7), ('own', 8)) AS n (id, log) WHERE is_move",
    )
    await seam.finish()
    assert await _sweeps(seam) == [("coin", "done", "final_ok")]
    rows = await seam.rows("SELECT id, status FROM deposits WHERE id IN ('dep_other', 'dep_own')")
    assert {row.id: row.status for row in rows} == {"dep_other": "seen", "dep_own": "ignored"}


@pytest.mark.parametrize(("kind", "amounts", "named"), [SWEPT[0], SWEPT[2], TOPPED_UP])
async def test_one_whose_treasury_was_given_up_since_ends_where_it_is_final(
    opened: Open, kind: Kind, amounts: dict[str, str], named: str
) -> None:
    """Nothing new goes to that address; but this is there."""
    copy = await opened(kind)
    seam = copy.seam
    _, second = await seam.signer.hot_addresses()
    await hot.introduce(seam.db, seam.chain, second)
    async with seam.db.transaction() as session:
        await signers.halt_signer(session, network="local", address=second, reason=hot.STANDBY)
    await person_with(seam, **amounts)
    await seam.sweeper.tick()
    await copy.take()
    await seam.finish()
    assert await _sweeps(seam) == [(named, "done", "final_ok")]
    await copy.put_back()
    await copy.scan_first()
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="evacuation", by="ada", to=COLD)
    for _ in range(5):
        with suppress(ChainUnavailable):
            await seam.treasury.tick()
            await seam.finish()
    assert not await seam.rows("SELECT 1 FROM network_freezes WHERE evacuate_to IS NOT NULL")
    chosen = argparse.Namespace(action="unfreeze", network="local", by="ada")
    await cli_treasury_moves.run(services(seam), chosen)
    await seam.finish()
    await seam.finish()
    assert await _sweeps(seam) == [(named, "done", "final_ok")]
    assert await seam.differences() == []


async def test_workers_beside_each_other_end_it_once(opened: Open) -> None:
    """Scanner and two workers at the same time, with traces: whoever is first, the books agree."""
    kind, amounts, _ = SWEPT[3]
    copy = await opened(kind)
    seam = copy.seam
    seam.network = replace(seam.network, supports=("traces",))
    seam.restart_worker()
    await person_with(seam, **amounts)
    await seam.sweeper.tick()
    await copy.take()
    await seam.finish()
    as_it_was = await copy.balances()
    for _ in range(2):
        await copy.put_back()
        other = seam.new_runner()
        for _ in range(5):
            await seam.dev.mine(1)
            loops = (seam.observer.tick, seam.scanner.tick, seam.runner.tick, other.tick)
            await asyncio.gather(*(loop() for loop in loops))
        await seam.finish()
        assert await copy.balances() == as_it_was
        assert await copy.unexplained() == []


async def test_none_is_cancelled_that_the_lost_copy_may_have_made(opened: Open) -> None:
    """Its gas was in no entry, and nothing entered it."""
    kind, amounts, named = SWEPT[0]
    copy = await opened(kind)
    seam = copy.seam
    await person_with(seam, **amounts)
    await seam.sweeper.tick()
    await copy.take()
    await seam.finish()
    as_it_was = await copy.balances()
    await copy.put_back()
    [left] = await seam.rows("SELECT id FROM chain_intents WHERE state = 'queued'")
    chosen = argparse.Namespace(action="cancel", withdrawal=left.id, by="bea")
    with pytest.raises(InvalidState, match="held these books"):
        await cli_operator._replace(services(seam), chosen)
    await copy.scan_first()
    await seam.finish()
    assert await _sweeps(seam) == [(named, "done", "final_ok")]
    assert await copy.balances() == as_it_was
