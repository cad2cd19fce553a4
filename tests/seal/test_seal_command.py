"""`bifold seal head` and `bifold seal verify`, as an operator runs them."""

from __future__ import annotations

import json

import psycopg
import pytest

from wallet.cli import main
from wallet.testing.databases import ScratchDatabase


@pytest.fixture(autouse=True)
def books(database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sealed entries, and one that waits."""
    monkeypatch.setenv("BIFOLD_MODE", "sandbox")
    monkeypatch.setenv("BIFOLD_DATABASE_URL", database.app_url)
    monkeypatch.delenv("BIFOLD_DATABASE_DIRECT_URL", raising=False)
    with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as owner:
        owner.execute(
            "INSERT INTO accounts (id, path, asset, kind, side) VALUES"
            " ('h1', 'house:one:EUR', 'EUR', 'system', 'C'),"
            " ('h2', 'house:two:EUR', 'EUR', 'system', 'C')"
        )
        for number in range(3):
            command = {
                "entry": {"id": f"e{number}", "kind": "x", "ref": "x"},
                "postings": [
                    {"account": "h1", "asset": "EUR", "amount": "-1"},
                    {"account": "h2", "asset": "EUR", "amount": "1"},
                ],
            }
            owner.execute("SELECT ledger_post(%s::jsonb)", (json.dumps([command]),))
            if number == 1:
                owner.execute("SELECT seal(10)")


def read(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    code = main(["seal", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_head_that_is_printed_is_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    code, head = read(capsys, "head")
    assert (code, head["seq"], head["entries_waiting"]) == (0, 2, 1)
    assert head["anchor"] == f"2:{head['hash']}"
    code, checked = read(capsys, "verify", "--anchor", str(head["anchor"]))
    assert code == 0
    assert checked == {"links": 3, "seq": 2, "hash": head["hash"], "findings": []}
    assert main(["seal", "head"]) == 0
    assert f"anchor           2:{head['hash']}\n" in capsys.readouterr().out
    assert main(["seal", "verify"]) == 0
    assert capsys.readouterr().out == f"3 links computed anew, all whole; head 2:{head['hash']}\n"


def test_another_head_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    for anchor, what in (
        ("1:" + "ab" * 32, "is not the head that was written down outside"),
        ("9:" + "ab" * 32, "was written down outside and is not in the chain"),
    ):
        code, checked = read(capsys, "verify", "--anchor", anchor)
        assert code == 1
        assert [one["what"] for one in checked["findings"]] == [what]


def test_an_altered_entry_is_named(
    capsys: pytest.CaptureFixture[str], database: ScratchDatabase
) -> None:
    with psycopg.connect(database.server.conninfo("postgres", database.name)) as root:
        root.execute("SET session_replication_role = replica")
        root.execute("UPDATE entries SET ref = 'y' WHERE id = 'e1'")
    assert main(["seal", "verify"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "link 2: entry e1: was altered after it was sealed",
        "1 found; the first one is where it began to differ.",
    ]


@pytest.mark.parametrize("anchor", ["", "1", "x:y", "-1:" + "0" * 64, "1:" + "0" * 63])
def test_an_anchor_that_is_none_is_refused(anchor: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["seal", "verify", f"--anchor={anchor}"])
    assert ended.value.code == 2
