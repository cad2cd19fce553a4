"""Queries about what people watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

# Addresses that held or sent something are read again sooner than the empty ones of a gap.
_DUE = (
    "SELECT a.watched_id, a.position, a.address FROM watched_addresses a"
    " LEFT JOIN watched_balances b ON b.watched_id = a.watched_id AND b.position = a.position"
    "  AND b.network = :network AND b.asset = :native"
    " WHERE b.read_at IS NULL OR b.read_at < clock_timestamp() - interval '1 second' *"
    "  CASE WHEN a.position = 0 OR a.used_at IS NOT NULL THEN :soon ELSE :later END"
    " ORDER BY b.read_at NULLS FIRST, a.watched_id, a.position LIMIT :limit"
)


async def lock_owner(session: AsyncSession, principal_id: str) -> None:
    """One import of a person at a time: limits and uniqueness are then what they were counted."""
    await session.execute(
        text("SELECT 1 FROM principals WHERE id = :id FOR UPDATE"), {"id": principal_id}
    )


async def insert(
    session: AsyncSession,
    *,
    watched_id: str,
    principal_id: str,
    kind: str,
    label: str,
    identity: str,
    xpub: str | None,
) -> RowMapping:
    """Write one."""
    row = await session.execute(
        text(
            "INSERT INTO watched (id, principal_id, kind, label, identity, xpub)"
            " VALUES (:id, :principal, :kind, :label, :identity, :xpub) RETURNING *"
        ),
        {
            "id": watched_id, "principal": principal_id, "kind": kind, "label": label,
            "identity": identity, "xpub": xpub,
        },
    )  # fmt: skip
    return row.mappings().one()


async def insert_addresses(
    session: AsyncSession, *, watched_id: str, start: int, addresses: Sequence[str]
) -> None:
    """Addresses from position `start` on; those that are there stay. Nothing when its item is
    gone."""
    await session.execute(
        text(
            "INSERT INTO watched_addresses (watched_id, position, address)"
            " SELECT w.id, :start + given.place - 1, given.address FROM watched w,"
            " unnest(CAST(:addresses AS text[])) WITH ORDINALITY AS given (address, place)"
            " WHERE w.id = :id ON CONFLICT DO NOTHING"
        ),
        {"id": watched_id, "start": start, "addresses": list(addresses)},
    )


async def counted(session: AsyncSession, principal_id: str) -> dict[str, int]:
    """Kind → how many this person watches."""
    rows = await session.execute(
        text("SELECT kind, count(*) AS n FROM watched WHERE principal_id = :principal GROUP BY 1"),
        {"principal": principal_id},
    )
    return {row.kind: int(row.n) for row in rows}


async def known(session: AsyncSession, *, principal_id: str, identity: str) -> str | None:
    """The id under which this person watches it already."""
    found: str | None = await session.scalar(
        text("SELECT id FROM watched WHERE principal_id = :principal AND identity = :identity"),
        {"principal": principal_id, "identity": identity},
    )
    return found


async def find(session: AsyncSession, *, principal_id: str, watched_id: str) -> RowMapping | None:
    """One of this principal's."""
    row = await session.execute(
        text("SELECT * FROM watched WHERE id = :id AND principal_id = :principal"),
        {"id": watched_id, "principal": principal_id},
    )
    return row.mappings().one_or_none()


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
) -> Sequence[RowMapping]:
    """Newest first, one more than asked for."""
    rows = await session.execute(
        text(
            "SELECT * FROM watched WHERE principal_id = :principal"
            " AND (CAST(:at AS timestamptz) IS NULL OR (created_at, id) < (:at, :id))"
            " ORDER BY created_at DESC, id DESC LIMIT :limit"
        ),
        {
            "principal": principal_id,
            "limit": limit + 1,
            "at": cursor[0] if cursor else None,
            "id": cursor[1] if cursor else None,
        },
    )
    return rows.mappings().all()


async def delete(session: AsyncSession, *, principal_id: str, watched_id: str) -> bool:
    """With its addresses and balances. False when this principal has no such."""
    gone = await session.execute(
        text("DELETE FROM watched WHERE id = :id AND principal_id = :principal RETURNING 1"),
        {"id": watched_id, "principal": principal_id},
    )
    return gone.one_or_none() is not None


async def addresses(session: AsyncSession, watched_ids: Sequence[str]) -> Sequence[RowMapping]:
    """Addresses of these items, in order."""
    rows = await session.execute(
        text(
            "SELECT watched_id, position, address, used_at FROM watched_addresses"
            " WHERE watched_id = ANY(:ids) ORDER BY watched_id, position"
        ),
        {"ids": list(watched_ids)},
    )
    return rows.mappings().all()


async def balances(
    session: AsyncSession, watched_ids: Sequence[str], *, by_address: bool
) -> Sequence[RowMapping]:
    """Sums of these items by network and asset, or the single rows: `block_number` and `read_at`
    are the oldest of what was summed, `age_seconds` (real clock) goes with them, `n` counts it."""
    position = "position" if by_address else "0"
    rows = await session.execute(
        text(
            f"SELECT watched_id, {position} AS position, network, asset,"
            " sum(amount_minor) AS amount_minor, min(block_number) AS block_number,"
            " min(read_at) AS read_at, count(*) AS n,"
            " extract(epoch FROM clock_timestamp() - min(read_at))::float8 AS age_seconds"
            " FROM watched_balances WHERE watched_id = ANY(:ids)"
            " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        ),
        {"ids": list(watched_ids)},
    )
    return rows.mappings().all()


async def due(
    session: AsyncSession,
    *,
    network: str,
    native: str,
    soon_seconds: float,
    later_seconds: float,
    limit: int,
) -> Sequence[RowMapping]:
    """Addresses whose balances on this network are oldest, if old enough to be read again."""
    rows = await session.execute(
        text(_DUE),
        {
            "network": network, "native": native, "soon": soon_seconds, "later": later_seconds,
            "limit": limit,
        },
    )  # fmt: skip
    return rows.mappings().all()


async def store(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Balances read just now: `watched_id, position, network, asset, minor, block`. What was
    removed meanwhile stays removed."""
    await session.execute(
        text(
            "INSERT INTO watched_balances AS b"
            " (watched_id, position, network, asset, amount_minor, block_number)"
            " SELECT watched_id, position, :network, :asset, :minor, :block"
            " FROM watched_addresses WHERE watched_id = :watched_id AND position = :position"
            " FOR KEY SHARE"
            " ON CONFLICT (watched_id, position, network, asset) DO UPDATE SET"
            " amount_minor = excluded.amount_minor, block_number = excluded.block_number,"
            " read_at = clock_timestamp()"
        ),
        list(rows),
    )


async def mark_used(session: AsyncSession, places: Sequence[tuple[str, int]]) -> None:
    """These (item, position) have held or sent something; the first time stays."""
    await session.execute(
        text(
            "UPDATE watched_addresses SET used_at = clock_timestamp()"
            " WHERE watched_id = :id AND position = :position AND used_at IS NULL"
        ),
        [{"id": watched_id, "position": position} for watched_id, position in places],
    )


async def windows(session: AsyncSession, watched_ids: Sequence[str]) -> Sequence[RowMapping]:
    """Of the xpubs among these: the key, how many addresses there are, and the last one used."""
    rows = await session.execute(
        text(
            "SELECT w.id, w.xpub, count(*) AS derived,"
            " coalesce(max(a.position) FILTER (WHERE a.used_at IS NOT NULL), -1) AS last_used"
            " FROM watched w JOIN watched_addresses a ON a.watched_id = w.id"
            " WHERE w.xpub IS NOT NULL AND w.id = ANY(:ids) GROUP BY w.id, w.xpub"
        ),
        {"ids": list(watched_ids)},
    )
    return rows.mappings().all()
