"""Queries about quotes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.fx import rates


@dataclass(frozen=True, slots=True)
class Exposure:
    """What one principal has quoted: how many are live; notional of the live and the used."""

    live: int
    first_expiry: datetime | None
    notional_eur_minor: int


async def lock_principal(session: AsyncSession, principal_id: str) -> bool:
    """Take the principal's row, the lock of all its limits. False when there is none."""
    found = await session.execute(
        text("SELECT 1 FROM principals WHERE id = :id FOR NO KEY UPDATE"), {"id": principal_id}
    )
    return found.scalar_one_or_none() is not None


async def exposure(session: AsyncSession, principal_id: str, *, window_seconds: int) -> Exposure:
    """Live quotes, and the euro cents of quotes made within the window that are live or used."""
    row = (
        await session.execute(
            text(
                "SELECT count(*) FILTER (WHERE live) AS live,"
                " min(expires_at) FILTER (WHERE live) AS first_expiry,"
                " coalesce(sum(eur_minor), 0) AS notional FROM ("
                "  SELECT expires_at, eur_minor, used_at IS NULL AS live FROM quotes"
                "   WHERE principal_id = :principal"
                "     AND created_at > bifold_now() - :window * interval '1 second'"
                "     AND (used_at IS NOT NULL OR expires_at > bifold_now())) q"
            ),
            {"principal": principal_id, "window": window_seconds},
        )
    ).one()
    return Exposure(int(row.live), row.first_expiry, int(row.notional))


async def insert(
    session: AsyncSession, values: Mapping[str, Any], *, life_seconds: int
) -> RowMapping:
    """Write a quote; its times come from the database."""
    row = await session.execute(
        text(
            f"INSERT INTO quotes ({', '.join(values)}, expires_at)"
            f" VALUES ({', '.join(':' + name for name in values)},"
            " bifold_now() + :life * interval '1 second') RETURNING *"
        ),
        {**values, "life": life_seconds},
    )
    return row.mappings().one()


async def find(
    session: AsyncSession, *, principal_id: str, quote_id: str, lock: bool = False
) -> RowMapping | None:
    """One quote of this principal, with `now`; locked until the commit when asked."""
    row = await session.execute(
        text(
            "SELECT q.*, bifold_now() AS now FROM quotes q"
            " WHERE q.id = :id AND q.principal_id = :principal"
            + (" FOR NO KEY UPDATE" if lock else "")
        ),
        {"id": quote_id, "principal": principal_id},
    )
    return row.mappings().one_or_none()


async def mark_used(session: AsyncSession, *, quote_id: str, used_by: str) -> bool:
    """Spend the quote, whose row is locked by the caller. False: its time is over by now.

    The moment that is written down is the one that is judged: the lock may have been waited for.
    One that was made after it is of before the clock was set back, and over.
    """
    spent = await session.scalar(
        text(
            "UPDATE quotes q SET used_at = n.moment, used_by = :by"
            " FROM (SELECT bifold_now() AS moment OFFSET 0) n"
            " WHERE q.id = :id AND q.expires_at > n.moment AND q.created_at <="
            " n.moment + :ahead * interval '1 second' RETURNING 1"
        ),
        {"id": quote_id, "by": used_by, "ahead": rates.AHEAD_SECONDS},
    )
    return spent is not None


async def expire(session: AsyncSession, *, principal_id: str, quote_id: str) -> None:
    """End an unused quote now."""
    await session.execute(
        text(
            "UPDATE quotes SET expires_at = bifold_now() WHERE id = :id"
            " AND principal_id = :principal AND used_at IS NULL AND expires_at > bifold_now()"
        ),
        {"id": quote_id, "principal": principal_id},
    )
