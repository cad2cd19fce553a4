"""`bifold deposits quarantined|release|approve-release|dismiss-release`: what was set aside."""

from __future__ import annotations

import argparse
import sys

import orjson

from wallet.bootstrap import Services, build
from wallet.deposits import release
from wallet.deposits.casework import words
from wallet.deposits.credit import Crediter
from wallet.deposits.release import HeldBack, Sight
from wallet.errors import InvalidState, NotFound
from wallet.reconcile.chain import read_network
from wallet.settings import Settings

ACTIONS = frozenset({"quarantined", "release", "approve-release", "dismiss-release"})


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """List (1 while there are any), say that one is good, agree, or take it back."""
    services = build(settings, role="cli")
    try:
        if chosen.action == "approve-release":
            return await _approve(services, chosen)
        async with services.db.transaction() as session:
            if chosen.action == "quarantined":
                found = await release.held_back(session, services.assets)
                return _show(found, as_json=chosen.json)
            if chosen.action == "dismiss-release":
                await release.dismiss(session, chosen.deposit, by=chosen.by)
                print(f"{chosen.deposit}: stays set aside.")
                return 0
            await release.propose(session, chosen.deposit, reason=chosen.reason, by=chosen.by)
        print(f"{chosen.deposit}: to be released; somebody else approves.")
        return 0
    finally:
        await services.aclose()


async def _approve(services: Services, chosen: argparse.Namespace) -> int:
    async with services.db.transaction() as session:
        found = await release.held_back(session, services.assets, deposit_id=chosen.deposit)
    if not found:
        raise NotFound("No deposit that is set aside has this id: bifold deposits quarantined.")
    sight, missing = await _seen(services, found[0])
    async with services.db.transaction() as session:
        done = await release.approve(
            session, Crediter(services.db, services.assets), services.assets, chosen.deposit,
            by=chosen.by, sight=sight, missing=missing,
        )  # fmt: skip
    if done.status == "credited":
        print(f"{done.deposit_id}: {done.money} credited to {done.principal_id or 'the house'}.")
    else:
        print(f"{done.deposit_id}: {done.money} is in the books as unattributed, for the account of"
              f" {done.principal_id} is closed; the case stays open.")  # fmt: skip
    return 0


async def _seen(services: Services, found: HeldBack) -> tuple[Sight | None, dict[str, int]]:
    """What the chain holds, for one person's address or for all of the house."""
    chain = services.chains.get(found.network)
    if chain is None:
        raise InvalidState(
            "Its network is not configured any more.", extra={"state": "quarantined"}
        )
    if found.principal_id is not None:
        return await release.look(services.db, chain, found), {}
    read = await read_network(services.db, chain, final=True)
    return None, {line.account: -line.difference for line in read.lines}


def _show(found: list[HeldBack], *, as_json: bool) -> int:
    if as_json:
        document = [
            {
                "id": one.id, "network": one.network, "principal_id": one.principal_id,
                "money": one.money.json(), "address": one.address, "tx_hash": one.tx_hash,
                "block_number": one.block_number, "reason": one.reason,
                "proposed_by": one.proposed_by, "because": one.because,
            }
            for one in found
        ]  # fmt: skip
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
        return int(bool(found))
    for one in found:
        whose = one.principal_id or "the house"
        print(f"{one.id}  {one.network}  {whose}  {one.money}  block {one.block_number}:"
              f" {words(one.reason)}\n  {one.tx_hash} to {one.address}")  # fmt: skip
        if one.proposed_by:
            print(f"  to be released, says {one.proposed_by}: {one.because!r}")
    if not found:
        print("Nothing is set aside.")
    return int(bool(found))
