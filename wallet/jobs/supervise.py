"""Loops of a worker: each runs in one process at a time, under a session-level advisory lock.

All locks of a process live on one connection of its own: when the process dies, PostgreSQL frees
them, and the next worker leads. The same connection looks, for all loops at once, where there is
anything to do: a loop that says so in `due` costs nothing while nothing waits. A tick that raises
is logged and tried again with back-off; it never ends the loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg.rows import tuple_row

RETRY_LEAD_SECONDS = 1.0
RETRY_FIRST_SECONDS = 0.1  # after a lost connection; doubled up to RETRY_LEAD_SECONDS
BACKOFF_MAX_SECONDS = 10.0
LOOK_SECONDS = 0.15
STILL_LEADING_SECONDS = 0.5  # without a look for so long nothing new is begun
ANYWAY_SECONDS = 30.0  # a loop ticks this often though nothing seems due
LOOK_TIMEOUT_MS = 5_000
# One plan for every look: the conditions are chosen by a parameter, and planning costs the most.
OPTIONS = f"-c statement_timeout={LOOK_TIMEOUT_MS} -c plan_cache_mode=force_generic_plan"
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Loop:
    """`tick` every `interval_seconds`. `leader=False` runs in every worker.

    `due`: an SQL condition, asked each `interval_seconds`; while it is false the loop ticks every
    ANYWAY_SECONDS only. `about`: values of its `%s`. A tick that returns something true did part of
    the work and comes again after `interval_seconds` without being asked.
    """

    name: str
    tick: Callable[[], Awaitable[Any]]
    interval_seconds: float
    leader: bool = True
    due: str | None = None
    about: tuple[str, ...] = ()
    failures: int = field(default=0, init=False)
    last_ok: float = field(default=0.0, init=False)

    @property
    def key(self) -> int:
        """Of its advisory lock."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    async def beat(self) -> tuple[Any, float]:
        """One tick that never raises; its answer, and the pause before the next in seconds."""
        started = time.monotonic()
        answer = None
        try:
            answer = await self.tick()
            self.failures = 0
            self.last_ok = time.monotonic()
        except Exception as error:  # noqa: BLE001 - the loop's edge: told, counted, tried again
            _end_if_asked()
            self.failures += 1
            log.warning(
                "loop.tick_failed",
                loop=self.name,
                failures=self.failures,
                error=type(error).__name__,
                detail=str(error)[:300],
                where=_where(error),
            )
        _end_if_asked()
        if self.failures:
            return None, min(BACKOFF_MAX_SECONDS, 0.25 * 2 ** min(self.failures, 6))
        return answer, max(0.0, self.interval_seconds - (time.monotonic() - started))


def _end_if_asked() -> None:
    """A tick may overlook that its task is to end, or make an error of it: it would wait for its
    next turn for ever, and the worker for it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _where(error: BaseException) -> str:
    """File and line of the last step, which alone tells one AssertionError from another."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{'/'.join(Path(last.filename).parts[-3:])}:{last.lineno}"


async def run_loops(dsn: str, loops: list[Loop]) -> None:
    """Run every loop until cancelled."""
    led = [_Led(loop) for loop in loops if loop.leader]
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            if not loop.leader:
                group.create_task(_alone(loop), name=f"loop:{loop.name}")
        if led:
            lead = _Lead(dsn, led)
            for one in led:
                group.create_task(one.run(lead), name=f"loop:{one.loop.name}")
            group.create_task(lead.keep(), name="lead")


async def _alone(loop: Loop) -> None:
    while True:
        _, pause = await loop.beat()
        await asyncio.sleep(pause)


class _Led:
    """One loop that needs the lead: ticks when it is its turn."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.held = False
        self.turn = asyncio.Event()
        self.idle = True
        self.next_at = self.anyway_at = 0.0

    async def run(self, lead: _Lead) -> None:
        while True:
            await self.turn.wait()
            self.turn.clear()
            if not lead.sure(self):
                continue
            self.idle = False
            answer, pause = await self.loop.beat()
            while answer and self.loop.due is not None:
                await asyncio.sleep(pause)
                if not lead.sure(self):
                    break
                answer, pause = await self.loop.beat()
            now = time.monotonic()
            self.next_at, self.anyway_at, self.idle = now + pause, now + ANYWAY_SECONDS, True

    def begin(self) -> None:
        """The lead is new: nobody knows what waits."""
        self.held, self.next_at, self.anyway_at = True, 0.0, 0.0


class _Lead:
    """The locks of all loops, and one look for all of them, on one connection."""

    def __init__(self, dsn: str, loops: list[_Led]) -> None:
        self._dsn = dsn
        self._loops = loops
        self._asking = [one for one in loops if one.loop.due is not None]
        self._looked_at = 0.0
        columns = [f"CASE WHEN w[{n}] THEN ({one.loop.due}) END"
                   for n, one in enumerate(self._asking, 1)]  # fmt: skip
        # The conditions are the code's own; what varies travels as parameters.
        self._look = f"SELECT {', '.join(columns) or '1'} FROM (SELECT %s::boolean[]) AS t(w)"
        self._about = tuple(value for one in self._asking for value in one.loop.about)

    def sure(self, one: _Led) -> bool:
        """Whether this process leads it, by a look that is not old."""
        return one.held and time.monotonic() - self._looked_at < STILL_LEADING_SECONDS

    async def keep(self) -> None:
        """Hold what can be had and give turns, forever."""
        pause = RETRY_FIRST_SECONDS
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._dsn, autocommit=True, options=OPTIONS, application_name="bifold-lead"
                ) as connection:
                    pause = RETRY_FIRST_SECONDS
                    await self._give_turns(connection)
            except psycopg.Error as error:
                log.warning("loops.lost_database", error=type(error).__name__)
            finally:
                for one in self._loops:
                    one.held = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_LEAD_SECONDS)

    async def _give_turns(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Until the connection fails: its locks are gone then."""
        tried = 0.0
        while True:
            now = time.monotonic()
            if now - tried >= RETRY_LEAD_SECONDS:
                await self._take(connection)
                tried = now
            ready = [
                one
                for one in self._loops
                if one.held and one.idle and one.next_at <= now + LOOK_SECONDS / 2
            ]
            asked = [one for one in ready if one.loop.due is not None and now < one.anyway_at]
            if ready or now - self._looked_at >= STILL_LEADING_SECONDS / 2:
                due = await self._ask(connection, asked)
                self._looked_at = now
                for one in ready:
                    if one not in asked or one in due:
                        one.turn.set()
                    else:
                        one.next_at = now + one.loop.interval_seconds
            await asyncio.sleep(LOOK_SECONDS)

    async def _take(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Lead what nobody leads. A lock that is held is not asked for again: it would count."""
        missing = {one.loop.key: one for one in self._loops if not one.held}
        if not missing:
            return
        cursor = await connection.execute(
            "SELECT k FROM unnest(%s::bigint[]) AS k WHERE pg_try_advisory_lock(k)",
            (list(missing),),
        )
        for (key,) in await cursor.fetchall():
            missing[key].begin()

    async def _ask(self, connection: psycopg.AsyncConnection[Any], asked: list[_Led]) -> list[_Led]:
        """Which of `asked` have anything to do. Fails once the connection is gone."""
        flags = [one in asked for one in self._asking]
        async with connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(self._look.encode(), (*self._about, flags))
            row = await cursor.fetchone()
        assert row is not None
        return [one for one, found in zip(self._asking, row, strict=False) if found]
