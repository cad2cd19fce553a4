"""Rate limits: fixed windows in one unlogged table, shared by every process. Real clock."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import RateLimited

KEEP_SECONDS = 86_400


async def hit(session: AsyncSession, bucket: str, *, limit: int, window_seconds: int) -> int:
    """Count one hit; returns hits in this window. Raises RateLimited above `limit`."""
    row = (
        await session.execute(
            text(
                "INSERT INTO rate_counters AS c (bucket, window_start, hits) VALUES (:bucket,"
                " to_timestamp(floor(extract(epoch FROM clock_timestamp()) / :window) * :window),"
                " 1)"
                " ON CONFLICT (bucket, window_start) DO UPDATE SET hits = c.hits + 1"
                " RETURNING hits, ceil(extract(epoch FROM window_start) + :window"
                " - extract(epoch FROM clock_timestamp()))::int AS left_seconds"
            ),
            {"bucket": bucket, "window": window_seconds},
        )
    ).one()
    if row.hits > limit:
        seconds = max(1, int(row.left_seconds))
        raise RateLimited(
            f"Too many tries; come back in {seconds} s.", extra={"retry_after": seconds}
        )
    return int(row.hits)


async def give_back(session: AsyncSession, bucket: str, *, window_seconds: int) -> None:
    """Take one hit back from the running window: what it counted turned out to be welcome."""
    await session.execute(
        text(
            "UPDATE rate_counters SET hits = hits - 1 WHERE bucket = :bucket AND hits > 0"
            " AND window_start ="
            " to_timestamp(floor(extract(epoch FROM clock_timestamp()) / :window) * :window)"
        ),
        {"bucket": bucket, "window": window_seconds},
    )


async def forget_old(session: AsyncSession) -> None:
    """Drop windows that can no longer matter."""
    await session.execute(
        text(
            "DELETE FROM rate_counters"
            " WHERE window_start < clock_timestamp() - :keep * interval '1 second'"
        ),
        {"keep": KEEP_SECONDS},
    )
