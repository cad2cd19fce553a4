"""The options of `bifold ledger`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from wallet.cli_names import operator

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_ledger(commands: Subparsers) -> None:
    """Add the command and its actions."""
    ledger = commands.add_parser("ledger", help="entries, and corrections that two people agree on")
    actions = ledger.add_subparsers(dest="action", metavar="ACTION", required=True)
    reverse = actions.add_parser("reverse", help="propose to undo an entry by its negation")
    reverse.add_argument("entry", help="ent_…")
    reverse.add_argument("--reason", required=True, metavar="TEXT", help="why, for good")
    post = actions.add_parser("post", help="propose entries, posted together or not at all")
    post.add_argument("file", metavar="FILE.json", help="see docs/ledger.md, Corrections")
    listed = actions.add_parser("list", help="proposals that wait; exit 1 while there are any")
    listed.add_argument("--all", action="store_true", help="ended ones, too (the newest 500)")
    show = actions.add_parser("show", help="a correction or an entry, posting by posting")
    show.add_argument("id", help="cor_… or ent_…")
    approve = actions.add_parser("approve", help="agree with somebody else's proposal: post it")
    dismiss = actions.add_parser("dismiss", help="take a proposal off the list")
    for action in (approve, dismiss):
        action.add_argument("correction", help="cor_…")
    for action in (listed, show):
        action.add_argument("--json", action="store_true", help="print as JSON")
    for action in (reverse, post, approve, dismiss):
        action.add_argument(
            "--by", required=True, type=operator, metavar="NAME", help="who you are"
        )
