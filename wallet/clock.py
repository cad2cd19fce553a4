"""Time as the books know it: the database's clock plus the sandbox's forward-only offset.

Sessions, rate limits and signatures use the real clock (`datetime.now(UTC)`), never this one.
Waits within a process (`steady`) follow neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

MAX_OFFSET_SECONDS = 100 * 366 * 86_400  # far beyond any test; beyond year 9999 nothing would run
FARTHEST_LOOK_SECONDS = 60

_steady: Callable[[], float] = time.monotonic


def steady() -> float:
    """Seconds that only ever go on, counted from nowhere: how long ago a worker did something."""
    return _steady()


def install(source: Callable[[], float] | None) -> None:
    """Tests only: `steady` says what this says, so that a schedule replays byte for byte on a slow
    machine, too; None takes it away again."""
    global _steady
    _steady = source or time.monotonic


async def now(session: AsyncSession) -> datetime:
    """`bifold_now()`: business time, aware, UTC."""
    return (await session.execute(text("SELECT bifold_now()"))).scalar_one()  # type: ignore[no-any-return]


def due(column: str) -> str:
    """SQL: whether the next look, which is never put off for long, is to be taken now. One that is
    farther off was promised before the database's clock was set back."""
    late = f"bifold_now() + interval '{FARTHEST_LOOK_SECONDS} seconds'"
    return f"({column} <= bifold_now() OR {column} > {late})"


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with a trailing Z, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def advance(session: AsyncSession, *, seconds: int) -> int:
    """Sandbox: move business time forward, a century at most; returns the whole offset."""
    moved = await session.execute(
        text(
            "UPDATE sandbox_clock SET offset_seconds = least(offset_seconds + :seconds,"
            " greatest(offset_seconds, :most)) RETURNING offset_seconds"
        ),
        {"seconds": seconds, "most": MAX_OFFSET_SECONDS},
    )
    return int(moved.scalar_one())
