"""Queries about payments, their legs and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock

LEASE_SECONDS = 15  # a payment at work is left alone that long before the sweep takes it up


async def insert(session: AsyncSession, values: Mapping[str, Any]) -> None:
    """Write a payment. A second one of the same quote breaks its unique constraint."""
    stored = dict(values)
    rule = stored.get("travel_rule")
    stored["travel_rule"] = orjson.dumps(rule).decode() if rule is not None else None
    names = ", ".join(stored)
    marks = ", ".join(
        "CAST(:travel_rule AS jsonb)" if name == "travel_rule" else f":{name}" for name in stored
    )
    await session.execute(
        text(
            f"INSERT INTO payments ({names}, next_try_at) VALUES ({marks},"
            f" bifold_now() + {LEASE_SECONDS} * interval '1 second')"
        ),
        stored,
    )


async def add_leg(session: AsyncSession, values: Mapping[str, Any]) -> None:
    """Write one leg; a kind occurs once in a payment."""
    await session.execute(
        text(
            "INSERT INTO payment_legs (id, payment_id, position, kind, status, asset, amount_minor,"
            " reference, at) VALUES (:id, :payment_id, :position, :kind, :status, :asset,"
            " :amount_minor, :reference, CASE WHEN :status <> 'pending' THEN bifold_now() END)"
        ),
        dict(values),
    )


async def set_leg(session: AsyncSession, *, payment_id: str, kind: str, status: str) -> None:
    """Move one leg."""
    await session.execute(
        text(
            "UPDATE payment_legs SET status = :status, at = bifold_now()"
            " WHERE payment_id = :id AND kind = :kind AND status <> :status"
        ),
        {"id": payment_id, "kind": kind, "status": status},
    )


async def add_event(
    session: AsyncSession, *, payment_id: str, type_: str, detail: str = ""
) -> None:
    """Append to the story."""
    await session.execute(
        text("INSERT INTO payment_events (payment_id, type, detail) VALUES (:id, :type, :detail)"),
        {"id": payment_id, "type": type_, "detail": detail},
    )


async def lock(session: AsyncSession, payment_id: str) -> RowMapping | None:
    """The row alone, locked until the commit, with `now`."""
    row = await session.execute(
        text("SELECT *, bifold_now() AS now FROM payments WHERE id = :id FOR NO KEY UPDATE"),
        {"id": payment_id},
    )
    return row.mappings().one_or_none()


async def set_status(
    session: AsyncSession, *, payment_id: str, status: str, ended: bool, reason: str | None = None
) -> None:
    """Move the payment; what it waited for is over."""
    await session.execute(
        text(
            "UPDATE payments SET status = :status, reason = :reason, updated_at = bifold_now(),"
            " waiting_for = NULL, waiting_until = NULL,"
            " ended_at = CASE WHEN :ended THEN bifold_now() END, next_try_at = CASE WHEN :ended"
            f"  THEN NULL ELSE bifold_now() + {LEASE_SECONDS} * interval '1 second' END"
            " WHERE id = :id"
        ),
        {"id": payment_id, "status": status, "ended": ended, "reason": reason},
    )


async def set_refund(session: AsyncSession, *, payment_id: str, minor: int) -> None:
    """What went back to the payer."""
    await session.execute(
        text("UPDATE payments SET refund_minor = :minor WHERE id = :id"),
        {"id": payment_id, "minor": minor},
    )


async def wait(
    session: AsyncSession,
    *,
    payment_id: str,
    waiting_for: str,
    until: datetime | None,
    again_in_seconds: int,
) -> None:
    """Say what the payment waits for, until when, and when to look again."""
    await session.execute(
        text(
            "UPDATE payments SET waiting_for = :for, waiting_until = :until,"
            " updated_at = CASE WHEN waiting_for IS DISTINCT FROM :for THEN bifold_now()"
            "  ELSE updated_at END,"
            " next_try_at = bifold_now() + :again * interval '1 second' WHERE id = :id"
        ),
        {"id": payment_id, "for": waiting_for, "until": until, "again": again_in_seconds},
    )


async def take_due(session: AsyncSession, *, limit: int) -> Sequence[str]:
    """Open payments whose time to move has come; each is left alone for a lease from now."""
    rows = await session.execute(
        text(
            "UPDATE payments SET next_try_at = bifold_now() + :lease * interval '1 second'"
            " WHERE id IN (SELECT id FROM payments WHERE ended_at IS NULL"
            f"  AND {clock.due('next_try_at')} ORDER BY next_try_at LIMIT :limit"
            "  FOR NO KEY UPDATE SKIP LOCKED) RETURNING id"
        ),
        {"limit": limit, "lease": LEASE_SECONDS},
    )
    return rows.scalars().all()


async def contradicted(session: AsyncSession, *, limit: int) -> Sequence[str]:
    """Payments whose bank did otherwise than it had said, and whose story does not tell it yet."""
    rows = await session.execute(
        text(
            "SELECT o.ref FROM payouts o WHERE o.contradicted_at IS NOT NULL AND NOT EXISTS ("
            " SELECT FROM payment_events e WHERE e.payment_id = o.ref"
            "  AND e.type = 'bank.contradicted') ORDER BY o.ref LIMIT :limit"
        ),
        {"limit": limit},
    )
    return rows.scalars().all()


async def find(session: AsyncSession, *, principal_id: str, payment_id: str) -> RowMapping | None:
    """One payment of this principal."""
    row = await session.execute(
        text("SELECT * FROM payments WHERE id = :id AND principal_id = :principal"),
        {"id": payment_id, "principal": principal_id},
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
            "SELECT * FROM payments WHERE principal_id = :principal"
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


async def related(
    session: AsyncSession, table: str, column: str, ids: Sequence[str], *, order: str
) -> Sequence[RowMapping]:
    """Rows of a table of ours that belong to these ids."""
    rows = await session.execute(
        text(f"SELECT * FROM {table} WHERE {column} = ANY(:ids) ORDER BY {order}"),
        {"ids": list(ids)},
    )
    return rows.mappings().all()
