"""Four eyes are two people: one name in two spellings is one, and the house's is nobody's."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from wallet import cli, cli_names
from wallet.treasury.moves import HOUSE

COLD = "0x00000000000000000000000000000000c01d0001"


def chosen(by: str) -> Any:
    return cli._parser().parse_args(
        ["treasury", "propose", "--network", "local", "--kind", "profit", "--asset", "ETH",
         "--amount", "1", "--to", COLD, "--by", by]
    )  # fmt: skip


@pytest.mark.parametrize("spelling", ["ada", "Ada", " ada ", "ADA\t", "\uff21da"])
def test_one_name_in_any_spelling_is_one_person(spelling: str) -> None:
    assert chosen(spelling).by == "ada"


@pytest.mark.parametrize("name", ["bifold", "Bifold ", "", "   ", "a" * 61, "a\u202eda"])
def test_a_name_that_is_nobodys_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the house proposes one operator may approve: nobody proposes in its name."""
    with pytest.raises(SystemExit):
        chosen(name)
    assert "--by" in capsys.readouterr().err
    assert cli_names.HOUSE == HOUSE


def test_every_command_takes_names_in_this_way() -> None:
    def inside(parser: argparse.ArgumentParser) -> list[argparse.Action]:
        found: list[argparse.Action] = []
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for below in action.choices.values():
                    found += inside(below)
            elif "--by" in action.option_strings:
                found.append(action)
        return found

    named = inside(cli._parser())
    assert len(named) > 10
    assert {action.type for action in named} == {cli_names.operator}
