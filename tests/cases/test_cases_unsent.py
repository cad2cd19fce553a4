"""A payment that no node was given in 30 minutes is a case until one was, whatever it waits for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import ANY

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.cases.conftest import Command, all_cases, kinds
from tests.cases.test_cases_sending import MINUTE, intent_of, pass_time
from tests.onchain.test_onchain_strangers import OUTSIDE
from wallet.errors import InvalidState
from wallet.onchain.unsent import UnsentWatch
from wallet.testing.seam import GWEI, Seam


async def held(seam: Seam) -> tuple[str, str]:
    """A payment that nobody sends yet; its owner and its intent."""
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    return ada, await intent_of(seam, made)


async def test_it_opens_at_thirty_minutes_and_not_before(seam: Seam) -> None:
    _, intent = await held(seam)
    watch = UnsentWatch(seam.db, seam.network)
    await pass_time(seam, 29 * MINUTE)
    await watch.tick()
    assert await kinds(seam.db) == []
    await pass_time(seam, MINUTE)
    await watch.tick()
    await watch.tick()
    [one] = await all_cases(seam.db)
    assert (one.kind, one.subject, one.severity) == ("payment_unsent", intent, "serious")
    assert "no node was given it: the worker has not come to it" in one.what
    assert one.evidence["state"] == "queued" and one.evidence["amount_minor"] == "1000000"


@pytest.mark.parametrize(
    ("waits", "words"),
    [("fees", "fees are above"), ("liquidity", "holds too little"), ("approval", "signature")],
)
async def test_it_says_what_it_waits_for(seam: Seam, waits: str, words: str) -> None:
    _, intent = await held(seam)
    async with seam.db.transaction() as session:
        await session.execute(
            text("UPDATE chain_intents SET waiting_for = :waits WHERE id = :id"),
            {"waits": waits, "id": intent},
        )
    await pass_time(seam, 31 * MINUTE)
    await UnsentWatch(seam.db, seam.network).tick()
    [one] = await all_cases(seam.db)
    assert words in one.what and one.evidence["waiting_for"] == waits


async def test_a_network_that_is_too_dear_is_told_before(
    seam: Seam, bifold: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once in the log, and by `bifold chain status` as long as it is."""

    async def seen(max_fee_wei: int) -> tuple[int, str, list[str]]:
        seam.observer._chain.network = replace(seam.network, max_fee_wei=max_fee_wei)
        with capture_logs() as logs:
            for _ in range(2):
                await seam.observer.tick()
        capsys.readouterr()
        code = await bifold("chain", "status")
        line = capsys.readouterr().out.splitlines()[0]
        return code, line, [one["event"] for one in logs if one["log_level"] == "warning"]

    assert await seen(GWEI) == (1, ANY, ["network.too_dear"])
    code, line, said = await seen(GWEI)
    assert (code, said) == (1, []) and line.split()[1:4] == ["local", "too", "dear"]
    assert "above the ceiling 1000000000 wei" in line
    code, line, said = await seen(seam.network.max_fee_wei)
    assert (code, said) == (0, []) and line.split()[1:3] == ["local", "usable"]
    assert (await seen(GWEI))[2] == ["network.too_dear"]


async def test_a_frozen_network_is_the_reason(seam: Seam) -> None:
    await held(seam)
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, by_whom)"
                 " VALUES ('local', 'a look', 'ada')")
        )  # fmt: skip
    await pass_time(seam, 31 * MINUTE)
    await UnsentWatch(seam.db, seam.network).tick()
    [one] = await all_cases(seam.db)
    assert "the network is frozen" in one.what


async def test_it_closes_when_a_node_was_given_it(seam: Seam, bifold: Command) -> None:
    await held(seam)
    await pass_time(seam, 31 * MINUTE)
    watch = UnsentWatch(seam.db, seam.network)
    await watch.tick()
    [one] = await all_cases(seam.db)
    with pytest.raises(InvalidState, match="still stands"):
        await bifold("cases", "close", one.id, "--by", "ada", "--note", "later")
    await seam.automine(False)
    await seam.pass_once()
    await seam.pass_once()
    await watch.tick()
    [one] = await all_cases(seam.db)
    assert (one.status, one.closed_by) == ("closed", "bifold")
    assert one.closing_note == "a node was given it, or it ended"


async def test_it_closes_when_its_owner_takes_it_back(seam: Seam) -> None:
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await pass_time(seam, 31 * MINUTE)
    watch = UnsentWatch(seam.db, seam.network)
    await watch.tick()
    await seam.cancel(ada, made.id)
    await watch.tick()
    assert [status for _, _, status in await kinds(seam.db)] == ["closed"]


async def test_one_that_left_in_time_is_none(seam: Seam) -> None:
    ada = await seam.funded_person()
    await seam.automine(False)
    await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.pass_once()
    await seam.pass_once()
    await pass_time(seam, 31 * MINUTE)
    await UnsentWatch(seam.db, seam.network).tick()
    assert await kinds(seam.db) == []


async def test_two_workers_open_one(seam: Seam) -> None:
    await held(seam)
    await pass_time(seam, 31 * MINUTE)
    watches = [UnsentWatch(seam.db, seam.network) for _ in range(4)]
    await asyncio.gather(*(watch.tick() for watch in watches))
    await asyncio.gather(*(watch.tick() for watch in watches))
    assert [kind for kind, _, _ in await kinds(seam.db)] == ["payment_unsent"]
