"""`bifold ledger …`: look at entries, propose corrections, agree with those of others."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.bootstrap import Services, build
from wallet.cli_files import read_bytes
from wallet.clock import rfc3339
from wallet.corrections import service
from wallet.corrections.document import MOST_BYTES, read_batch
from wallet.corrections.service import Correction
from wallet.errors import NotFound
from wallet.listed import recall
from wallet.money import AssetBook, format_amount
from wallet.settings import Settings


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """Do the chosen action; the exit code says how it went."""
    services = build(settings, role="cli")
    try:
        return await run(services, chosen)
    finally:
        await services.aclose()


async def run(services: Services, chosen: argparse.Namespace) -> int:
    """The same with services that are there already."""
    if chosen.action in ("list", "show"):
        await recall(services.db, services.assets)
        return await (_list if chosen.action == "list" else _show)(services, chosen)
    async with services.db.transaction() as session:
        said = await _act(session, services.assets, chosen)
    print(said)
    return 0


async def _act(session: AsyncSession, assets: AssetBook, chosen: argparse.Namespace) -> str:
    """What is printed once it is committed."""
    match chosen.action:
        case "reverse":
            made = await service.propose_reversal(
                session, entry_id=chosen.entry, reason=chosen.reason, by=chosen.by, assets=assets
            )
            return f"{_told(made, assets)}\n{made.id}: proposed; somebody else approves."
        case "post":
            batch = read_batch(read_bytes("file of entries", chosen.file, most=MOST_BYTES))
            made = await service.propose_entries(session, batch, by=chosen.by, assets=assets)
            return f"{_told(made, assets)}\n{made.id}: proposed; somebody else approves."
        case "approve":
            made = await service.approve(session, chosen.correction, by=chosen.by, assets=assets)
            return f"{_told(made, assets)}\n{made.id}: posted as {', '.join(made.entry_ids)}."
        case _:
            await service.dismiss(session, chosen.correction, by=chosen.by)
            return f"{chosen.correction}: dismissed."


async def _list(services: Services, chosen: argparse.Namespace) -> int:
    async with services.db.transaction() as session:
        found = await service.listed(session, open_only=not chosen.all)
    if chosen.json:
        _print([document(one, services.assets) for one in found])
    else:
        for one in found:
            ended = "" if one.ended_by is None else f", {one.state} by {one.ended_by}"
            print(f"{one.id}  {rfc3339(one.proposed_at)}  {one.state:<9}  {one.kind:<8}"
                  f"  by {one.proposed_by}{ended}: {one.reason}")  # fmt: skip
        if not found:
            print("Nothing is proposed.")
    return int(any(one.state == "proposed" for one in found))


async def _show(services: Services, chosen: argparse.Namespace) -> int:
    async with services.db.transaction() as session:
        if chosen.id.startswith("ent_"):
            whole = await _entry(session, chosen.id, services.assets)
        else:
            found = await service.get(session, chosen.id)
            whole = document(found, services.assets)
            if not chosen.json:
                print(_told(found, services.assets))
                return 0
    if chosen.json:
        _print(whole)
        return 0
    for name, value in whole.items():
        if name != "postings":
            print(f"{name:<11} {value}")
    for line in whole.get("postings", []):
        print(f"  {line['amount']:>30} {line['asset']:<5} {line['account']}")
    return 0


async def _entry(session: AsyncSession, entry_id: str, assets: AssetBook) -> dict[str, Any]:
    row = (
        await session.execute(
            text(
                "SELECT e.*, (SELECT r.id FROM entries r WHERE r.reverses = e.id) AS reversed_by"
                " FROM entries e WHERE e.id = :id"
            ),
            {"id": entry_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such entry.")
    lines = await session.execute(
        text(
            "SELECT a.path, p.asset, p.amount_minor FROM postings p JOIN accounts a"
            " ON a.id = p.account_id WHERE p.entry_id = :id ORDER BY p.id"
        ),
        {"id": entry_id},
    )
    return {
        "id": row.id,
        "kind": row.kind,
        "ref": row.ref,
        "reverses": row.reverses,
        "reversed_by": row.reversed_by,
        "event_at": rfc3339(row.event_at),
        "created_at": rfc3339(row.created_at),
        "postings": [
            _line(line.path, line.asset, int(line.amount_minor), assets) for line in lines
        ],
    }


def _line(path: str, asset: str, minor: int, assets: AssetBook) -> dict[str, str]:
    """Smallest units where nobody knows the asset any more."""
    scale = assets.scale(asset)
    return {"account": path, "asset": asset, "amount": format_amount(minor, scale)}


def _told(one: Correction, assets: AssetBook) -> str:
    """A correction for people: who, why, and each posting."""
    lines = [f"{one.id}  {one.kind}, {one.state}; proposed by {one.proposed_by}: {one.reason}"]
    for entry in one.entries:
        reference = entry.get("reference")
        lines.append(f"  {entry['note']}" + (f" (reference {reference})" if reference else ""))
        for posting in entry["postings"]:
            line = _line(posting["account"], posting["asset"], int(posting["minor"]), assets)
            lines.append(f"    {line['amount']:>30} {line['asset']:<5} {line['account']}")
    if one.ended_by is not None:
        lines.append(f"  {one.state} by {one.ended_by}")
    return "\n".join(lines)


def document(one: Correction, assets: AssetBook) -> dict[str, Any]:
    """A correction as JSON."""
    return {
        "id": one.id,
        "kind": one.kind,
        "state": one.state,
        "reverses": one.reverses,
        "reason": one.reason,
        "entries": [
            {
                "note": entry["note"],
                "reference": entry.get("reference"),
                "postings": [
                    _line(line["account"], line["asset"], int(line["minor"]), assets)
                    for line in entry["postings"]
                ],
            }
            for entry in one.entries
        ],
        "proposed_by": one.proposed_by,
        "proposed_at": rfc3339(one.proposed_at),
        "ended_by": one.ended_by,
        "ended_at": None if one.ended_at is None else rfc3339(one.ended_at),
        "entry_ids": one.entry_ids,
    }


def _print(whole: object) -> None:
    sys.stdout.write(orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode() + "\n")
