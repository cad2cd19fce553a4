"""`bifold treasury evacuate`: a key is lost, and with it what it holds on every network."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from chain.address import checked
from chain.errors import ChainError, FeeCeiling
from wallet import custody
from wallet.bootstrap import Services
from wallet.errors import InvalidField, InvalidState
from wallet.money import Money
from wallet.onchain import casework as halts
from wallet.onchain import signers
from wallet.onchain.freeze import Freeze, freeze_network, frozen
from wallet.treasury import casework, evacuate, hot, moves

LOOK_EVERY_SECONDS = 1.0
ORDERED, NOWHERE = hot.ORDERED, "evacuation, and no cold address"
log = structlog.get_logger("operator")


@dataclass(frozen=True, slots=True)
class Order:
    """What is done on one network. `lanes`: hot addresses that are emptied; `told`: what speaks
    against emptying them, in words."""

    network: str
    lanes: Sequence[str]
    told: str | None = None


async def run(services: Services, chosen: argparse.Namespace, names: Sequence[str]) -> int:
    """Freeze these networks at once, move everything to cold, retire the hot addresses; waits for
    it to be final. What lies warm waits for operators' signatures, and this command does not wait
    for them. 1 unless all of it is done."""
    to = checked(chosen.to)
    log.warning("treasury.evacuate", networks=list(names), by=chosen.by)
    orders = await _order(services, chosen, names, to)
    say = _Say(alone=len(names) == 1)
    for one in orders:
        if one.told is not None:
            say(one.network, one.told)
        elif one.lanes:
            say(one.network, f"Frozen. {len(one.lanes)} hot addresses are emptied to {to} …")
    warm: list[int | None] = []
    if not chosen.hot_only:
        for one in orders:
            if one.told is None:
                warm.append(await _warm(services, chosen, one.network, to, say))
    if not any(warm) and None not in warm and not any(one.lanes or one.told for one in orders):
        raise InvalidState("There is no address left that could be emptied.")
    began = time.monotonic()
    codes = await asyncio.gather(
        *(_emptied(services, chosen, one, began, say) for one in orders if one.lanes)
    )
    return int(any(codes) or None in warm or any(one.told for one in orders))


class _Say:
    """A line of one network; it is named where there are several."""

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone

    def __call__(self, network: str, line: str) -> None:
        print(line if self._alone else f"{network}: {line}", flush=True)


async def _order(
    services: Services, chosen: argparse.Namespace, names: Sequence[str], to: str
) -> list[Order]:
    """Freeze all in one transaction, before anything is asked of a node. A network that does not
    know the cold address is frozen as well, and keeps the others from nothing.

    Raises InvalidField where none knows it, InvalidState for a single one that cannot be ordered.
    """
    orders = []
    async with services.db.transaction() as session:
        cold = {
            name for name in names
            if (await custody.house_addresses(session, network=name)).get(to) == "cold"
        }  # fmt: skip
        if not cold:
            raise InvalidField("That is not a cold address of the house.")
        for name in names:
            lanes = await hot.to_empty(session, name)
            if name not in cold:
                if await frozen(session, name) is None:
                    await freeze_network(session, name, reason=NOWHERE, by=chosen.by)
                orders.append(Order(name, [], (
                    f"frozen, but NOT emptied: {to} is no cold address there. Tell it with:"
                    f" bifold treasury cold --network {name}, then order it again."
                )))  # fmt: skip
                continue
            told = None
            if len(names) > 1 and _ended(await frozen(session, name)):
                lanes = []  # what is hot there now came after; only its name empties that, too
            if lanes:
                try:
                    await freeze_network(session, name, reason=ORDERED, by=chosen.by, to=to)
                    await casework.try_again(session, name, by=chosen.by)
                except InvalidState as refusal:
                    if len(names) == 1:
                        raise
                    lanes, told = [], refusal.detail
            orders.append(Order(name, lanes, told))
    return orders


def _ended(freeze: Freeze | None) -> bool:
    """Whether the worker has done what was ordered, and nobody has changed the freeze since."""
    return freeze is not None and freeze.reason == ORDERED and freeze.evacuate_to is None


async def _warm(
    services: Services, chosen: argparse.Namespace, name: str, to: str, say: _Say
) -> int | None:
    """Promise all that lies warm; how many payments wait for signatures now. None: it failed."""
    try:
        async with services.db.transaction() as session:
            made = await evacuate.warm_out(
                session, services.chains[name], services.assets, cold=to, by=chosen.by
            )
    except (ChainError, FeeCeiling, InvalidState) as error:
        say(name, f"What lies warm could not be promised ({error.code}):"
                  f" order the evacuation again with --network {name}.")  # fmt: skip
        return None
    for move in made:
        say(name, f"{move.id}: {move.money} out of warm waits for operators' signatures:"
                  " bifold chain approvals")  # fmt: skip
    return len(made)


async def _emptied(
    services: Services, chosen: argparse.Namespace, order: Order, began: float, say: _Say
) -> int:
    """Wait until the worker is done with one network, or stands."""
    name = order.network
    while time.monotonic() - began < chosen.wait:
        async with services.db.transaction() as session:
            now = await frozen(session, name)
            ended = _ended(now)
            for address in order.lanes if ended else ():
                # One that a thief had used was halted before, and stays so for a service.
                await halts.give_up(session, network=name, address=address, by=chosen.by)
            stopped = await casework.stopped(session, name)
        if now is None:
            say(name, "Somebody let it go on: what is left at the hot addresses stays there.")
            return 1
        if stopped:
            for what in stopped:
                say(name, what)
            say(name, "Mend what it names, then order the evacuation again with"
                      f" --network {name}; the freeze stays.")  # fmt: skip
            return 1
        if ended:
            await _tell(services, name, time.monotonic() - began, say)
            return 0
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    say(name, "Not done yet; the worker goes on. Look with: bifold treasury status")
    return 1


async def _tell(services: Services, name: str, seconds: float, say: _Say) -> None:
    async with services.db.transaction() as session:
        done = [move for move in await moves.moves(
            session, services.assets, network=name, open_only=False)
            if move.kind.startswith("evacuate") and move.state == "done"]  # fmt: skip
        now = [row.address for row in await signers.all_signers(session, name)
               if row.role == "hot" and row.halted_reason is None]  # fmt: skip
    totals: dict[str, Money] = {}
    for move in done:
        code = move.money.asset.code
        totals[code] = totals[code] + move.money if code in totals else move.money
    for money in totals.values():
        say(name, f"cold has  {money}")
    new = (f"New hot: {', '.join(now)}." if now else
           "No address was on standby: start the signer with one hot key more.")  # fmt: skip
    say(name, f"Done in {seconds:.0f} s. {new}")
    say(name, "Next: bifold keys rotate, then bifold treasury unfreeze. See docs/custody.md.")
