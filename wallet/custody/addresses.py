"""Deposit addresses: given out, found again, and derived anew before they are shown.

The deriver holds the deposit account's public half only (BIP-44 account 1'). One index serves all
networks, so that coins sent on the wrong one still reach an address of the same person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.custody.errors import AddressMismatch, TooManyAddresses
from wallet.ids import new_id

MAX_ADDRESSES = 1_000  # one principal on one network; every one of them is watched for ever
DERIVED_AT_ONCE = 20  # then others have their turn: these take some 10 ms


class Deriver(Protocol):
    """What `keys.derivation.DepositDeriver` does for us."""

    def address(self, index: int) -> str:
        """The EIP-55 address at that index."""
        ...


@dataclass(frozen=True, slots=True)
class DepositAddress:
    """An address of one principal. `derivation_index` is for operators, never for the public."""

    id: str
    principal_id: str
    network: str
    derivation_index: int
    address: str
    created_at: datetime


async def issue_address(
    session: AsyncSession,
    *,
    principal_id: str,
    network: str,
    deriver: Deriver,
    fresh: bool = False,
) -> DepositAddress:
    """The principal's current address on this network, made now if there is none or `fresh` is set.

    Two at once get the same one. Raises AddressMismatch when what is stored was altered, and
    TooManyAddresses.
    """
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 7))"),
        {"name": f"deposit_address/{network}/{principal_id}"},
    )
    mine = {"principal": principal_id, "network": network}
    current = (
        await session.execute(
            text(
                _SELECT + " WHERE principal_id = :principal AND network = :network AND is_current"
            ),
            mine,
        )
    ).one_or_none()
    if current is not None and not fresh:
        return verify_shown(deriver, _address(current))
    if current is not None:
        await _retire_current(session, mine)
    index = int(await session.scalar(text("SELECT nextval('deposit_address_index')")) or 0)
    made = (
        await session.execute(
            text(
                "INSERT INTO deposit_addresses"
                " (id, principal_id, network, derivation_index, address)"
                " VALUES (:id, :principal, :network, :index, :address) RETURNING *"
            ),
            {**mine, "id": new_id("adr"), "index": index, "address": deriver.address(index)},
        )
    ).one()
    return _address(made)


async def list_addresses(
    session: AsyncSession, *, principal_id: str, deriver_of: Callable[[str], Deriver]
) -> list[DepositAddress]:
    """All addresses of one principal, newest first, each derived anew in its network's way.

    Raises AddressMismatch.
    """
    rows = await session.execute(
        text(_SELECT + " WHERE principal_id = :principal ORDER BY created_at DESC, id DESC"),
        {"principal": principal_id},
    )
    shown = []
    for row in rows:
        shown.append(verify_shown(deriver_of(row.network), _address(row)))
        if len(shown) % DERIVED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return shown


def verify_shown(deriver: Deriver, row: DepositAddress) -> DepositAddress:
    """`row`, if its address is what its index derives to. Raises AddressMismatch.

    Somebody who can write to the database cannot make us show an address of theirs.
    """
    if deriver.address(row.derivation_index) != row.address:
        raise AddressMismatch("This address cannot be shown now; support has been told.")
    return row


async def owners(
    session: AsyncSession, *, network: str, addresses: Sequence[str]
) -> dict[str, str]:
    """Address → principal, for those of `addresses` that were issued on this network."""
    rows = await session.execute(
        text(
            "SELECT address, principal_id FROM deposit_addresses"
            " WHERE network = :network AND address = ANY(:addresses)"
        ),
        {"network": network, "addresses": list(addresses)},
    )
    return {row.address: row.principal_id for row in rows}


async def issued_since(
    session: AsyncSession, *, network: str, after_index: int | None
) -> list[str]:
    """Addresses of this network with a higher index (None: all). For the scanner's watch."""
    rows = await session.execute(
        text(
            "SELECT address FROM deposit_addresses WHERE network = :network"
            " AND (CAST(:after AS bigint) IS NULL OR derivation_index > :after)"
        ),
        {"network": network, "after": after_index},
    )
    return [row.address for row in rows]


async def newest_issue(session: AsyncSession, *, network: str) -> int | None:
    """The highest index of a committed address of this network."""
    found = await session.execute(
        text("SELECT max(derivation_index) FROM deposit_addresses WHERE network = :network"),
        {"network": network},
    )
    newest: int | None = found.scalar_one()
    return newest


async def _retire_current(session: AsyncSession, mine: dict[str, Any]) -> None:
    count = await session.scalar(
        text(
            "SELECT count(*) FROM deposit_addresses"
            " WHERE principal_id = :principal AND network = :network"
        ),
        mine,
    )
    if int(count or 0) >= MAX_ADDRESSES:
        raise TooManyAddresses(f"At most {MAX_ADDRESSES} addresses on one network.")
    await session.execute(
        text(
            "UPDATE deposit_addresses SET is_current = false"
            " WHERE principal_id = :principal AND network = :network AND is_current"
        ),
        mine,
    )


_SELECT = (
    "SELECT id, principal_id, network, derivation_index, address, created_at FROM deposit_addresses"
)


def _address(row: Any) -> DepositAddress:
    return DepositAddress(
        row.id, row.principal_id, row.network, row.derivation_index, row.address, row.created_at
    )
