"""`bifold deposits losses|propose-fork|approve-fork|propose-bearer|approve-bearer`.

What to do after a fork below finality.
"""

from __future__ import annotations

import argparse
import sys

import orjson

from wallet.bootstrap import Services, build
from wallet.deposits import bearers, forks
from wallet.deposits.losses import Loss, losses
from wallet.errors import NotFound
from wallet.settings import Settings

ACTIONS = frozenset({"losses", "propose-fork", "approve-fork", "propose-bearer", "approve-bearer"})


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """List losses, propose to follow the node's chain, or agree."""
    services = build(settings, role="cli")
    try:
        if chosen.action == "losses":
            async with services.db.transaction() as session:
                return _show(await losses(session, services.assets), as_json=chosen.json)
        if chosen.action.endswith("-bearer"):
            return await _bear(services, chosen)
        return await _decide(services, chosen)
    finally:
        await services.aclose()


async def _decide(services: Services, chosen: argparse.Namespace) -> int:
    chain = services.chains.get(chosen.network)
    if chain is None:
        raise NotFound("There is no such network.")
    found = await forks.fork(services.db, chain)
    place = f"{found.network}: from block {found.number} {found.hash[:12]}… on {found.next_hash}"
    async with services.db.transaction() as session:
        if chosen.action == "propose-fork":
            await forks.propose(session, found, by=chosen.by)
            print(f"{place}; somebody else approves.")
            return 0
        await forks.approve(session, services.assets, found, by=chosen.by)
        gone = await losses(session, services.assets, network=found.network)
    print(f"{place} is followed; {len(gone)} credited deposits are lost unless they come again.")
    return 0


async def _bear(services: Services, chosen: argparse.Namespace) -> int:
    async with services.db.transaction() as session:
        if chosen.action == "propose-bearer":
            await bearers.propose(session, chosen.loss, chosen.bearer, by=chosen.by)
            print(f"{chosen.loss}: the {chosen.bearer} would bear it; somebody else approves.")
            return 0
        bearer = await bearers.approve(session, services.assets, chosen.loss, by=chosen.by)
    print(f"{chosen.loss}: the {bearer} bears it.")
    return 0


def _show(found: list[Loss], *, as_json: bool) -> int:
    if as_json:
        document = [
            {
                "id": one.id, "deposit_id": one.deposit_id, "network": one.network,
                "principal_id": one.principal_id, "money": one.money.json(),
                "address": one.address, "tx_hash": one.tx_hash, "above_block": one.fork_number,
                "seen_again_at_block": one.again_block,
            }
            for one in found
        ]  # fmt: skip
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
        return int(bool(found))
    for one in found:
        again = "" if one.again_block is None else f"  seen again at block {one.again_block}"
        owner = one.principal_id or "the house"
        print(f"{one.id}  {one.network}  {one.deposit_id}  {owner}  {one.money}  {one.tx_hash}"
              f"{again}")  # fmt: skip
    if not found:
        print("Nothing that was credited is lost.")
    return int(bool(found))
