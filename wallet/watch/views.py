"""What is watched as its owner sees it: balances with the block and the age of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from chain.registry import Network
from keys.derivation import fingerprint
from wallet.money import AssetBook, Money
from wallet.watch import repository
from wallet.watch.reader import MAX_ADDRESSES

SHOWN_OF_XPUB = 8


@dataclass(frozen=True, slots=True)
class Held:
    """An amount on one network as its node told it. For a sum over addresses `block_number`,
    `as_of` and `age_seconds` (real clock) are those of the oldest part."""

    network: str
    money: Money
    block_number: int
    as_of: datetime
    age_seconds: float


@dataclass(frozen=True, slots=True)
class WatchedAddress:
    """One address; `used` once it held or sent something on some network."""

    index: int
    address: str
    used: bool
    balances: Sequence[Held]


@dataclass(frozen=True, slots=True)
class Watched:
    """`complete`: every listed asset of every address was read at least once on every network.
    `capped`: more addresses of this key may be in use than are watched."""

    id: str
    kind: str
    label: str
    address: str | None
    xpub: str | None
    fingerprint: str | None
    created_at: datetime
    balances: Sequence[Held]
    complete: bool
    address_count: int
    used_count: int
    capped: bool
    addresses: Sequence[WatchedAddress] = ()


async def overview(
    session: AsyncSession,
    rows: Sequence[RowMapping],
    *,
    networks: Mapping[str, Network],
    assets: AssetBook,
) -> list[Watched]:
    """Items with the sums of their addresses, in the order of `rows`."""
    ids = [row["id"] for row in rows]
    held: dict[str, list[RowMapping]] = defaultdict(list)
    for one in await repository.balances(session, ids, by_address=False):
        if _listed(one, networks):
            held[one["watched_id"]].append(one)
    for found in held.values():  # the coin before the tokens
        found.sort(key=lambda one: (one["network"], one["asset"] != _native(one, networks)))
    places: dict[str, list[RowMapping]] = defaultdict(list)
    for place in await repository.addresses(session, ids):
        places[place["watched_id"]].append(place)
    return [_item(row, places[row["id"]], held[row["id"]], networks, assets) for row in rows]


async def details(
    session: AsyncSession, row: RowMapping, *, networks: Mapping[str, Network], assets: AssetBook
) -> Watched:
    """The same with every address and what it holds."""
    [item] = await overview(session, [row], networks=networks, assets=assets)
    held: dict[int, list[Held]] = defaultdict(list)
    for one in await repository.balances(session, [row["id"]], by_address=True):
        if _listed(one, networks):
            held[one["position"]].append(_held(one, assets))
    for rows in held.values():
        rows.sort(key=lambda one: (one.network, one.money.asset.kind != "native"))
    found = await repository.addresses(session, [row["id"]])
    return _with_addresses(
        item,
        [
            WatchedAddress(
                at["position"], at["address"], at["used_at"] is not None, held[at["position"]]
            )
            for at in found
        ],
    )


def _with_addresses(item: Watched, addresses: Sequence[WatchedAddress]) -> Watched:
    values = {name: getattr(item, name) for name in Watched.__slots__ if name != "addresses"}
    return Watched(**values, addresses=addresses)


def _item(
    row: RowMapping,
    places: Sequence[RowMapping],
    held: Sequence[RowMapping],
    networks: Mapping[str, Network],
    assets: AssetBook,
) -> Watched:
    expected = sum(1 + len(network.tokens) for network in networks.values()) * len(places)
    xpub = row["xpub"]
    return Watched(
        id=row["id"],
        kind=row["kind"],
        label=row["label"],
        address=row["identity"] if xpub is None else None,
        xpub=None if xpub is None else f"{xpub[:SHOWN_OF_XPUB]}…{xpub[-SHOWN_OF_XPUB:]}",
        fingerprint=None if xpub is None else fingerprint(xpub),
        created_at=row["created_at"].astimezone(UTC),
        balances=[_held(one, assets) for one in held],
        complete=sum(one["n"] for one in held) == expected,
        address_count=len(places),
        used_count=sum(place["used_at"] is not None for place in places),
        capped=len(places) >= MAX_ADDRESSES,
    )


def _held(one: RowMapping, assets: AssetBook) -> Held:
    return Held(
        network=one["network"],
        money=Money(int(one["amount_minor"]), assets.known(one["asset"])),
        block_number=int(one["block_number"]),
        as_of=one["read_at"].astimezone(UTC),
        age_seconds=max(0.0, float(one["age_seconds"])),
    )


def _native(one: RowMapping, networks: Mapping[str, Network]) -> str:
    return networks[one["network"]].native_asset


def _listed(one: RowMapping, networks: Mapping[str, Network]) -> bool:
    """A network or an asset that is no longer served is no longer shown either."""
    network = networks.get(one["network"])
    return network is not None and (
        one["asset"] == network.native_asset or network.token(one["asset"]) is not None
    )
