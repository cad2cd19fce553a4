"""A worker process for the kill tests: `job_worker.py DSN (hang|work|lead NAME)`."""

from __future__ import annotations

import asyncio
import os
import sys

import psycopg

from wallet.jobs import JobRunner, Loop, run_loops

DSN = sys.argv[1]


async def told(what: str) -> None:
    """Write who did what, committed at once."""
    async with await psycopg.AsyncConnection.connect(DSN, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO process_state (name, healthy, detail) VALUES (%s, true, %s)"
            " ON CONFLICT (name) DO UPDATE SET detail = process_state.detail || ' ' || %s,"
            " at = clock_timestamp()",
            (what, str(os.getpid()), str(os.getpid())),
        )


async def hang(number: int) -> None:
    await told(f"started.{number}")
    await asyncio.sleep(3600)


async def work(number: int) -> None:
    await told(f"done.{number}")


async def main() -> None:
    if sys.argv[2] == "lead":
        name = sys.argv[3]
        await run_loops(DSN, [Loop(name, lambda: told(f"led.{name}"), 0.1)])
        return
    runner = JobRunner(DSN)
    runner.register("test.work", hang if sys.argv[2] == "hang" else work)
    await runner.run()


asyncio.run(main())
