"""`bifold worker`: the jobs and loops of one process; any number run against one database."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time

import structlog
from sqlalchemy import text

from wallet import identity, ledger, log, throttle
from wallet.bootstrap import Services, build
from wallet.errors import DatabaseUnavailable
from wallet.jobs import JobRunner, Loop, run_loops
from wallet.processes import collect_seldom, leave_no_core
from wallet.settings import Settings
from wallet.wiring import wire

FOLD_ROWS = 5_000
FOLD_SECONDS = 1.0
HEARTBEAT_SECONDS = 2.0
FAULTS_SECONDS = 0.5
FORGET_SECONDS = 300.0
STOP_SECONDS = 8.0
LEARN_SECONDS = 1.0
PATIENCE_SECONDS = 30.0  # with a database that is away as the worker starts

logger = structlog.get_logger(__name__)


async def main(settings: Settings) -> int:
    """Work until SIGINT or SIGTERM. Returns the exit code."""
    leave_no_core()
    log.configure(settings.log_level)
    services = build(settings, role="worker")
    collect_seldom()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    working = asyncio.create_task(run(services), name="worker")
    waiting = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    failed = working.done() and working.exception() is not None
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError, TimeoutError, Exception):
        await asyncio.wait_for(working, STOP_SECONDS)
    if failed:
        logger.error("worker.failed", error=repr(working.exception())[:500])
    await services.aclose()
    return 1 if failed else 0


async def run(services: Services, *, runner: JobRunner | None = None) -> None:
    """Jobs and loops of this process, until cancelled."""
    await _learn(services)
    jobs = runner or JobRunner(services.db.dsn)
    loops = wire(services, jobs) + _house_keeping(services)
    async with asyncio.TaskGroup() as group:
        group.create_task(jobs.run(), name="jobs")
        group.create_task(run_loops(services.db.dsn, loops), name="loops")


async def _learn(services: Services) -> None:
    """Database and worker may be started together. Raises RefusedToStart, DatabaseUnavailable."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await services.learn_assets()
        except DatabaseUnavailable:
            if time.monotonic() > give_up:
                raise
            logger.warning("worker.waits_for_database")
        await asyncio.sleep(LEARN_SECONDS)


def _house_keeping(services: Services) -> list[Loop]:
    """Loops that serve every room."""
    keeper = _Keeper(services)
    loops = [
        Loop("ledger.fold", keeper.fold, FOLD_SECONDS, due=ledger.FOLD_DUE),
        Loop("forget", keeper.forget, FORGET_SECONDS),
        Loop("worker.heartbeat", keeper.heartbeat, HEARTBEAT_SECONDS, leader=False),
    ]
    if services.settings.sandbox:
        loops.append(Loop("faults", services.refresh_faults, FAULTS_SECONDS, leader=False))
    return loops


class _Keeper:
    """Small chores on the database."""

    def __init__(self, services: Services) -> None:
        self._db = services.db
        self._name = f"worker:{socket.gethostname()}:{os.getpid()}"

    async def fold(self) -> None:
        async with self._db.transaction() as session:
            await ledger.fold(session, max_rows=FOLD_ROWS)

    async def forget(self) -> None:
        async with self._db.transaction() as session:
            await throttle.forget_old(session)
            await identity.forget_ended(session)

    async def heartbeat(self) -> None:
        """Say that this worker lives, and forget those silent for long."""
        async with self._db.transaction() as session:
            await session.execute(
                text(
                    "INSERT INTO process_state (name, healthy, detail) VALUES (:name, true, '')"
                    " ON CONFLICT (name) DO UPDATE SET healthy = true, at = clock_timestamp()"
                ),
                {"name": self._name},
            )
            await session.execute(
                text(
                    "DELETE FROM process_state WHERE name LIKE 'worker:%'"
                    " AND at < clock_timestamp() - interval '1 minute'"
                )
            )
