"""`bifold log`: what a command did is kept under the name it was given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import psycopg
import pytest

from wallet.cli import main
from wallet.testing.databases import ScratchDatabase

House = Callable[..., Path]


@pytest.fixture
def mine(
    house: House, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> ScratchDatabase:
    house()
    monkeypatch.setenv("BIFOLD_DATABASE_URL", database.app_url)
    monkeypatch.setenv("BIFOLD_OPERATOR_DATABASE_URL", database.operator_url)
    return database


def _bounds(low: str, high: str, by: str) -> int:
    return main(["treasury", "bounds", "--network", "local", "--asset", "ETH", "--low", low,
                 "--high", high, "--by", by])  # fmt: skip


def test_an_order_is_told_with_its_name(
    mine: ScratchDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log"]) == 0
    assert capsys.readouterr().out == "The log has no such line.\n"
    assert _bounds("1", "50", "Ada") == 0
    assert _bounds("1", "60", "ben") == 0
    capsys.readouterr()

    assert main(["log"]) == 0
    newest, oldest = capsys.readouterr().out.splitlines()
    assert "ben (bifold_operator)  update float_bounds local/ETH/hot" in newest
    assert newest.endswith(f"high_minor {50 * 10**18} → {60 * 10**18}, set_by ada → ben")
    assert "ada (bifold_operator)  insert float_bounds local/ETH/hot" in oldest

    assert main(["log", "--about", "ada", "--json"]) == 0
    (line,) = orjson.loads(capsys.readouterr().out)
    assert line["actor"] == "ada" and line["object_id"] == "local/ETH/hot"
    assert line["changed"] == {
        "low_minor": [None, f"{10**18}"], "high_minor": [None, f"{50 * 10**18}"],
        "set_by": [None, "ada"],
    }  # fmt: skip
    assert main(["log", "--last", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_refused_order_leaves_no_line(
    mine: ScratchDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _bounds("3", "2", "ada") == 1
    capsys.readouterr()
    assert main(["log"]) == 0
    assert capsys.readouterr().out == "The log has no such line.\n"


def test_no_value_looks_like_another_line(
    mine: ScratchDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code that runs as the application writes what it likes into a row; a line stays one line, and
    a terminal is told nothing."""
    forged = "X\n      9  2026-11-30T00:00:00Z  ada (bifold_operator)  delete \x1b[2K\u202e"
    with psycopg.connect(mine.conninfo()) as app:
        app.execute("SELECT set_config('bifold.actor', %s, true)", [f"eve\r{forged}"])
        app.execute(
            "INSERT INTO halted_tokens (network, asset, reason) VALUES ('local', %s, 'x')", [forged]
        )
    assert main(["log"]) == 0
    told = capsys.readouterr().out
    assert told.removesuffix("\n").isprintable()
    assert "local/X\\n " in told and "eve\\r" in told and "\\x1b[2K" in told
