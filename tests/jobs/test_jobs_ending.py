"""A worker that is told to end does, whatever its loops make of that."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from wallet.jobs import Loop, run_loops
from wallet.testing.databases import ScratchDatabase
from wallet.testing.pace import patience


@pytest.mark.parametrize("leader", [True, False])
@pytest.mark.parametrize("makes", ["an error", "nothing"])
async def test_a_tick_that_overlooks_its_end_holds_no_worker(
    database: ScratchDatabase, leader: bool, makes: str
) -> None:
    begun, ticks = asyncio.Event(), 0

    async def tick() -> None:
        nonlocal ticks
        ticks += 1
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if makes == "an error":
                raise AssertionError from None

    loops = [Loop("deaf", tick, 0.1, leader=leader)]
    worker = asyncio.create_task(run_loops(database.conninfo(), loops))
    await asyncio.wait_for(begun.wait(), patience(10))
    worker.cancel()
    with capture_logs() as logs, suppress(asyncio.CancelledError):
        await asyncio.wait_for(worker, patience(5))
    assert ticks == 1 and worker.cancelled()
    assert [one for one in logs if one["event"] == "loop.tick_failed"] == []


async def test_a_failure_says_where(database: ScratchDatabase) -> None:
    failed = asyncio.Event()

    async def tick() -> None:
        try:
            raise AssertionError
        finally:
            failed.set()

    with capture_logs() as logs:
        worker = asyncio.create_task(
            run_loops(database.conninfo(), [Loop("odd", tick, 0.1, leader=False)])
        )
        await asyncio.wait_for(failed.wait(), patience(10))
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
    [told] = [one for one in logs if one["event"] == "loop.tick_failed"][:1]
    assert told["error"] == "AssertionError"
    assert told["where"].startswith("tests/jobs/test_jobs_ending.py:")
