"""The books against the chain, account by account, at named blocks.

A network is read at one block that the scanner has followed: its newest, or the newest final one.
The block's hash is checked after the reading, so every figure belongs to one block and one moment
of the books.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import BlockRef, Receipt
from chain.client import ChainClient
from chain.errors import LIMIT_EXCEEDED, ChainError, NodeGarbage, NodeRejected
from chain.observe import NATIVE_LOG_INDEX, coins_swept_in, transfer_in
from wallet import custody, ledger
from wallet.custody.house import Place as HousePlace
from wallet.db import Database
from wallet.deposits import lineage
from wallet.deposits.surplus import unscanned_addresses
from wallet.ledger import accounts
from wallet.ledger.accounts import Place
from wallet.ledger.reconcile_line import ReconcileLine
from wallet.onchain import ChainUnavailable, burn

ADDRESSES_AT_ONCE = 500
TRIES = 5
MOST = 3 * 10**77
"""More than that is not kept of what contracts say: nine balances of 2^256 − 1, whose token lies,
would be more than a row can hold, and no reading of anything would be kept."""
KEEPS: tuple[Place, ...] = ("warm", "cold")
"""Tiers that a house need not have."""
Key = tuple[Place, str]  # where on the chain, which asset
log = structlog.get_logger(__name__)


class ReconcileFailed(ChainUnavailable):
    """The chain could not be read at one block, so nothing can be said."""


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Lines of every network, and the block each was read at."""

    lines: list[ReconcileLine]
    blocks: dict[str, BlockRef]


@dataclass(frozen=True, slots=True)
class NetworkReading:
    """One network at one block; `block` None: its scanner has not begun, or nothing is final."""

    lines: list[ReconcileLine]
    block: BlockRef | None
    final: bool


@dataclass(slots=True)
class _Books:
    """One network's side of the books at one moment, all in minor units."""

    block: BlockRef | None
    issued: list[str] = field(default_factory=list)
    house: dict[str, HousePlace] = field(default_factory=dict)
    ledger_minor: dict[Key, int] = field(default_factory=dict)
    in_flight: dict[Key, int] = field(default_factory=lambda: defaultdict(int))
    open_hashes: list[str] = field(default_factory=list)
    arrivals: dict[tuple[str, int], bool] = field(default_factory=dict)
    """Hash and log index of arrivals in those: they are explained, or booked, by themselves; and
    whether that tells of both ends, as a move out of a deposit address does."""


async def chain_lines(
    db: Database, chains: Mapping[str, ChainClient], *, final: bool = False
) -> ChainReport:
    """One line per place and asset of every network. Raises ReconcileFailed."""
    lines: list[ReconcileLine] = []
    blocks: dict[str, BlockRef] = {}
    for name, chain in sorted(chains.items()):
        reading = await read_network(db, chain, final=final)
        if reading.block is not None:
            blocks[name] = reading.block
        lines += reading.lines
    return ChainReport(lines, blocks)


async def read_network(db: Database, chain: ChainClient, *, final: bool) -> NetworkReading:
    """One network, at the scanner's newest block or the newest `final` one. Raises ReconcileFailed.

    A node without the state of the final block (a full node keeps some 128 blocks, a finalized tag
    may lie further back) is read at the newest block instead, and the reading says so.
    """
    try:
        for _ in range(TRIES):
            found = await _network_lines(db, chain, final=final)
            if found is not None:
                return found
    except NodeRejected as error:
        if final:
            return await read_network(db, chain, final=False)
        raise ReconcileFailed(f"{chain.network.name}: {error}") from error
    except ChainError as error:
        raise ReconcileFailed(f"{chain.network.name}: {error}") from error
    raise ReconcileFailed(
        f"{chain.network.name}: the chain changed under every reading; try again."
    )


async def _network_lines(db: Database, chain: ChainClient, *, final: bool) -> NetworkReading | None:
    """None when the chain left the block while it was read."""
    async with db.snapshot() as session:
        books = await _read_books(session, chain, final=final)
    if books.block is None:
        return NetworkReading([], None, final)
    outside = await _read_chain(chain, books)
    under_way = await _explain_open(chain, books)
    still = await chain.block_ref(books.block.number)
    if still is None or still.hash != books.block.hash:
        return None
    note = f"at {'final ' if final else ''}block {books.block.number} {books.block.hash[:12]}…"
    if under_way:
        note += f", {under_way} of our transactions in it are not booked yet"
    lines = [
        ReconcileLine(
            account=accounts.on_chain(chain.network.name, asset, place).path,
            asset=asset,
            ledger_minor=books.ledger_minor[place, asset],
            outside_minor=_kept(outside[place, asset]),
            in_flight_minor=_kept(books.in_flight[place, asset]),
            note=note,
        )
        for place, asset in sorted(outside)
    ]
    return NetworkReading(lines, books.block, final)


def _kept(minor: int) -> int:
    return max(-MOST, min(MOST, minor))


# The books


async def _read_books(session: AsyncSession, chain: ChainClient, *, final: bool) -> _Books:
    network = chain.network
    tip = await _block(session, network.name, final=final)
    if tip is None:
        return _Books(block=None)
    books = _Books(block=tip)
    books.issued = await custody.issued_since(session, network=network.name, after_index=None)
    books.issued += await unscanned_addresses(session, network.name)
    books.house = await custody.house_addresses(session, network=network.name)
    places: list[Place] = ["deposit", "hot"]
    places += [place for place in KEEPS if place in books.house.values()]
    for asset in (network.native_asset, *(token.code for token in network.tokens)):
        for place in places:
            books.ledger_minor[place, asset] = await ledger.balance_of(
                session, accounts.on_chain(network.name, asset, place)
            )
    await _unbooked_arrivals(session, network.name, network.native_asset, tip.number, books)
    await _payments(session, chain, tip.number, books)
    return books


async def _block(session: AsyncSession, network: str, *, final: bool) -> BlockRef | None:
    tip = await lineage.tip(session, network)
    if tip is None or not final:
        return None if tip is None else BlockRef(tip.number, tip.hash, "", 0, 0)
    known = await session.scalar(
        text("SELECT hash FROM chain_blocks WHERE network = :network AND number = :number"),
        {"network": network, "number": tip.final_number},
    )
    return None if known is None else BlockRef(tip.final_number, str(known), "", 0, 0)


async def _unbooked_arrivals(
    session: AsyncSession, network: str, native: str, up_to: int, books: _Books
) -> None:
    """What is on the chain already and not in the books yet (or left to a person)."""
    rows = await session.execute(
        text(
            "SELECT from_address, to_address, principal_id, is_move, asset, amount_minor"
            " FROM deposits"
            " WHERE network = :network AND entry_id IS NULL"
            " AND status NOT IN ('orphaned', 'ignored') AND block_number <= :number"
            " UNION ALL"
            " SELECT d.from_address, d.to_address, d.principal_id, d.is_move, d.asset,"
            " d.amount_minor FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
            " WHERE l.network = :network AND l.return_entry_id IS NULL"
            " AND l.again_block_number <= :number"
        ),
        {"network": network, "number": up_to},
    )
    for row in rows:
        place: Place = "deposit"
        if row.principal_id is None:
            place = next((p for p in KEEPS if p == books.house.get(row.to_address)), "hot")
            if row.is_move:
                books.in_flight["deposit", row.asset] -= int(row.amount_minor)
            elif books.house.get(row.from_address) == "cold":
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
    arrivals = await session.execute(
        text(
            "SELECT tx_hash, log_index, is_move FROM deposits WHERE network = :network"
            " AND tx_hash = ANY(:hashes) AND status NOT IN ('orphaned', 'ignored')"
            " AND trace_path = ''"
        ),
        {"network": chain.network.name, "hashes": books.open_hashes},
    )
    books.arrivals = {(row.tx_hash, row.log_index): row.is_move for row in arrivals}


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
    places: tuple[Place, ...] = ("deposit", "hot", *KEEPS)
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
    """Balances of all our addresses at the block, summed by place and asset; without those of
    tokens that say nothing."""
    assert books.block is not None
    by_place: dict[Place, list[str]] = {
        "deposit": books.issued,
    }
    for tier in ("hot", *KEEPS):
        by_place[tier] = [a for a, place in books.house.items() if place == tier]
    sums: dict[Key, int] = {}
    for place, asset in books.ledger_minor:
        total = await _sum(chain, by_place[place], asset, books.block.number)
        if total is not None:
            sums[place, asset] = total
    return sums


async def _sum(chain: ChainClient, addresses: Sequence[str], asset: str, number: int) -> int | None:
    """None where the node has that state and the token's contract says nothing: it alone is not
    known then. Raises ChainError."""
    total, native = 0, chain.network.native_asset
    for first in range(0, len(addresses), ADDRESSES_AT_ONCE):
        some = addresses[first : first + ADDRESSES_AT_ONCE]
        try:
            total += sum(await chain.balances(some, asset, number))
        except (NodeRejected, NodeGarbage) as error:
            busy = isinstance(error, NodeRejected) and error.rpc_code == LIMIT_EXCEEDED
            if busy or asset == native:
                raise
            await chain.said(some[0], native, number)  # raises where it is the node
            log.error("reconcile.token_says_nothing", network=chain.network.name, asset=asset)
            return None
    return total


async def _explain_open(chain: ChainClient, books: _Books) -> int:
    """What transactions whose end is not booked have moved between our places by this block, gas
    included; returns how many there are."""
    assert books.block is not None
    if not books.open_hashes:
        return 0
    receipts = await chain.receipts(books.open_hashes)
    mined = [r for r in receipts if r is not None and r.block_number <= books.block.number]
    places: dict[str, Place] = {address.lower(): "deposit" for address in books.issued}
    for address, place in books.house.items():
        if place in ("hot", *KEEPS):
            places[address.lower()] = cast(Place, place)
    for receipt in mined:
        await _explain_receipt(chain, books, receipt, places)
    return len(mined)


async def _explain_receipt(
    chain: ChainClient, books: _Books, receipt: Receipt, places: Mapping[str, Place]
) -> None:
    native = chain.network.native_asset

    def moved(address: str, asset: str, minor: int) -> None:
        place = places.get(address.lower())
        if place is not None:
            books.in_flight[place, asset] += minor

    def passed(index: int, source: str, target: str, asset: str, minor: int) -> None:
        told = books.arrivals.get((receipt.tx_hash, index))
        if not told:
            moved(source, asset, -minor)
        if told is None:
            moved(target, asset, minor)

    treasury = chain.network.contracts.get("treasury", "")
    for log in receipt.logs:
        transfer = transfer_in(log, chain.network.tokens)
        if transfer is not None:
            code, minor = transfer.token.code, transfer.amount
            passed(log.log_index, transfer.from_address, transfer.to_address, code, minor)
        wei = coins_swept_in(log)
        if wei and log.address in places:
            passed(log.log_index, log.address, treasury, native, wei)
    block = await chain.full_block(receipt.block_number)
    found = None
    if block is not None:
        found = next((tx for tx in block.transactions if tx.hash == receipt.tx_hash), None)
    if found is None:
        return
    moved(found.from_address, native, -receipt.fee_wei)
    if receipt.status == 1 and found.to is not None:
        passed(NATIVE_LOG_INDEX, found.from_address, found.to, native, found.value)
