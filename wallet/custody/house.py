"""The house's own addresses, and the question whether an address is one of ours at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

Place = Literal["hot", "warm", "cold", "faucet"]


async def register_house_address(
    session: AsyncSession, *, network: str, address: str, place: Place
) -> None:
    """Make an address known as the house's; again changes nothing. `address` is EIP-55.

    A `faucet` is an outside party that the sandbox knows: what comes from it to a house address is
    capital, and money may be sent to it.
    """
    await session.execute(
        text(
            "INSERT INTO house_addresses (network, address, place)"
            " VALUES (:network, :address, :place) ON CONFLICT DO NOTHING"
        ),
        {"network": network, "address": address, "place": place},
    )


async def house_addresses(session: AsyncSession, *, network: str) -> dict[str, Place]:
    """Address → place, all of this network."""
    rows = await session.execute(
        text("SELECT address, place FROM house_addresses WHERE network = :network"),
        {"network": network},
    )
    return {row.address: row.place for row in rows}


async def warm_address(session: AsyncSession, *, network: str) -> str | None:
    """The warm address, if the house has one; after a change of vaults the newer."""
    found: str | None = await session.scalar(
        text(
            "SELECT address FROM house_addresses WHERE network = :network AND place = 'warm'"
            " ORDER BY created_at DESC LIMIT 1"
        ),
        {"network": network},
    )
    return found


async def is_house_address(session: AsyncSession, *, network: str, address: str) -> bool:
    """Whether money sent to this address would come to the house itself.

    Hot, warm and cold wallets, and every deposit address of anybody on any network (an address is
    derived once for all of them). The sandbox's faucet is an outside party and does not count.
    """
    found = await session.scalar(
        text(
            "SELECT EXISTS (SELECT FROM house_addresses WHERE network = :network"
            "   AND lower(address) = lower(:address) AND place <> 'faucet')"
            " OR EXISTS (SELECT FROM deposit_addresses WHERE lower(address) = lower(:address))"
        ),
        {"network": network, "address": address},
    )
    return bool(found)


async def ours_among(session: AsyncSession, addresses: Sequence[str]) -> set[str]:
    """Those of `addresses` that are the house's or anybody's deposit address, on any network, in
    lower case. The sandbox's faucet is an outside party and does not count."""
    rows = await session.execute(
        text(
            "SELECT lower(address) AS address FROM house_addresses"
            " WHERE place <> 'faucet' AND lower(address) = ANY(:asked)"
            " UNION SELECT lower(address) FROM deposit_addresses WHERE lower(address) = ANY(:asked)"
        ),
        {"asked": [address.lower() for address in addresses]},
    )
    return {row.address for row in rows}
