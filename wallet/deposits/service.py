"""Deposits as their owners see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.registry import Network
from wallet.db import Reader
from wallet.errors import NotFound
from wallet.money import AssetBook, Money


@dataclass(frozen=True, slots=True)
class Deposit:
    """One arrival. `block_number`: None while in no block; `log_index`: −1 for native coin;
    `trace_path`: the call that paid it, None where a transaction or a log did."""

    id: str
    network: str
    money: Money
    address: str
    from_address: str
    tx_hash: str
    log_index: int
    trace_path: str | None
    block_number: int | None
    confirmations: int
    required_confirmations: int
    status: str
    created_at: datetime
    updated_at: datetime


async def get(
    session: AsyncSession,
    *,
    principal_id: str,
    deposit_id: str,
    assets: AssetBook,
    networks: Mapping[str, Network],
) -> Deposit:
    """One deposit of this principal. Raises NotFound."""
    row = (
        await session.execute(
            text(_SELECT + " WHERE d.id = :id AND d.principal_id = :principal"),
            {"id": deposit_id, "principal": principal_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such deposit.")
    return _deposit(row, assets, networks)


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
    assets: AssetBook,
    networks: Mapping[str, Network],
) -> list[Deposit]:
    """Newest first, `limit + 1` rows at most, so that the caller sees whether there are more."""
    rows = await session.execute(
        text(
            _SELECT + " WHERE d.principal_id = :principal"
            " AND (CAST(:at AS timestamptz) IS NULL OR (d.created_at, d.id) < (:at, :id))"
            " ORDER BY d.created_at DESC, d.id DESC LIMIT :limit"
        ),
        {
            "principal": principal_id,
            "limit": limit + 1,
            "at": cursor[0] if cursor else None,
            "id": cursor[1] if cursor else None,
        },
    )
    return [_deposit(row, assets, networks) for row in rows]


async def of_transaction(
    session: AsyncSession,
    *,
    principal_id: str,
    network: str,
    tx_hash: str,
    assets: AssetBook,
    networks: Mapping[str, Network],
) -> list[Deposit]:
    """What one transaction (`0x`, lower case) brought this principal, in the order of its logs."""
    rows = await session.execute(
        text(
            _SELECT + " WHERE d.principal_id = :principal AND d.network = :network"
            " AND d.tx_hash = :tx_hash ORDER BY d.log_index, d.trace_path, d.id LIMIT 50"
        ),
        {"principal": principal_id, "network": network, "tx_hash": tx_hash},
    )
    return [_deposit(row, assets, networks) for row in rows]


async def pending(session: AsyncSession, *, principal_id: str) -> dict[str, int]:
    """Asset → minor units seen on chain, not final, not spendable."""
    rows = await session.execute(
        text(
            "SELECT asset, sum(amount_minor) AS total FROM deposits"
            " WHERE principal_id = :principal AND status IN ('seen', 'confirmed') GROUP BY asset"
        ),
        {"principal": principal_id},
    )
    return {row.asset: int(row.total) for row in rows}


@dataclass(frozen=True, slots=True)
class Holding:
    """One asset of one person, in minor units; `pending` stands outside the books."""

    asset: str
    total_minor: int
    held_minor: int
    pending_minor: int


_HOLDINGS = """
WITH booked AS (
    SELECT asset, balance_minor, held_minor FROM accounts
     WHERE principal_id = %(principal)s AND kind = 'customer'),
coming AS (
    SELECT asset, sum(amount_minor) AS minor FROM deposits
     WHERE principal_id = %(principal)s AND status IN ('seen', 'confirmed') GROUP BY asset)
SELECT n.now, h.* FROM (SELECT bifold_now() AS now) n LEFT JOIN (
    SELECT coalesce(b.asset, c.asset) AS asset, coalesce(b.balance_minor, 0) AS total,
           coalesce(b.held_minor, 0) AS held, coalesce(c.minor, 0) AS pending
      FROM booked b FULL JOIN coming c ON c.asset = b.asset) h ON true"""


async def holdings(reader: Reader, *, principal_id: str) -> tuple[datetime, list[Holding]]:
    """The moment, and every account with what is `pending` beside it, by asset code. One statement:
    all of it is of that moment."""
    found = await reader.execute(_HOLDINGS, {"principal": principal_id})
    rows = await found.fetchall()
    held = [
        Holding(asset, int(total), int(held), int(pending))
        for _, asset, total, held, pending in rows
        if asset is not None
    ]
    return rows[0][0], sorted(held, key=lambda one: one.asset)


_SELECT = "SELECT d.*, s.tip_number FROM deposits d LEFT JOIN scan_state s ON s.network = d.network"


def _deposit(row: Any, assets: AssetBook, networks: Mapping[str, Network]) -> Deposit:
    network = networks.get(row.network)
    in_block = row.status != "orphaned"
    depth = (row.tip_number or 0) - row.block_number + 1
    return Deposit(
        id=row.id,
        network=row.network,
        money=assets.money(row.asset, row.amount_minor),
        address=row.to_address,
        from_address=row.from_address,
        tx_hash=row.tx_hash,
        log_index=row.log_index,
        trace_path=row.trace_path or None,
        block_number=row.block_number if in_block else None,
        confirmations=max(depth, 0) if in_block else 0,
        required_confirmations=network.confirmations if network else 0,
        status=row.status,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
