"""`bifold reconcile`: the books against chain, bank and gateway, account by account.

The chain is read at the newest block the scanner has followed, whose hash is checked after the
reading: every figure belongs to one block and one moment of the books.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import BlockRef, Receipt
from chain.client import ChainClient
from chain.errors import ChainError
from chain.observe import transfer_in
from wallet import custody, ledger
from wallet.bootstrap import build
from wallet.custody.house import Place as HousePlace
from wallet.db import Database
from wallet.deposits import repository as deposits
from wallet.deposits.surplus import unscanned_addresses
from wallet.ledger import accounts
from wallet.ledger.accounts import Place
from wallet.ledger.reconcile_line import ReconcileLine
from wallet.money import AssetBook, format_amount
from wallet.onchain import ChainUnavailable, burn
from wallet.payouts.reconcile import bank_lines
from wallet.settings import Settings
from wallet.sweeps.calls import swept_coins
from wallet.topups import gateway_lines

ADDRESSES_AT_ONCE = 500
TRIES = 5
Key = tuple[Place, str]  # where on the chain, which asset


class ReconcileFailed(ChainUnavailable):
    """The chain could not be read at one block, so nothing can be said."""


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Lines of every network, and the block each was read at."""

    lines: list[ReconcileLine]
    blocks: dict[str, BlockRef]


@dataclass(slots=True)
class _Books:
    """One network's side of the books at one moment, all in minor units."""

    block: BlockRef | None
    issued: list[str] = field(default_factory=list)
    house: dict[str, HousePlace] = field(default_factory=dict)
    ledger_minor: dict[Key, int] = field(default_factory=dict)
    in_flight: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    open_hashes: list[str] = field(default_factory=list)


async def chain_lines(db: Database, chains: Mapping[str, ChainClient]) -> ChainReport:
    """One line per place and asset of every network. Raises ReconcileFailed."""
    lines: list[ReconcileLine] = []
    blocks: dict[str, BlockRef] = {}
    for name, chain in sorted(chains.items()):
        for _ in range(TRIES):
            found = await _network_lines(db, chain)
            if found is not None:
                break
        else:
            raise ReconcileFailed(f"{name}: the chain changed under every reading; try again.")
        block, more = found
        if block is not None:
            blocks[name] = block
        lines += more
    return ChainReport(lines, blocks)


async def _network_lines(
    db: Database, chain: ChainClient
) -> tuple[BlockRef | None, list[ReconcileLine]] | None:
    """None when the chain left the block while it was read."""
    async with db.snapshot() as session:
        books = await _read_books(session, chain)
    if books.block is None:
        return None, []
    try:
        outside = await _read_chain(chain, books)
        await _explain_open(chain, books)
        still = await chain.block_ref(books.block.number)
    except ChainError as error:
        raise ReconcileFailed(f"{chain.network.name}: {error}") from error
    if still is None or still.hash != books.block.hash:
        return None
    note = f"at block {books.block.number} {books.block.hash[:12]}…"
    return books.block, [
        ReconcileLine(
            account=accounts.on_chain(chain.network.name, asset, place).path,
            asset=asset,
            ledger_minor=books.ledger_minor[place, asset],
            outside_minor=outside[place, asset],
            in_flight_minor=books.in_flight[place, asset],
            note=note,
        )
        for place, asset in sorted(books.ledger_minor)
    ]


# The books


async def _read_books(session: AsyncSession, chain: ChainClient) -> _Books:
    network = chain.network
    tip = await deposits.tip(session, network.name)
    if tip is None:
        return _Books(block=None)
    books = _Books(block=BlockRef(tip.number, tip.hash, "", 0, 0))
    books.issued = await custody.issued_since(session, network=network.name, since=None)
    books.issued += await unscanned_addresses(session, network.name)
    books.house = await custody.house_addresses(session, network=network.name)
    places: list[Place] = ["deposit", "hot"]
    if "cold" in books.house.values():
        places.append("cold")
    for asset in (network.native_asset, *(token.code for token in network.tokens)):
        for place in places:
            books.ledger_minor[place, asset] = await ledger.balance_of(
                session, accounts.on_chain(network.name, asset, place)
            )
    await _unbooked_arrivals(session, network.name, network.native_asset, tip.number, books)
    await _payments(session, chain, tip.number, books)
    return books


async def _unbooked_arrivals(
    session: AsyncSession, network: str, native: str, up_to: int, books: _Books
) -> None:
    """What is on the chain already and not in the books yet (or left to a person)."""
    rows = await session.execute(
        text(
            "SELECT from_address, to_address, principal_id, asset, amount_minor FROM deposits"
            " WHERE network = :network AND entry_id IS NULL"
            " AND status NOT IN ('orphaned', 'ignored') AND block_number <= :number"
            " UNION ALL"
            " SELECT d.from_address, d.to_address, d.principal_id, d.asset, d.amount_minor"
            " FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
            " WHERE l.network = :network AND l.return_entry_id IS NULL"
            " AND l.again_block_number <= :number"
        ),
        {"network": network, "number": up_to},
    )
    for row in rows:
        place: Place = "deposit"
        if row.principal_id is None:
            place = "cold" if books.house.get(row.to_address) == "cold" else "hot"
            if books.house.get(row.from_address) == "cold":
                books.in_flight["cold", row.asset] -= int(row.amount_minor)
        books.in_flight[place, row.asset] += int(row.amount_minor)
    gas = await session.scalar(
        text(
            "SELECT sum(fee_minor) FROM cold_gas WHERE network = :network AND entry_id IS NULL"
            " AND block_number <= :number"
        ),
        {"network": network, "number": up_to},
    )
    books.in_flight["cold", native] -= int(gas or 0)


async def _payments(session: AsyncSession, chain: ChainClient, up_to: int, books: _Books) -> None:
    """Payments booked above the block, and the hashes of those whose end is not booked."""
    rows = await session.execute(
        text(
            "SELECT asset, amount_minor, gas_fee_wei, state FROM chain_intents"
            " WHERE network = :network AND mined_block > :number"
            " AND purpose NOT IN ('sweep', 'top_up', 'treasury')"
            " AND (purpose <> 'payout_batch' OR state <> 'final_ok')"
            " AND state IN ('final_ok', 'final_reverted', 'cancelled')"
        ),
        {"network": chain.network.name, "number": up_to},
    )
    for row in rows:
        if row.state == "final_ok":
            books.in_flight["hot", row.asset] += int(row.amount_minor)
        books.in_flight["hot", chain.network.native_asset] += int(row.gas_fee_wei)
    await _moves_above(session, chain.network.name, up_to, books)
    hashes = await session.execute(
        text(
            "SELECT a.tx_hash FROM chain_attempts a JOIN chain_intents i ON i.id = a.intent_id"
            " WHERE i.network = :network AND a.tx_hash IS NOT NULL"
            " AND i.state IN ('allocated', 'signed', 'sent', 'mined', 'in_review')"
        ),
        {"network": chain.network.name},
    )
    books.open_hashes = [
        *hashes.scalars(),
        *await burn.unbooked(session, chain.network.name),
    ]


async def _moves_above(session: AsyncSession, network: str, up_to: int, books: _Books) -> None:
    """The house's own moves booked above the block: there they have not happened yet."""
    rows = await session.execute(
        text(
            "SELECT a.path, p.asset, sum(p.amount_minor)::numeric AS minor FROM"
            " (SELECT intent_id, entry_id FROM sweeps WHERE network = :network"
            "  UNION ALL SELECT intent_id, entry_id FROM treasury_moves WHERE network = :network)"
            " AS s JOIN chain_intents i ON i.id = s.intent_id"
            " JOIN postings p ON p.entry_id = s.entry_id JOIN accounts a ON a.id = p.account_id"
            " WHERE i.mined_block > :number GROUP BY 1, 2"
        ),
        {"network": network, "number": up_to},
    )
    places: tuple[Place, ...] = ("deposit", "hot", "cold")
    by_path = {
        accounts.on_chain(network, asset, place).path: (place, asset)
        for _, asset in books.ledger_minor
        for place in places
    }
    for row in rows:
        key = by_path.get(row.path)
        if key is not None:
            books.in_flight[key] += int(row.minor)


# The chain


async def _read_chain(chain: ChainClient, books: _Books) -> dict[Key, int]:
    """Balances of all our addresses at the block, summed by place and asset."""
    assert books.block is not None
    by_place: dict[Place, list[str]] = {
        "deposit": books.issued,
        "hot": [a for a, place in books.house.items() if place == "hot"],
        "cold": [a for a, place in books.house.items() if place == "cold"],
    }
    sums: dict[Key, int] = {}
    for place, asset in books.ledger_minor:
        addresses, total = by_place[place], 0
        for first in range(0, len(addresses), ADDRESSES_AT_ONCE):
            some = addresses[first : first + ADDRESSES_AT_ONCE]
            total += sum(await chain.balances(some, asset, books.block.number))
        sums[place, asset] = total
    return sums


async def _explain_open(chain: ChainClient, books: _Books) -> None:
    """What transactions whose end is not booked have moved between our places by this block."""
    assert books.block is not None
    if not books.open_hashes:
        return
    receipts = await chain.receipts(books.open_hashes)
    mined = [r for r in receipts if r is not None and r.block_number <= books.block.number]
    places: dict[str, Place] = {address.lower(): "deposit" for address in books.issued}
    for address, place in books.house.items():
        if place in ("hot", "cold"):
            places[address.lower()] = cast(Place, place)
    for receipt in mined:
        await _explain_receipt(chain, books, receipt, places)


async def _explain_receipt(
    chain: ChainClient, books: _Books, receipt: Receipt, places: Mapping[str, Place]
) -> None:
    native = chain.network.native_asset

    def moved(address: str, asset: str, minor: int) -> None:
        place = places.get(address.lower())
        if place is not None:
            books.in_flight[place, asset] += minor

    treasury = chain.network.contracts.get("treasury", "")
    for log in receipt.logs:
        transfer = transfer_in(log, chain.network.tokens)
        if transfer is not None:
            moved(transfer.from_address, transfer.token.code, -transfer.amount)
            moved(transfer.to_address, transfer.token.code, transfer.amount)
    for (address, asset), minor in swept_coins(receipt, native).items():
        if address in places:
            moved(address, asset, -minor)
            moved(treasury, asset, minor)
    block = await chain.full_block(receipt.block_number)
    found = None
    if block is not None:
        found = next((tx for tx in block.transactions if tx.hash == receipt.tx_hash), None)
    if found is None:
        return
    moved(found.from_address, native, -receipt.fee_wei)
    if receipt.status == 1 and found.to is not None:
        moved(found.from_address, native, -found.value)
        moved(found.to, native, found.value)


# The command


async def command(settings: Settings, *, as_json: bool) -> int:
    """Print the report; 1 when a unit is unexplained or the books do not sum to zero."""
    services = build(settings, role="cli")
    try:
        report = await chain_lines(services.db, services.chains)
        lines = [
            *report.lines,
            *await bank_lines(services.db),
            *await gateway_lines(services.db),
        ]
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
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.write(_table(lines, services.assets))
        for code, minor in off.items():
            sys.stdout.write(f"The books are off by {minor} {code}.\n")
        end = "Everything agrees." if balanced else "Something is unexplained: see above."
        sys.stdout.write(end + "\n")
    return 0 if balanced else 1


def _line_document(line: ReconcileLine, assets: AssetBook) -> dict[str, object]:
    scale = assets.get(line.asset).scale
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
    widths = [max(len(row[i]) for row in [list(titles), *rows]) for i in range(len(titles))]
    text_lines = []
    for row in [[title.replace("_", " ") for title in titles], *rows]:
        cells = [
            cell.ljust(widths[i]) if i in (0, 5) else cell.rjust(widths[i])
            for i, cell in enumerate(row)
        ]
        text_lines.append("  ".join(cells).rstrip())
    return "\n".join(text_lines) + "\n"
