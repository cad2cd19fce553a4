"""Queries about recipients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession


async def insert(
    session: AsyncSession,
    *,
    recipient_id: str,
    principal_id: str,
    kind: str,
    name: str,
    country: str,
    details: Mapping[str, str],
) -> RowMapping:
    """Write one. Rows are never changed: a payment shows what it was made for."""
    row = await session.execute(
        text(
            "INSERT INTO recipients (id, principal_id, type, name, country, details) VALUES"
            " (:id, :principal, :kind, :name, :country, CAST(:details AS jsonb)) RETURNING *"
        ),
        {
            "id": recipient_id,
            "principal": principal_id,
            "kind": kind,
            "name": name,
            "country": country,
            "details": orjson.dumps(dict(details)).decode(),
        },
    )
    return row.mappings().one()


async def find(session: AsyncSession, *, principal_id: str, recipient_id: str) -> RowMapping | None:
    """One recipient of this principal."""
    row = await session.execute(
        text("SELECT * FROM recipients WHERE id = :id AND principal_id = :principal"),
        {"id": recipient_id, "principal": principal_id},
    )
    return row.mappings().one_or_none()


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
    kind: str | None,
) -> Sequence[RowMapping]:
    """Newest first, one more than asked for."""
    rows = await session.execute(
        text(
            "SELECT * FROM recipients WHERE principal_id = :principal"
            " AND (CAST(:kind AS text) IS NULL OR type = :kind)"
            " AND (CAST(:at AS timestamptz) IS NULL OR (created_at, id) < (:at, :id))"
            " ORDER BY created_at DESC, id DESC LIMIT :limit"
        ),
        {
            "principal": principal_id,
            "kind": kind,
            "limit": limit + 1,
            "at": cursor[0] if cursor else None,
            "id": cursor[1] if cursor else None,
        },
    )
    return rows.mappings().all()
