"""What an operator types: `bifold ledger …` and `bifold reconcile --history`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.corrections.test_corrections import paid
from tests.reconcile.test_reconcile_watch import shift, watch
from wallet import cli, cli_ledger, cli_reconcile
from wallet.bootstrap import Services
from wallet.db import Database
from wallet.errors import FourEyesRequired, InvalidField, NotFound
from wallet.testing.books import ASSETS
from wallet.testing.seam import Seam


async def run(db: Database, *words: str) -> int:
    chosen: argparse.Namespace = cli._parser().parse_args(["ledger", *words])
    services: Any = SimpleNamespace(db=db, assets=ASSETS)
    return await cli_ledger.run(cast(Services, services), chosen)


async def test_a_reversal_from_the_first_word_to_the_entry(
    db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    _, bob, entry = await paid(db)
    assert await run(db, "list") == 0
    assert capsys.readouterr().out == "Nothing is proposed.\n"
    assert await run(db, "reverse", entry, "--reason", "wrong person", "--by", "ada") == 0
    shown = capsys.readouterr().out
    assert f"-0.40 EUR   customer:{bob}:EUR" in shown
    made = shown.splitlines()[-1].split(":")[0]
    assert shown.splitlines()[-1] == f"{made}: proposed; somebody else approves."
    assert await run(db, "list") == 1
    assert "wrong person" in capsys.readouterr().out
    with pytest.raises(FourEyesRequired):
        await run(db, "approve", made, "--by", " ADA ")
    capsys.readouterr()
    assert await run(db, "approve", made, "--by", "bob") == 0
    posted = capsys.readouterr().out.splitlines()[-1]
    assert posted.startswith(f"{made}: posted as ent_")
    reversal = posted.removesuffix(".").split()[-1]
    assert await run(db, "show", reversal, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["reverses"]) == ("reversal", entry)
    assert {"account": f"customer:{bob}:EUR", "asset": "EUR", "amount": "-0.40"} in document[
        "postings"
    ]
    assert await run(db, "show", entry) == 0
    assert reversal in capsys.readouterr().out
    assert await run(db, "list") == 0
    assert await run(db, "list", "--all", "--json") == 0
    with pytest.raises(NotFound):
        await run(db, "show", "ent_none")


async def test_a_file_of_entries(
    db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ada, _, _ = await paid(db)
    file = tmp_path / "goodwill.json"
    whole = {
        "reason": "goodwill for the outage of the 3rd",
        "entries": [
            {
                "note": "five euros",
                "postings": [
                    {"account": "expense:correction:EUR", "amount": "-5.00"},
                    {"account": f"customer:{ada}:EUR", "amount": "5.00"},
                ],
            }
        ],
    }
    file.write_text(json.dumps(whole))
    assert await run(db, "post", str(file), "--by", "ada") == 0
    shown = capsys.readouterr().out
    made = shown.splitlines()[-1].split(":")[0]
    assert "five euros" in shown and f" 5.00 EUR   customer:{ada}:EUR" in shown
    assert await run(db, "show", made, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["entries"][0]["postings"][1]["amount"] == "5.00"
    assert document["state"] == "proposed" and document["entry_ids"] == []
    assert await run(db, "dismiss", made, "--by", "eve") == 0
    assert await run(db, "list", "--all") == 0
    assert "dismissed by eve" in capsys.readouterr().out
    whole["balance"] = "7.00"
    file.write_text(json.dumps(whole))
    with pytest.raises(InvalidField, match="balance"):
        await run(db, "post", str(file), "--by", "ada")


async def test_readings_are_listed_with_what_differed(
    seam: Seam, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing() -> None:
        return None

    def services(*_: object, **__: object) -> Any:
        return SimpleNamespace(
            db=seam.db, assets=seam.assets, chains={"local": seam.chain}, aclose=nothing
        )

    monkeypatch.setattr(cli_reconcile, "build", services)

    async def reconcile(*words: str) -> int:
        chosen = cli._parser().parse_args(["reconcile", *words])
        return await cli_reconcile.command(cast(Any, None), chosen)

    assert await reconcile("--history") == 1
    assert capsys.readouterr().out.startswith("Nothing was read yet")
    await watch(seam).tick()
    assert await reconcile("--history") == 0
    line = capsys.readouterr().out
    assert "agrees" in line and "chain:local" in line
    assert await reconcile("--final") == 0
    assert "at final block" in capsys.readouterr().out
    await shift(seam, 1)
    await watch(seam).tick()
    capsys.readouterr()
    assert await reconcile("--history", "1") == 1
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2
    assert "differs    chain:local:ETH:hot: 0.000000000000000001 ETH; at final block" in shown[1]
    assert await reconcile("--history", "--json") == 1
    newest, older = json.loads(capsys.readouterr().out)
    assert (newest["outcome"], older["outcome"]) == ("differs", "agrees")
    [off] = newest["differences"]
    assert (off["account"], off["difference_minor"]) == ("chain:local:ETH:hot", "1")
    assert [source["source"] for source in newest["sources"]] == ["books", "chain:local"]


@pytest.mark.parametrize("count", ["0", "-1", "x", "1001"])
def test_how_many_readings_is_a_number(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["reconcile", f"--history={count}"])
    assert "a number from 1 to 1000" in capsys.readouterr().err
