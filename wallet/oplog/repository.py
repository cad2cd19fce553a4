"""What the log says, newest first, each line beside what stood there before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

NEWEST = (
    "SELECT o.seq, o.at, o.role, o.actor, o.action, o.object, o.object_id, o.fields,"
    " (SELECT b.fields FROM operator_log b WHERE b.object = o.object AND b.object_id = o.object_id"
    "   AND b.seq < o.seq AND b.action <> 'delete' ORDER BY b.seq DESC LIMIT 1) AS before"
    " FROM operator_log o WHERE o.action <> 'baseline'"
    " AND (CAST(:about AS text) IS NULL OR o.object = :about OR o.object_id = :about"
    "  OR o.actor = :about) ORDER BY o.seq DESC LIMIT :limit"
)


@dataclass(frozen=True, slots=True)
class Line:
    """`changed`: column → what it was and what it became; None where there is no such row."""

    seq: int
    at: datetime
    role: str
    actor: str | None
    action: str
    object: str
    object_id: str
    changed: dict[str, tuple[Any, Any]]


async def newest(session: AsyncSession, *, limit: int, about: str | None = None) -> list[Line]:
    """The newest lines, all or those of one kind of row, one row, or one person."""
    rows = await session.execute(text(NEWEST), {"limit": limit, "about": about})
    return [
        Line(
            row.seq, row.at, row.role, row.actor, row.action, row.object, row.object_id,
            _changed(row.action, row.before or {}, row.fields),
        )
        for row in rows
    ]  # fmt: skip


def _changed(
    action: str, before: dict[str, Any], fields: dict[str, Any]
) -> dict[str, tuple[Any, Any]]:
    if action == "delete":
        return {name: (value, None) for name, value in fields.items() if value is not None}
    if action == "insert":
        return {name: (None, value) for name, value in fields.items() if value is not None}
    return {
        name: (before.get(name), value)
        for name, value in fields.items()
        if before.get(name) != value
    }
