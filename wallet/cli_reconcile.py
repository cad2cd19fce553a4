"""`bifold reconcile`: the books against chain and bank now, or as they were read before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import orjson

from wallet import ledger
from wallet.bootstrap import build
from wallet.clock import rfc3339
from wallet.ledger.reconcile_line import ReconcileLine
from wallet.listed import recall
from wallet.money import AssetBook, format_amount
from wallet.payouts.reconcile import bank_lines
from wallet.reconcile import chain_lines, history
from wallet.reconcile.history import Kept
from wallet.settings import Settings

Cells = Sequence[Sequence[str]]


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """Print a report now, or the newest kept ones; 1 when something is unexplained."""
    if chosen.history is not None:
        return await _history(settings, as_json=chosen.json, readings=chosen.history)
    return await _now(settings, as_json=chosen.json, final=chosen.final)


async def _now(settings: Settings, *, as_json: bool, final: bool) -> int:
    services = build(settings, role="cli")
    try:
        await recall(services.db, services.assets)
        report = await chain_lines(services.db, services.chains, final=final)
        lines = [*report.lines, *await bank_lines(services.db)]
        async with services.db.snapshot() as session:
            off = {k: v for k, v in (await ledger.trial_balance(session)).items() if v}
    finally:
        await services.aclose()
    balanced = not off and all(line.balanced for line in lines)
    if as_json:
        document = {
            "balanced": balanced,
            "trial_balance_off": {code: str(minor) for code, minor in off.items()},
            "blocks": {
                name: {"number": block.number, "hash": block.hash}
                for name, block in report.blocks.items()
            },
            "lines": [_line_document(line, services.assets) for line in lines],
        }
        _print(document)
    else:
        sys.stdout.write(_table(lines, services.assets))
        for code, minor in off.items():
            sys.stdout.write(f"The books are off by {minor} {code}.\n")
        end = "Everything agrees." if balanced else "Something is unexplained: see above."
        sys.stdout.write(end + "\n")
    return 0 if balanced else 1


def _line_document(line: ReconcileLine, assets: AssetBook) -> dict[str, object]:
    scale = assets.scale(line.asset)
    return {
        "account": line.account,
        "asset": line.asset,
        "books": format_amount(line.ledger_minor, scale),
        "outside": format_amount(line.outside_minor, scale),
        "in_flight": format_amount(line.in_flight_minor, scale),
        "difference": format_amount(line.difference, scale),
        "balanced": line.balanced,
        "note": line.note,
    }


def _table(lines: list[ReconcileLine], assets: AssetBook) -> str:
    titles = ("account", "books", "outside", "in_flight", "difference", "note")
    rows = [[str(_line_document(line, assets)[title]) for title in titles] for line in lines]
    return _aligned([[title.replace("_", " ") for title in titles], *rows], left=(0, 5))


def _aligned(rows: Cells, *, left: Sequence[int]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    text_lines = []
    for row in rows:
        cells = [
            cell.ljust(widths[i]) if i in left else cell.rjust(widths[i])
            for i, cell in enumerate(row)
        ]
        text_lines.append("  ".join(cells).rstrip())
    return "\n".join(text_lines) + "\n"


# Readings that were kept


async def _history(settings: Settings, *, as_json: bool, readings: int) -> int:
    """1 when the newest reading does not agree, or there is none."""
    services = build(settings, role="cli")
    try:
        await recall(services.db, services.assets)
        async with services.db.transaction() as session:
            kept = await history.newest(session, limit=readings)
    finally:
        await services.aclose()
    if as_json:
        _print([_document(one) for one in kept])
    else:
        for one in kept:
            _show(one, services.assets)
        if not kept:
            sys.stdout.write("Nothing was read yet: the worker reads once a minute.\n")
    return 0 if kept and kept[0].outcome == "agrees" else 1


def _show(one: Kept, assets: AssetBook) -> None:
    blocks = [f"{read.source} {read.block_number}" for read in one.reads if read.block_number]
    sys.stdout.write(
        f"{rfc3339(one.started_at)}  {one.outcome:<7}  {one.seconds:6.2f} s  {one.id}"
        f"  {', '.join(blocks)}".rstrip()
        + "\n"
    )
    for read in one.reads:
        if read.unknown_reason:
            sys.stdout.write(f"    not known  {read.source}: {read.unknown_reason}\n")
    for line in one.off:
        scale = assets.scale(line.asset)
        minor = format_amount(int(line.difference_minor), scale)
        sys.stdout.write(f"    differs    {line.account}: {minor} {line.asset}; {line.note}\n")


def _document(one: Kept) -> dict[str, object]:
    return {
        "id": one.id,
        "outcome": one.outcome,
        "started_at": rfc3339(one.started_at),
        "seconds": round(one.seconds, 3),
        "sources": [
            {
                "source": read.source,
                "unknown_reason": read.unknown_reason,
                "block_number": read.block_number,
                "block_hash": read.block_hash,
                "final": read.final,
            }
            for read in one.reads
        ],
        "differences": [
            {
                "account": line.account,
                "asset": line.asset,
                "ledger_minor": str(int(line.ledger_minor)),
                "outside_minor": str(int(line.outside_minor)),
                "in_flight_minor": str(int(line.in_flight_minor)),
                "difference_minor": str(int(line.difference_minor)),
                "note": line.note,
            }
            for line in one.off
        ],
    }


def _print(document: object) -> None:
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
