"""How a payment's row changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


async def update_send(
    session: AsyncSession,
    key: str,
    changes: Mapping[str, Any],
    *,
    by: str = "id",
    was: str | None = None,
) -> None:
    """Columns are named by our own code. What has ended, or is no more as it `was`, stays."""
    sets = ", ".join(f"{name} = :{name}" for name in changes)
    await session.execute(
        text(
            f"UPDATE selfcustody_sends SET {sets}, updated_at = clock_timestamp()"
            f" WHERE {by} = :key AND state NOT IN ('settled', 'failed')"
            " AND state = coalesce(CAST(:was AS text), state)"
        ),
        {**changes, "key": key, "was": was},
    )
