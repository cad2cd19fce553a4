"""`bifold topups`: transfers that name nobody, differences with the gateway; two operators each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from wallet import cli, cli_topups
from wallet.settings import Settings
from wallet.testing.operators import operators_of
from wallet.testing.topups import TopupWorld
from wallet.topups.reconcile import SETTLING_SECONDS


@pytest.fixture
async def run(world: TopupWorld, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    async def aclose() -> None:
        return None

    db = operators_of(world.db)
    services = SimpleNamespace(db=db, assets=world.assets, aclose=aclose)
    monkeypatch.setattr(cli_topups, "build", lambda _settings, *, role: services)

    async def command(*words: str) -> int:
        chosen = cli._parser().parse_args(["topups", *words])
        return await cli_topups.command(
            Settings(mode="sandbox", database_url="postgresql://nowhere"), chosen
        )

    yield command
    await db.dispose()


async def test_it_is_listed_proposed_approved_and_gone(
    world: TopupWorld, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    who = await world.person()
    assert await run("unattributed") == 0
    await world.transfer("for \x1b[2J somebody", "5.00")
    assert await run("unattributed") == 1
    shown = capsys.readouterr().out
    assert "5.00 EUR" in shown and "\x1b" not in shown
    assert await run("unattributed", "--json") == 1
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["money"], one["proposed_for"]) == ({"amount": "5.00", "asset": "EUR"}, None)
    assert await run("propose", one["id"], "--to", who, "--by", "al") == 0
    assert await run("approve", one["id"], "--to", who, "--by", "bea") == 0
    assert "credited to" in capsys.readouterr().out
    assert await run("unattributed") == 0
    assert await world.balance(who, "EUR") == "5.00"


async def test_a_difference_is_listed_resolved_approved_and_gone(
    world: TopupWorld, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    who = await world.person()
    assert await run("differences") == 0
    made = await world.finish(await world.pay(who, "25.00", "visa_declined"))
    await world.gateway.misreport(made.id, world.money("24.00", "EUR"), "charge")
    await world.work()
    await world.advance(SETTLING_SECONDS + 1)
    capsys.readouterr()
    assert await run("differences") == 1
    shown = capsys.readouterr().out
    assert "another amount on the gateway's list: listed 24.00, booked 0.00 EUR" in shown
    assert "resolving credits its owner with 24.00 EUR" in shown and "bifold ledger post" in shown
    why = ("--reason", "its \x1b[2J statement")
    assert await run("resolve", made.id, "--by", "al", *why) == 0
    assert "24.00 EUR, by an entry of its own; somebody else approves" in capsys.readouterr().out
    assert await run("differences") == 1
    shown = capsys.readouterr().out
    assert "proposed by al" in shown and "\x1b" not in shown
    assert await run("differences", "--json") == 1
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["kind"], one["owner"], one["proposed_by"]) == ("other_amount", who, "al")
    assert await run("approve-resolve", one["proposal"], "--by", "bea") == 0
    assert "booked as the gateway lists it" in capsys.readouterr().out
    assert await run("differences") == 0
    assert await world.balance(who, "EUR") == "24.00"
