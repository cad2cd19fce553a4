"""Reading holds: one, a page of them, and their captures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import NotFound
from wallet.holds.models import Hold, HoldCapture
from wallet.identity.lookup import Person
from wallet.ledger import Hot
from wallet.money import AssetBook

SELECT = (
    "SELECT p.id, p.payer_id, a.handle, a.display_name, p.payee_id, b.handle, b.display_name,"
    " h.asset, h.amount_minor, h.captured_minor, h.released_minor, p.note, h.expires_at,"
    " p.created_at, CASE WHEN p.ended IS NOT NULL THEN p.ended WHEN h.status = 'closed' THEN"
    " 'captured' WHEN h.expires_at <= bifold_now() THEN 'expired' ELSE 'open' END"
    " FROM payment_holds p JOIN holds h ON h.id = p.id"
    " JOIN users a ON a.id = p.payer_id JOIN users b ON b.id = p.payee_id"
)


def hold_of(row: Sequence[Any], assets: AssetBook) -> Hold:
    """From a row of `SELECT`."""
    asset = row[7]
    return Hold(
        id=row[0],
        status=row[14],
        payer=Person(row[1], row[2], row[3]),
        payee=Person(row[4], row[5], row[6]),
        money=assets.money(asset, int(row[8])),
        captured=assets.money(asset, int(row[9])),
        released=assets.money(asset, int(row[10])),
        note=row[11],
        expires_at=row[12],
        created_at=row[13],
    )


async def ask_by_ids(hot: Hot, ids: Sequence[str]) -> psycopg.AsyncCursor[Any]:
    """Ask for all of these that exist: `by_ids` of the cursor's rows."""
    return await hot.execute(SELECT + " WHERE p.id = ANY(%s)", (list(ids),))


async def by_ids(looked: psycopg.AsyncCursor[Any], assets: AssetBook) -> dict[str, Hold]:
    """What `ask_by_ids` found."""
    return {row[0]: hold_of(row, assets) async for row in looked}


async def get(session: AsyncSession, *, principal_id: str, hold_id: str, assets: AssetBook) -> Hold:
    """One hold that this principal has a side of. Raises NotFound."""
    row = (
        await session.execute(
            text(SELECT + " WHERE p.id = :id AND :principal IN (p.payer_id, p.payee_id)"),
            {"id": hold_id, "principal": principal_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such hold.")
    return hold_of(row, assets)


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
    assets: AssetBook,
) -> list[Hold]:
    """Made by or for the principal, newest first; `limit + 1` rows at most."""
    rows = await session.execute(
        text(
            SELECT + " WHERE (p.payer_id = :principal OR p.payee_id = :principal)"
            " AND (CAST(:at AS timestamptz) IS NULL OR (p.created_at, p.id) < (:at, :id))"
            " ORDER BY p.created_at DESC, p.id DESC LIMIT :limit"
        ),
        {
            "principal": principal_id,
            "limit": limit + 1,
            "at": cursor[0] if cursor else None,
            "id": cursor[1] if cursor else None,
        },
    )
    return [hold_of(row, assets) for row in rows]


async def captures(session: AsyncSession, *, hold_id: str, assets: AssetBook) -> list[HoldCapture]:
    """Every capture, oldest first."""
    rows = await session.execute(
        text(
            "SELECT c.entry_id, h.asset, c.amount_minor, e.event_at FROM hold_captures c"
            " JOIN holds h ON h.id = c.hold_id JOIN entries e ON e.id = c.entry_id"
            " WHERE c.hold_id = :id ORDER BY e.event_at, e.id"
        ),
        {"id": hold_id},
    )
    return [
        HoldCapture(row.entry_id, assets.money(row.asset, int(row.amount_minor)), row.event_at)
        for row in rows
    ]
