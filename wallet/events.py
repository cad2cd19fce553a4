"""Reading what was told to a principal, in the order in which it was published.

`seq` is gapless and only grows: an event that commits late is published late, behind what was
read already. Who reads on from the last event known misses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import NotFound

COLUMNS = "SELECT seq, id, type, ref, data, created_at FROM events WHERE principal_id = :principal"
# Two whole queries: a bound that may be absent would cost the index.
NEWEST_FIRST = COLUMNS + " AND seq > :above AND seq < :below ORDER BY seq DESC LIMIT :limit"
OLDEST_FIRST = COLUMNS + " AND seq > :above AND seq < :below ORDER BY seq LIMIT :limit"
BEYOND = 2**63 - 1
# Each noun is read by itself from its index, once, then they are merged: never the whole history.
BY_TYPE = (
    "SELECT e.* FROM unnest(CAST(:nouns AS text[]), CAST(:whole AS boolean[])) AS w(noun, whole)"
    " CROSS JOIN LATERAL (" + COLUMNS + " AND split_part(type, '.', 1) = w.noun"
    " AND (w.whole OR type = ANY(CAST(:types AS text[]))) AND seq > :above AND seq < :below"
    " ORDER BY seq {order} LIMIT :limit) e ORDER BY e.seq {order} LIMIT :limit"
)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a principal: `type` about `ref`, told by `data`."""

    seq: int
    id: str
    type: str
    ref: str
    data: dict[str, Any]
    created_at: datetime


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    oldest_first: bool = False,
    above: int = 0,
    below: int = BEYOND,
    types: Sequence[str] = (),
) -> list[Event]:
    """Events with `above < seq < below`; `limit + 1` rows at most.

    `types`: only these, `noun.verb` or a whole noun as `noun.*`; none given, all.
    """
    query = OLDEST_FIRST if oldest_first else NEWEST_FIRST
    values: dict[str, Any] = {
        "principal": principal_id, "above": above, "below": below, "limit": limit + 1,
    }  # fmt: skip
    if types:
        query = BY_TYPE.format(order="ASC" if oldest_first else "DESC")
        nouns = sorted({name.partition(".")[0] for name in types})
        values["nouns"] = nouns
        values["whole"] = [f"{noun}.*" in types for noun in nouns]
        values["types"] = list(types)
    rows = await session.execute(text(query), values)
    return [_event(row) for row in rows]


async def get(session: AsyncSession, *, principal_id: str, event_id: str) -> Event:
    """One event of this principal. Raises NotFound, also for somebody else's."""
    row = (
        await session.execute(
            text(COLUMNS + " AND id = :id"), {"principal": principal_id, "id": event_id}
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such event.")
    return _event(row)


def _event(row: Any) -> Event:
    return Event(int(row.seq), row.id, row.type, row.ref, row.data, row.created_at)
