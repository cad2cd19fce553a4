"""Loops of a worker: each runs in one process at a time, under a session-level advisory lock.

The lock lives on a connection of its own: when the process dies, PostgreSQL frees it, and the next
worker leads. A tick that raises is logged and tried again with back-off; it never ends the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import structlog

RETRY_LEAD_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 10.0
STILL_LEADING_SECONDS = 0.5
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Loop:
    """`tick` every `interval_seconds`. `leader=False` runs in every worker."""

    name: str
    tick: Callable[[], Awaitable[Any]]
    interval_seconds: float
    leader: bool = True
    failures: int = field(default=0, init=False)
    last_ok: float = field(default=0.0, init=False)


async def run_loops(dsn: str, loops: list[Loop]) -> None:
    """Run every loop until cancelled."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(_run(dsn, loop), name=f"loop:{loop.name}")


async def _run(dsn: str, loop: Loop) -> None:
    if not loop.leader:
        await _beat(loop, still_leading=None)
        return
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                dsn, autocommit=True, application_name=f"bifold-lead-{loop.name}"[:63]
            ) as connection:
                await _lead(connection, loop)
        except psycopg.Error as error:
            log.warning("loop.lost_database", loop=loop.name, error=type(error).__name__)
        await asyncio.sleep(RETRY_LEAD_SECONDS)


async def _lead(connection: psycopg.AsyncConnection[Any], loop: Loop) -> None:
    key = int.from_bytes(hashlib.sha256(loop.name.encode()).digest()[:8], "big", signed=True)
    while True:
        row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", (key,))).fetchone()
        if row is not None and row[0]:
            await _beat(loop, still_leading=connection)
            return
        await asyncio.sleep(RETRY_LEAD_SECONDS)


async def _beat(loop: Loop, *, still_leading: psycopg.AsyncConnection[Any] | None) -> None:
    asked = 0.0
    while True:
        started = time.monotonic()
        if still_leading is not None and started - asked > STILL_LEADING_SECONDS:
            await still_leading.execute("SELECT 1")  # raises once the lock's connection is gone
            asked = started
        try:
            await loop.tick()
            loop.failures = 0
            loop.last_ok = time.monotonic()
        except Exception as error:  # noqa: BLE001 - the loop's edge: told, counted, tried again
            loop.failures += 1
            log.warning(
                "loop.tick_failed",
                loop=loop.name,
                failures=loop.failures,
                error=type(error).__name__,
                detail=str(error)[:300],
            )
        pause = loop.interval_seconds - (time.monotonic() - started)
        if loop.failures:
            pause = min(BACKOFF_MAX_SECONDS, 0.25 * 2 ** min(loop.failures, 6))
        await asyncio.sleep(max(0.0, pause))
