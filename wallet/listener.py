"""Hears what the relay publishes: one LISTEN connection a process, and the events behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import orjson
import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.outbox import CHANNEL

RECONNECT_SECONDS = 1.0
QUIET_SECONDS = 15.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wake:
    """Something happened to these principals; None means: to anybody."""

    seq: int
    principals: frozenset[str] | None

    def concerns(self, principal_id: str) -> bool:
        """Whether this principal should look."""
        return self.principals is None or principal_id in self.principals


@dataclass(frozen=True, slots=True)
class Published:
    """One event of a principal, in the order of truth."""

    seq: int
    id: str
    type: str
    ref: str


async def listen(dsn: str, *, wanted: Callable[[], bool]) -> AsyncGenerator[Wake, None]:
    """Every wake while `wanted()`, which is asked each QUIET_SECONDS. Reconnects by itself.

    The first wake of a connection concerns everybody: nobody knows what was missed before it.
    """
    while wanted():
        try:
            async with await psycopg.AsyncConnection.connect(
                dsn, autocommit=True, application_name="bifold-listener"
            ) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                yield Wake(0, None)
                while wanted():
                    async for notice in connection.notifies(timeout=QUIET_SECONDS):
                        yield parse(notice.payload)
                return
        except psycopg.Error as error:
            log.warning("listener.lost_database", error=type(error).__name__)
        await asyncio.sleep(RECONNECT_SECONDS)


def parse(payload: str) -> Wake:
    """The relay's payload; one that cannot be read wakes everybody."""
    try:
        told = orjson.loads(payload)
        principals = told["principals"]
        seq = int(told["seq"])
    except (ValueError, KeyError, TypeError):
        return Wake(0, None)
    return Wake(seq, None if principals == "*" else frozenset(principals))


async def last_seq(session: AsyncSession) -> int:
    """The newest published event of all; 0 before the first."""
    return int(await session.scalar(text("SELECT coalesce(max(seq), 0) FROM events")) or 0)


async def events_after(
    session: AsyncSession, *, principal_id: str, after_seq: int, limit: int
) -> list[Published]:
    """What this principal has not heard yet, oldest first."""
    rows = await session.execute(
        text(
            "SELECT seq, id, type, ref FROM events WHERE principal_id = :principal"
            " AND seq > :after ORDER BY seq LIMIT :limit"
        ),
        {"principal": principal_id, "after": after_seq, "limit": limit},
    )
    return [Published(int(row.seq), row.id, row.type, row.ref) for row in rows]
