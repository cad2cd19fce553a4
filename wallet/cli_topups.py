"""`bifold topups`: bank transfers that name nobody here, and differences with the card gateway."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.bootstrap import build
from wallet.clock import rfc3339
from wallet.money import AssetBook
from wallet.settings import Settings
from wallet.topups import resolve, strays
from wallet.topups.resolve import Difference
from wallet.topups.strays import Stray

# What a kind of difference means, and what resolving it does to the books.
MEANS = {
    "not_credited": "on the gateway's list, and not credited here",
    "not_listed": "credited here, and not on the gateway's list",
    "other_amount": "another amount on the gateway's list",
    "not_charged_back": "charged back on the gateway's list, and not here",
}
DOES = {
    "credit": "credits its owner with {money}, as the worker would have",
    "charge_back": "takes {money} from its owner, as charged back; what they have not got is owed",
    "more": "credits its owner with {money}, by an entry of its own",
    "less": "takes {money} from its owner, by an entry of its own; what they have not got is owed",
}
# What has a way out without this.
NOBODY = "no top-up of ours has this reference: bifold audit names what is wrong"
HINT = (
    "What the gateway has by a reference that is not ours is no difference: it is in unattributed,"
    " and\nbifold ledger post gives it to somebody. Where the house bears what a resolution takes"
    " from an owner,\nit gives it back to them from expense:correction."
)


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """List (1 while there is anything), propose, or approve."""
    services = build(settings, role="cli")
    try:
        async with services.db.transaction() as session:
            if chosen.action == "unattributed":
                return _show(await strays.strays(session, services.assets), as_json=chosen.json)
            if chosen.action == "differences":
                found = await resolve.open_differences(session)
                return _differences(found, services.assets, as_json=chosen.json)
            done = await _act(session, services.assets, chosen)
    finally:
        await services.aclose()
    print(done)
    return 0


async def _act(session: AsyncSession, assets: AssetBook, chosen: argparse.Namespace) -> str:
    """What was done, in a line."""
    if chosen.action == "resolve":
        made = await resolve.propose(
            session, reference=chosen.topup, asset=chosen.asset, reason=chosen.reason, by=chosen.by
        )
        does = _does(made.deed, made.listed_minor - made.booked_minor, made.asset, assets)
        return f"{made.id}: {does}; somebody else approves."
    if chosen.action == "approve-resolve":
        made = await resolve.approve(session, assets, resolution_id=chosen.resolution, by=chosen.by)
        return f"{made.id}: {made.reference} is booked as the gateway lists it, by {made.entry_id}."
    act = strays.propose if chosen.action == "propose" else strays.approve
    done = await act(
        session, assets, stray_id=chosen.transfer, principal_id=chosen.to, by=chosen.by
    )
    if done.topup_id is None:
        return f"{done.id}: {done.money} for {done.principal_id}; somebody else approves."
    return f"{done.id}: {done.money} credited to {done.principal_id} as {done.topup_id}."


def _does(deed: str | None, off_minor: int, asset: str, assets: AssetBook) -> str:
    if deed is None:
        return NOBODY
    how = ("more" if off_minor > 0 else "less") if deed == "adjust" else deed
    return DOES[how].format(money=assets.money(asset, abs(off_minor)))


def _differences(found: list[Difference], assets: AssetBook, *, as_json: bool) -> int:
    document = [_difference(one, assets) for one in found]
    if as_json:
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
        return int(bool(found))
    for one in document:
        # The gateway writes the reference: quoted, so that no control character reaches a terminal.
        print(f"{one['topup']!r}  {MEANS[one['kind']]}: listed {one['listed']}, booked"
              f" {one['booked']} {one['asset']}\n  resolving {one['does']}")  # fmt: skip
        if one["proposal"]:
            print(f"  {one['proposal']} proposed by {one['proposed_by']}: {one['reason']!r}")
    print(HINT if found else "The gateway's list and the books agree.")
    return int(bool(found))


def _difference(one: Difference, assets: AssetBook) -> dict[str, Any]:
    off, proposal = one.off, one.proposal
    return {
        "topup": off.reference, "asset": off.asset, "kind": one.kind,
        "listed": assets.money(off.asset, off.listed_minor).amount,
        "booked": assets.money(off.asset, off.booked_minor).amount,
        "owner": one.principal_id,
        "does": _does(one.deed, off.listed_minor - off.booked_minor, off.asset, assets),
        "proposal": proposal.id if proposal else None,
        "proposed_by": proposal.proposed_by if proposal else None,
        "reason": proposal.reason if proposal else None,
    }  # fmt: skip


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
