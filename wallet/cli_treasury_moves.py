"""`bifold treasury …`: float bounds, proposals, capital, profit and freeze."""

from __future__ import annotations

import argparse

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import checked
from wallet import custody, ledger
from wallet.bootstrap import Services
from wallet.cli_operator import desk_of, final_of
from wallet.errors import InvalidField, InvalidState, NotFound
from wallet.ledger import accounts
from wallet.money import format_amount, parse_amount
from wallet.onchain import casework, regained, signers
from wallet.onchain.freeze import freeze_network, frozen
from wallet.treasury import hot, moves
from wallet.treasury.bounds import set_bounds
from wallet.treasury.hot import STANDBY
from wallet.treasury.routes import source

log = structlog.get_logger("operator")


async def run(services: Services, chosen: argparse.Namespace) -> int:
    """Do one of the actions below; the exit code says how it went."""
    action = {
        "status": _status,
        "bounds": _bounds,
        "cold": _cold,
        "propose": _propose,
        "approve": _approve,
        "dismiss": _dismiss,
        "fund": _fund,
        "freeze": _freeze,
        "unfreeze": _unfreeze,
        "standby": _standby,
    }[chosen.action]
    if getattr(chosen, "by", None):
        log.warning(f"treasury.{chosen.action}", network=chosen.network, by=chosen.by)
    return await action(services, chosen)


async def _status(services: Services, chosen: argparse.Namespace) -> int:
    network = services.networks[chosen.network]
    async with services.db.transaction() as session:
        freeze = await frozen(session, network.name)
        house = await custody.house_addresses(session, network=network.name)
        for address, place in sorted(house.items(), key=lambda item: item[1]):
            print(f"{place:<9} {address}")
        for code in (network.native_asset, *(token.code for token in network.tokens)):
            await _float(services, session, network.name, code)
        if not any(place == "cold" for place in house.values()):
            print("cold      no address is known: nothing can be proposed (bifold treasury cold)")
        for move in await moves.moves(session, services.assets, network=network.name):
            print(_told(move))
    if freeze is not None:
        where = "" if freeze.evacuate_to is None else f", evacuating to {freeze.evacuate_to}"
        print(f"FROZEN    {freeze.reason}{where}")
    return int(freeze is not None)


def _told(move: moves.Move) -> str:
    """One move, and how its payment stands or why it ended."""
    to = "" if move.to_address is None else f" to {move.to_address}"
    line = f"{move.state:<9} {move.id} {move.kind} {move.money}{to} by {move.proposed_by}"
    if move.state == "refused":
        return f"{line}: the signer refused it: {move.reason}; see bifold cases list"
    if move.state == "approved" and move.payment is not None:
        return f"{line} (its payment: {move.payment})"
    return line


async def _float(services: Services, session: AsyncSession, network: str, code: str) -> None:
    scale = services.assets.get(code).scale

    async def held(place: accounts.Place) -> str:
        minor = await ledger.balance_of(session, accounts.on_chain(network, code, place))
        return format_amount(minor, scale)

    rows = await session.execute(
        text(
            "SELECT tier, low_minor, high_minor FROM float_bounds"
            " WHERE network = :network AND asset = :asset"
        ),
        {"network": network, "asset": code},
    )
    bounds = {
        row.tier: f"bounds {format_amount(int(row.low_minor), scale)}"
        f" to {format_amount(int(row.high_minor), scale)}"
        for row in rows
    }
    warm = await custody.warm_address(session, network=network)
    lies = [f"hot {await held('hot')}", f"deposit {await held('deposit')}"]
    lies += [] if warm is None else [f"warm {await held('warm')}"]
    told = [", ".join([*lies, f"cold {await held('cold')}"]), bounds.get("hot", "no bounds")]
    told += [f"warm {bounds['warm']}"] if warm is not None and "warm" in bounds else []
    print(f"float     {code:<6} {'; '.join(told)}")


async def _bounds(services: Services, chosen: argparse.Namespace) -> int:
    demand_listed(services, chosen)
    asset = services.assets.get(chosen.asset)
    low = parse_amount(chosen.low, asset, allow_zero=True)
    high = parse_amount(chosen.high, asset, allow_zero=True)
    async with services.db.transaction() as session:
        if chosen.tier == "warm":
            await _warm_address(session, chosen.network)
        await set_bounds(
            session, network=chosen.network, tier=chosen.tier, low=low, high=high, by=chosen.by
        )
    print("Proposals follow when the float leaves these bounds: bifold treasury status.")
    return 0


async def _warm_address(session: AsyncSession, network: str) -> str:
    """Raises InvalidField when the house knows none."""
    found = await custody.warm_address(session, network=network)
    if found is None:
        raise InvalidField("No warm address is known: see bifold keys warm, then start the worker.")
    return found


async def _recipient(session: AsyncSession, chosen: argparse.Namespace) -> str:
    """Where a proposed move goes: what was typed, or the one address that its kind can mean."""
    if chosen.to is not None:
        return checked(chosen.to)
    if chosen.kind == "to_warm":
        return await _warm_address(session, chosen.network)
    working = await hot.working(session, chosen.network) if chosen.kind == "to_hot" else None
    if working is None:
        raise InvalidField("Say where it goes with --to.")
    return working


async def _cold(services: Services, chosen: argparse.Namespace) -> int:
    """Know a cold address from now on. It must be empty: what comes is then seen and booked."""
    chain, address = services.chains[chosen.network], checked(chosen.address)
    head = await chain.head()
    for code in (chain.network.native_asset, *(token.code for token in chain.network.tokens)):
        [held] = await chain.balances([address], code, head.number)
        if held:
            raise InvalidField(f"It holds {code} already: take a fresh address, so that the books"
                               " see everything that comes.")  # fmt: skip
    async with services.db.transaction() as session:
        house = await custody.house_addresses(session, network=chosen.network)
        place = house.get(address)
        ours = await custody.is_house_address(session, network=chosen.network, address=address)
        if place != "cold" and ours:
            raise InvalidField(f"It is a {place or 'deposit'} address here: take a fresh one.")
        await custody.register_house_address(
            session, network=chosen.network, address=address, place="cold"
        )
    print(f"{address} is cold. Put it into the signer's policy, too (treasury_to).")
    return 0


def demand_listed(services: Services, chosen: argparse.Namespace) -> None:
    """Raises InvalidField: what its network does not carry moves nowhere."""
    network = services.chains[chosen.network].network
    if chosen.asset != network.native_asset and network.token(chosen.asset) is None:
        raise InvalidField(f"{chosen.asset} is not listed on {chosen.network}.")


async def _propose(services: Services, chosen: argparse.Namespace) -> int:
    demand_listed(services, chosen)
    async with services.db.transaction() as session:
        move_id = await moves.propose(
            session,
            network=chosen.network,
            money=parse_amount(chosen.amount, services.assets.get(chosen.asset)),
            kind=chosen.kind,
            to_address=await _recipient(session, chosen),
            by=chosen.by,
        )
    print(f"{move_id}: proposed; somebody else approves.")
    return 0


async def _approve(services: Services, chosen: argparse.Namespace) -> int:
    if not 0 <= chosen.hot < len(services.house.hot):
        raise InvalidField(f"The house has {len(services.house.hot)} hot addresses.")
    async with services.db.transaction() as session:
        move = await moves.approve(
            session, chosen.move, by=chosen.by, chain=services.chains[chosen.network],
            sender=services.house.hot[chosen.hot], assets=services.assets,
        )  # fmt: skip
    if source(move.kind) == "warm":
        print(f"{move.id}: {move.money} to {move.to_address}; operators sign for it now, as many")
        print("as the signer's policy asks for: bifold chain approvals, then approve-payment.")
        return 0
    print(f"{move.id}: {move.money} to {move.to_address}; the worker sends it.")
    return 0


async def _dismiss(services: Services, chosen: argparse.Namespace) -> int:
    async with services.db.transaction() as session:
        await moves.dismiss(session, chosen.move, by=chosen.by)
    print(f"{chosen.move}: dismissed.")
    return 0


async def _fund(services: Services, chosen: argparse.Namespace) -> int:
    money = parse_amount(chosen.amount, services.assets.get(chosen.asset))
    async with services.db.transaction() as session:
        await moves.fund(session, money=money, by=chosen.by)
    print(f"{money} is capital now.")
    return 0


async def _freeze(services: Services, chosen: argparse.Namespace) -> int:
    async with services.db.transaction() as session:
        await freeze_network(session, chosen.network, reason=chosen.reason, by=chosen.by)
    print("Frozen: nothing of customers leaves on this network.")
    return 0


async def _unfreeze(services: Services, chosen: argparse.Namespace) -> int:
    await _regain(services, chosen)
    async with services.db.transaction() as session:
        before = await frozen(session, chosen.network)
        if before is None:
            raise NotFound("That network is not frozen.")
        for address in await hot.to_give_up(session, chosen.network):
            await casework.give_up(session, network=chosen.network, address=address, by=chosen.by)
        await session.execute(
            text("DELETE FROM network_freezes WHERE network = :network"),
            {"network": chosen.network},
        )
        rows = await session.execute(
            text(
                "SELECT m.id FROM treasury_moves m JOIN chain_intents i ON i.id = m.intent_id"
                " WHERE m.network = :network AND m.kind = 'evacuate' AND m.state = 'approved'"
                " AND i.state = 'queued' ORDER BY m.id"
            ),
            {"network": chosen.network},
        )
        for move_id in rows.scalars().all():
            await moves.dismiss(session, move_id, by=chosen.by)
    if before.evacuate_to is not None:
        print(f"Its evacuation to {before.evacuate_to} is broken off; what is left stays hot.")
    print("It goes on.")
    return 0


async def _regain(services: Services, chosen: argparse.Namespace) -> None:
    """What waits may have been paid in a batch by an emptied address, whose strange nonces halted
    it: by these books' future, where they are an old copy, and not by a thief. Raises InvalidState
    where the node does not show what used them."""
    name = chosen.network
    async with services.db.transaction() as session:
        known = await signers.all_signers(session, name)
    reasons = {*signers.LOST, *signers.CONTRADICTED}
    lost = [row for row in known if row.role == "hot" and row.halted_reason in reasons]
    for row in lost:
        desk = desk_of(services, name)
        if not await regained.may_be_lost(desk, row.address):
            continue
        nonces = await regained.never_given(desk, row.address, next_nonce=row.next_nonce)
        if not nonces and not await regained.contradicted(desk, row.address):
            continue
        try:
            final = await final_of(services, name)
            for batch_id in await regained.regain(
                desk, address=row.address, nonces=nonces, final=final, by=chosen.by
            ):
                print(f"{batch_id}: these books had lost it; what it paid is ended.")
        except InvalidState as refusal:
            raise InvalidState(
                f"{refusal.detail} Or cancel what waits (bifold chain cancel), then unfreeze."
            ) from None


async def _standby(services: Services, chosen: argparse.Namespace) -> int:
    address, name = checked(chosen.address), chosen.network
    async with services.db.transaction() as session:
        house = await custody.house_addresses(session, network=name)
    if house.get(address) != "hot":
        raise InvalidField("That is not a hot address of the house.")
    await hot.introduce(services.db, services.chains[name], address)
    async with services.db.transaction() as session:
        await signers.halt_signer(session, network=name, address=address, reason=STANDBY)
        rows = {row.address: row for row in await signers.all_signers(session, name)}
    if rows[address].halted_reason != STANDBY:
        raise InvalidState(f"It is halted: {rows[address].halted_reason}.")
    print(f"{address} signs nothing until an evacuation makes it the hot address.")
    return 0
