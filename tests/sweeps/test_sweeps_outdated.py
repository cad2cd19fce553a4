"""Another treasury is named, as after an evacuation: what was promised to the old one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from chain.testing.fake_node import FakeNode
from wallet import clock
from wallet.db import Database
from wallet.sweeps.repository import candidates
from wallet.testing.seam import Seam


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", sweeps="prefund", confirmations=2,
        hot_keys=2, transport=FakeNode().transport,
    )  # fmt: skip
    await seam.fund_house()
    yield seam
    await seam.close()


async def _another_treasury(seam: Seam) -> None:
    """The operator names it in the networks file and the signer's policy, and starts the worker."""
    first, second = await seam.signer.hot_addresses()
    contracts = {**seam.network.contracts, "treasury": second}
    seam.network = replace(seam.network, contracts=contracts)
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    mine = {chain_id: replace(chain, sweep_to=frozenset({first, second}))}
    seam.desk.policy = replace(seam.desk.policy, chains=mine)
    seam.restart_worker()


async def _sweeps(seam: Seam) -> list[tuple[str, str, str]]:
    rows = await seam.rows(
        "SELECT s.state, i.state AS sent, s.treasury FROM sweeps s"
        " JOIN chain_intents i ON i.id = s.intent_id ORDER BY s.id"
    )
    return [(row.state, row.sent, row.treasury) for row in rows]


async def test_what_was_promised_to_the_treasury_of_before_goes_to_the_new_one(seam: Seam) -> None:
    """Nobody vouches for it: it waited for good, and its address with it."""
    first, second = await seam.signer.hot_addresses()
    await seam.funded_person(eth="1", usdc="0.5")
    await seam.sweeper.tick()
    assert await _sweeps(seam) == [("open", "queued", first)]
    await _another_treasury(seam)
    await seam.pass_once()
    await seam.sweeper.tick()
    assert await _sweeps(seam) == [("failed", "cancelled", first)]
    async with seam.db.transaction() as session:  # an hour later
        await session.execute(text("UPDATE sweeps SET ended_at = ended_at - interval '2 hours'"))
    held = await seam.on_chain(second, "ETH")
    await seam.sweeper.tick()
    await seam.finish()
    assert (await _sweeps(seam))[1:] == [("done", "final_ok", second)]
    assert await seam.on_chain(second, "ETH") > held + 9 * 10**17
    assert await seam.differences() == []


async def test_not_before_the_books_were_held_against_the_signer(seam: Seam) -> None:
    """They may be an old copy, and it may have left."""
    await seam.funded_person(eth="1", usdc="0.5")
    await seam.sweeper.tick()
    async with seam.db.transaction() as session:
        await session.execute(text("UPDATE network_state SET compared_in = NULL"))
    await _another_treasury(seam)
    await seam.sweeper.tick()
    assert [state for state, *_ in await _sweeps(seam)] == ["open"]


async def test_the_age_of_a_deposit_is_told_by_the_clock_of_its_arrival(seam: Seam) -> None:
    """What came after business time had leapt waited, in a batch of a few, for as long as that."""
    async with seam.db.transaction() as session:
        await clock.advance(session, seconds=7_200)
    await seam.funded_person(eth="0.5", usdc="60")
    head = await seam.chain.head()
    async with seam.db.transaction() as session:
        [one] = await candidates(
            session, network="local", native="ETH", asset="USDC", up_to=head.number, least=1,
            limit=10,
        )  # fmt: skip
    assert 0 <= one.age_seconds < 60
