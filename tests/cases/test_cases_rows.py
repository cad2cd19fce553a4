"""The table of cases: one open case of a thing, kept for good, closed once."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest

from tests.cases.conftest import Command, all_cases, kinds
from wallet import cases
from wallet.db import Database
from wallet.errors import InvalidField, InvalidState, NotFound
from wallet.ids import is_id, new_id
from wallet.monitor import vitals
from wallet.testing.databases import ScratchDatabase


async def opened(db: Database, subject: str = "local/USDC") -> str | None:
    async with db.transaction() as session:
        return await cases.open_case(
            session, kind="token_halted", subject=subject, network="local", asset="USDC",
            what="USDC on local is neither credited nor sent: it lies.",
            evidence={"reason": "it lies", "amount_minor": str(2**200)},
        )  # fmt: skip


async def test_a_case_keeps_what_was_known(db: Database) -> None:
    case_id = await opened(db)
    assert case_id is not None and is_id(case_id, "cas")
    [one] = await all_cases(db)
    assert (one.id, one.kind, one.subject_type, one.subject) == (
        case_id, "token_halted", "token", "local/USDC"
    )  # fmt: skip
    assert (one.severity, one.status, one.network, one.asset) == (
        "critical", "open", "local", "USDC"
    )  # fmt: skip
    assert one.evidence == {"reason": "it lies", "amount_minor": str(2**200)}


async def test_rivals_open_one(db: Database) -> None:
    made = await asyncio.gather(*(opened(db) for _ in range(8)))
    assert sum(one is not None for one in made) == 1
    assert await opened(db) is None
    assert await opened(db, "local/EURC") is not None
    assert len(await all_cases(db)) == 2


async def test_what_is_rolled_back_leaves_no_case(db: Database) -> None:
    with pytest.raises(KeyError):
        async with db.transaction() as session:
            await cases.open_case(session, kind="network_halted", subject="local", what="No.")
            raise KeyError
    assert await all_cases(db) == []


async def test_the_same_trouble_later_is_another_case(db: Database) -> None:
    first = await opened(db)
    async with db.transaction() as session:
        closed = await cases.close_all(
            session, kinds=["token_halted"], subjects=["local/USDC"], by="ada", note="read it"
        )
        assert closed == [first]
    second = await opened(db)
    assert second is not None and second != first
    assert [one.status for one in await all_cases(db)] == ["closed", "open"]


async def test_it_is_closed_once_by_somebody_who_says_why(db: Database) -> None:
    case_id = await opened(db) or ""
    for by, note in (("", "x"), ("ada", " ")):
        with pytest.raises(InvalidField):
            async with db.transaction() as session:
                await cases.close_by_hand(session, case_id=case_id, by=by, note=note)
    async with db.transaction() as session:
        done = await cases.close_by_hand(session, case_id=case_id, by="ada", note="seen")
    assert (done.status, done.closed_by, done.closing_note) == ("closed", "ada", "seen")
    assert done.closed_at is not None and done.closed_at >= done.opened_at
    with pytest.raises(InvalidState, match="closed by ada"):
        async with db.transaction() as session:
            await cases.close_by_hand(session, case_id=case_id, by="bob", note="seen")
    with pytest.raises(NotFound):
        async with db.transaction() as session:
            await cases.close_by_hand(session, case_id=new_id("cas"), by="bob", note="seen")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM cases",
        "TRUNCATE cases",
        "UPDATE cases SET what = 'nothing happened'",
        "UPDATE cases SET evidence = '{}'",
        "UPDATE cases SET severity = 'notice'",
        "UPDATE cases SET opened_at = opened_at + interval '1 day'",
    ],
)
async def test_the_application_can_only_close(
    db: Database, database: ScratchDatabase, statement: str
) -> None:
    await opened(db)
    with (
        psycopg.connect(database.conninfo("bifold_app")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM cases", "UPDATE cases SET what = 'no'", "UPDATE cases SET evidence = '{}'"],
)
async def test_not_even_the_owner_rewrites_one(
    db: Database, database: ScratchDatabase, statement: str
) -> None:
    await opened(db)
    with (
        psycopg.connect(database.conninfo("bifold_owner")) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="a case keeps what happened"),
    ):
        connection.execute(statement.encode())


async def test_a_closed_one_stays_closed(db: Database, database: ScratchDatabase) -> None:
    case_id = await opened(db) or ""
    async with db.transaction() as session:
        await cases.close_by_hand(session, case_id=case_id, by="ada", note="seen")
    reopen = (
        b"UPDATE cases SET status = 'open', closed_at = NULL, closed_by = NULL, closing_note = NULL"
    )
    for statement in (reopen, b"UPDATE cases SET closed_by = 'bob'"):
        with (
            psycopg.connect(database.conninfo("bifold_app")) as connection,
            pytest.raises(psycopg.errors.RaiseException, match="a closed one how it ended"),
        ):
            connection.execute(statement)


async def test_the_figures_name_every_kind(db: Database) -> None:
    await opened(db)
    await opened(db, "local/EURC")
    async with db.transaction() as session:
        seen = (await vitals(session)).open_cases
    assert seen == dict.fromkeys(cases.KINDS, 0) | {"token_halted": 2}


async def test_the_command_lists_shows_and_closes(
    db: Database, bifold: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await bifold("cases", "list") == 0
    assert capsys.readouterr().out == "No case is open.\n"
    case_id = await opened(db) or ""
    capsys.readouterr()
    assert await bifold("cases", "list") == 1
    line = capsys.readouterr().out
    assert line.startswith(case_id) and "critical  token_halted" in line and "it lies" in line
    assert await bifold("cases", "list", "--kind", "payment_late") == 0
    with pytest.raises(InvalidField, match="payment_late"):
        await bifold("cases", "list", "--kind", "payment_lat")
    capsys.readouterr()
    assert await bifold("cases", "show", case_id) == 0
    shown = capsys.readouterr().out
    assert f"amount_minor   {2**200}" in shown and "bifold chain resume-token" in shown
    # The token is halted in no table, so its cause does not stand: a person may close it.
    note = ("--by", "ada", "--note", "looked at its code")
    assert await bifold("cases", "close", case_id, *note) == 0
    assert await bifold("cases", "list") == 0
    capsys.readouterr()
    assert await bifold("cases", "list", "--all", "--json") == 0
    [document] = json.loads(capsys.readouterr().out)
    assert document["subject"] == {"type": "token", "id": "local/USDC"}
    assert (document["status"], document["closed_by"]) == ("closed", "ada")
    assert document["closing_note"] == "looked at its code"
    with pytest.raises(InvalidState):
        await bifold("cases", "close", case_id, *note)
    assert [one[2] for one in await kinds(db)] == ["closed"]
