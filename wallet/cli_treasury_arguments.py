"""The options of `bifold treasury`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from wallet.cli_names import operator

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_treasury(commands: Subparsers) -> None:
    """Add the command and its actions."""
    treasury = commands.add_parser("treasury", help="hot, warm, cold, capital and profit")
    actions = treasury.add_subparsers(dest="action", metavar="ACTION", required=True)
    unsigned = actions.add_parser("unsigned", help="a sheet for the cold machine to sign")
    for name, what in (
        ("--from", "cold address"), ("--asset", "code"), ("--amount", "like 1.5"),
        ("--out", "file for the sheet"),
    ):  # fmt: skip
        unsigned.add_argument(name, required=True, help=what, dest=name[2:].replace("from", "cold"))
    where = unsigned.add_mutually_exclusive_group()
    where.add_argument(
        "--hot", type=int, default=0, help="number of the hot address it goes to (0)"
    )
    where.add_argument("--warm", action="store_true", help="it goes to the warm address")
    unsigned.add_argument("--qr", help="an SVG file with the sheet as a QR code, too")
    send = actions.add_parser("send", help="check and send what came back; again is safe")
    send.add_argument("--unsigned", required=True, help="the sheet that went out")
    send.add_argument("--signed", required=True, help="the sheet that came back")
    send.add_argument(
        "--wait", type=float, default=120.0, metavar="SECONDS", help="how long for its block (120)"
    )
    for action in (unsigned, send, *_moves(actions)):
        several = "all of them" if action.prog.endswith(" evacuate") else "it must be said"
        action.add_argument(
            "--network",
            help=f"its name; without it the only one, and where there are several {several}",
        )


def _moves(actions: Subparsers) -> list[argparse.ArgumentParser]:
    made = {
        name: actions.add_parser(name, help=what)
        for name, what in (
            ("status", "addresses, floats, bounds and proposals; exit 1 when frozen"),
            ("bounds", "set how much of an asset should lie hot, or warm"),
            ("cold", "know a cold address that holds nothing yet"),
            ("propose", "propose a move between tiers, or profit to the owners"),
            ("approve", "agree with somebody else's proposal: it is sent, or waits for signatures"),
            ("dismiss", "take a proposal off the list, or what no nonce was given to"),
            ("fund", "say that unattributed coins at a hot address are capital"),
            ("freeze", "nothing of customers leaves on this network"),
            ("unfreeze", "let customers send again"),
            ("standby", "keep a hot address in reserve for an evacuation"),
            ("evacuate", "a key is lost: freeze, move everything to cold, change the key"),
        )
    }
    for name in ("bounds", "propose", "fund"):
        made[name].add_argument("--asset", required=True, help="code")
    for name in ("propose", "fund"):
        made[name].add_argument("--amount", required=True, help="like 1.5")
    made["bounds"].add_argument("--low", required=True, help="like 10000; below it, a refill")
    made["bounds"].add_argument("--high", required=True, help="above it, a move to the next tier")
    made["bounds"].add_argument(
        "--tier", default="hot", choices=["hot", "warm"], help="which of them (hot)"
    )
    made["propose"].add_argument(
        "--kind",
        required=True,
        choices=["to_cold", "to_warm", "to_hot", "warm_to_cold", "profit"],
        help="from where to where",
    )
    made["propose"].add_argument("--to", metavar="ADDRESS", help="needless for to_warm and to_hot")
    made["evacuate"].add_argument("--to", required=True, metavar="ADDRESS", help="a cold one")
    made["evacuate"].add_argument(
        "--hot-only", action="store_true", help="only a hot key is lost, the vault is not in doubt"
    )
    for name in ("cold", "standby"):
        made[name].add_argument("--address", required=True, help="0x…, with its checksum")
    for name in ("approve", "dismiss"):
        made[name].add_argument("move", help="tre_…")
    made["approve"].add_argument(
        "--hot", type=int, default=0, help="number of the hot address that sends it (0)"
    )
    made["freeze"].add_argument("--reason", required=True, help="kept, and shown by status")
    made["evacuate"].add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="how long to wait (60)"
    )
    for name, action in made.items():
        if name != "status":
            action.add_argument(
                "--by", required=True, type=operator, metavar="NAME", help="who you are"
            )
    return list(made.values())
