"""`bifold treasury …`; here `unsigned` and `send`: a refill from cold, signed elsewhere."""

from __future__ import annotations

import argparse

import segno
import structlog

from chain.address import checked
from keys.offline import explain, payment, read_sheet
from wallet import cli_evacuate
from wallet import cli_treasury_moves as moves
from wallet.bootstrap import Services, build
from wallet.cli_files import has_folder, make, may_be_made, naming, read_text
from wallet.errors import InvalidField, InvalidState, NotFound
from wallet.money import parse_amount
from wallet.settings import Settings
from wallet.treasury import broadcast, hot, prepare

FOR_ALL = 0o666  # less the umask: it holds no secret, and somebody else may carry it
log = structlog.get_logger("operator")


async def treasury(settings: Settings, chosen: argparse.Namespace) -> int:
    """Do the chosen action; 1 when a sent sheet is not mined with success."""
    services = build(settings, role="cli")
    try:
        return await act(services, chosen)
    finally:
        await services.aclose()


async def act(services: Services, chosen: argparse.Namespace) -> int:
    """The same with services that are the caller's."""
    if chosen.action == "evacuate":
        every = chosen.network is None and len(services.chains) > 1
        names = sorted(services.chains) if every else [_network(services, chosen.network)]
        return await cli_evacuate.run(services, chosen, names)
    chosen.network = _network(services, chosen.network)
    if chosen.action == "unsigned":
        return await _unsigned(services, chosen)
    if chosen.action == "send":
        return await _send(services, chosen)
    return await moves.run(services, chosen)


def _network(services: Services, told: str | None) -> str:
    """The one that was named, or the only one. Raises NotFound, InvalidField."""
    names = sorted(services.chains)
    if told is None and len(names) == 1:
        return names[0]
    are = "is" if len(names) == 1 else "are"
    there_are = f"there {are} {', '.join(names)}" if names else "none is configured"
    if told is None:
        raise InvalidField(f"Say which network with --network: {there_are}.")
    if told not in services.chains:
        raise NotFound(f"There is no network {told} here; {there_are}.")
    return told


async def _unsigned(services: Services, chosen: argparse.Namespace) -> int:
    chain = services.chains[chosen.network]
    moves.demand_listed(services, chosen)
    may_be_made("sheet", chosen.out)
    if chosen.qr:
        has_folder("QR code", chosen.qr)
    to = _recipient(services, chosen)
    await _demand_kept(services, chosen.network, to)
    sheet = await prepare(
        chain,
        sender=checked(chosen.cold),
        to=to,
        money=parse_amount(chosen.amount, services.assets.get(chosen.asset)),
        ours=_ours(services),
    )
    _write(sheet.text(), chosen.out, chosen.qr)
    print(sheet.summary)
    for line in explain(sheet):
        print(f"  {line}")
    print(f"Sign {chosen.out} on the cold machine: bifold keys sign {chosen.out} --out SIGNED")
    return 0


def _recipient(services: Services, chosen: argparse.Namespace) -> str:
    house = services.house
    if chosen.warm:
        if house.warm is None:
            raise InvalidField("keys.json names no warm address: see bifold keys warm.")
        return str(house.warm)
    if not 0 <= chosen.hot < len(house.hot):
        raise InvalidField(f"The house has {len(house.hot)} hot addresses.")
    return str(house.hot[chosen.hot])


def _ours(services: Services) -> list[str]:
    """Where a sheet may send coins to."""
    warm = services.house.warm
    return [*services.house.hot, *([] if warm is None else [warm])]


async def _demand_kept(services: Services, network: str, to: str) -> None:
    """Cold fills no address whose key may be in other hands. Raises InvalidState."""
    async with services.db.transaction() as session:
        if await hot.given_up(session, network, to):
            raise InvalidState(
                f"{to} is being emptied, or its key may be in other hands: nothing is sent there."
                " Name another with --hot, once the evacuation has ended; after a foreign"
                " transaction that was the house's own, bifold chain resume-signer."
            )


async def _send(services: Services, chosen: argparse.Namespace) -> int:
    sheet = read_sheet(read_text("unsigned sheet", chosen.unsigned))
    signed = read_text("signed sheet", chosen.signed)
    await _demand_kept(services, chosen.network, payment(sheet.tx).to)
    log.warning("treasury.sending", network=chosen.network, summary=sheet.summary)
    sent = await broadcast(
        services.chains[chosen.network], sheet=sheet, signed=signed, ours=_ours(services),
        wait_seconds=chosen.wait,
    )  # fmt: skip
    print(f"transaction {sent.tx_hash}")
    if sent.receipt is None:
        print(f"Not mined yet (the node said: {sent.answer}). Send the same sheet again later.")
        return 1
    if sent.receipt.status != 1:
        print(f"Mined in block {sent.receipt.block_number}, but it REVERTED: nothing moved.")
        return 1
    print(f"Mined in block {sent.receipt.block_number}. Not final yet: see docs/treasury.md.")
    return 0


def _write(text: str, path: str, qr: str | None) -> None:
    """A file that did not exist yet, and the same text as a QR code."""
    make("sheet", path, text, mode=FOR_ALL)
    if qr:
        with naming("QR code", qr, making=True):
            segno.make(text, micro=False).save(qr, kind="svg", scale=4)
