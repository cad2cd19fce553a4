"""Queries about conversions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

_SELECT = (
    "SELECT c.*, q.rate, q.spread_minor, q.fee_minor FROM conversions c"
    " JOIN quotes q ON q.id = c.quote_id WHERE c.principal_id = :principal"
)


async def insert(session: AsyncSession, values: Mapping[str, Any]) -> None:
    """Write a conversion. A second one of the same quote breaks its unique constraint."""
    await session.execute(
        text(
            f"INSERT INTO conversions ({', '.join(values)})"
            f" VALUES ({', '.join(':' + name for name in values)})"
        ),
        dict(values),
    )


async def find(
    session: AsyncSession, *, principal_id: str, conversion_id: str
) -> RowMapping | None:
    """One conversion of this principal."""
    row = await session.execute(
        text(_SELECT + " AND c.id = :id"), {"principal": principal_id, "id": conversion_id}
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
            _SELECT + " AND (CAST(:at AS timestamptz) IS NULL OR (c.created_at, c.id) < (:at, :id))"
            " ORDER BY c.created_at DESC, c.id DESC LIMIT :limit"
        ),
        {
            "principal": principal_id,
            "limit": limit + 1,
            "at": cursor[0] if cursor else None,
            "id": cursor[1] if cursor else None,
        },
    )
    return rows.mappings().all()
