"""`bifold log`: who decided what, and when; the newest first."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import orjson

from wallet import oplog
from wallet.bootstrap import build
from wallet.clock import rfc3339
from wallet.settings import Settings


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """Print the newest lines; 0."""
    services = build(settings, role="cli")
    try:
        async with services.db.snapshot() as session:
            lines = await oplog.newest(session, limit=chosen.last, about=chosen.about)
    finally:
        await services.aclose()
    if chosen.json:
        document = [
            {
                "seq": line.seq, "at": rfc3339(line.at), "actor": line.actor, "role": line.role,
                "action": line.action, "object": line.object, "object_id": line.object_id,
                "changed": {
                    name: [_amount(name, value) for value in pair]
                    for name, pair in line.changed.items()
                },
            }
            for line in lines
        ]  # fmt: skip
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
        return 0
    for line in lines:
        who = f"{line.actor} ({line.role})" if line.actor else line.role
        print(_one_line(f"{line.seq:>7}  {rfc3339(line.at)}  {who}  {line.action} {line.object}"
                        f" {line.object_id}  {_told(line.changed)}".rstrip()))  # fmt: skip
    if not lines:
        print("The log has no such line.")
    return 0


def _amount(name: str, value: Any) -> Any:
    """Minor units as text: they are more than a JSON number holds."""
    return str(value) if name.endswith("_minor") and value is not None else value


def _one_line(told: str) -> str:
    """The application writes what it likes into a row: no value may end its line, or be an order to
    the terminal."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in told
    )


def _told(changed: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(
        f"{name} {after}" if before is None else f"{name} {before} → {after}"
        for name, (before, after) in sorted(changed.items())
    )
