"""`bifold topups unattributed|propose|approve`: bank transfers that name nobody here."""

from __future__ import annotations

import argparse
import sys

import orjson

from wallet.bootstrap import build
from wallet.clock import rfc3339
from wallet.settings import Settings
from wallet.topups import strays
from wallet.topups.strays import Stray


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """List them (1 while there are any), propose an owner, or approve a proposal."""
    services = build(settings, role="cli")
    try:
        async with services.db.transaction() as session:
            if chosen.action == "unattributed":
                return _show(await strays.strays(session, services.assets), as_json=chosen.json)
            act = strays.propose if chosen.action == "propose" else strays.approve
            done = await act(
                session, services.assets, stray_id=chosen.transfer, principal_id=chosen.to,
                by=chosen.by,
            )  # fmt: skip
    finally:
        await services.aclose()
    if done.topup_id is None:
        print(f"{done.id}: {done.money} for {done.principal_id}; somebody else approves.")
    else:
        print(f"{done.id}: {done.money} credited to {done.principal_id} as {done.topup_id}.")
    return 0


def _show(found: list[Stray], *, as_json: bool) -> int:
    if as_json:
        document = [
            {
                "id": one.id, "bank": one.bank, "bank_reference": one.bank_reference,
                "money": one.money.json(), "text": one.about,
                "proposed_for": one.principal_id, "proposed_by": one.proposed_by,
                "arrived_at": rfc3339(one.created_at),
            }
            for one in found
        ]  # fmt: skip
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
        return int(bool(found))
    for one in found:
        owner = f"  proposed for {one.principal_id} by {one.proposed_by}"
        # A stranger wrote the text: shown quoted, so that no control character reaches a terminal.
        print(f"{one.id}  {rfc3339(one.created_at)}  {one.bank}  {one.money}  {one.about!r}"
              + (owner if one.principal_id else ""))  # fmt: skip
    if not found:
        print("Nothing is unattributed.")
    return int(bool(found))
