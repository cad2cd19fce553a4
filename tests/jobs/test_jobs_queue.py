"""Jobs ride the caller's transaction, run again when they fail, and outlive their worker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from wallet.db import Database
from wallet.jobs import JobRunner, Loop, enqueue, run_loops
from wallet.testing.databases import ScratchDatabase
from wallet.testing.pace import patience

PROGRAM = Path(__file__).with_name("job_worker.py")
ROOT = Path(__file__).parents[2]
TAKEOVER_SECONDS = 15.0


async def waiting(db: Database) -> list[tuple[str, str]]:
    """(task, status) of every job there is."""
    async with db.transaction() as session:
        rows = await session.execute(
            text("SELECT task_name, status::text FROM jobs.procrastinate_jobs ORDER BY id")
        )
        return [(row.task_name, row.status) for row in rows]


@asynccontextmanager
async def running(runner: JobRunner) -> AsyncIterator[None]:
    """A worker in this process, for the length of the block."""
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], *, seconds: float = 15.0, what: str = "it") -> float:
    """How long it took until `condition`; fails after `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < patience(seconds), f"waited {seconds} s for {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def start(database: ScratchDatabase) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start worker processes that end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(PROGRAM), database.conninfo(), *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def told(database: ScratchDatabase, what: str) -> list[int]:
    """Process ids that wrote `what`, in order."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        row = connection.execute(
            "SELECT detail FROM process_state WHERE name = %s", (what,)
        ).fetchone()
    return [int(pid) for pid in row[0].split()] if row else []


class TestEnqueue:
    async def test_without_a_commit_there_is_no_job(self, db: Database) -> None:
        class Oops(Exception):
            pass

        with pytest.raises(Oops):
            async with db.transaction() as session:
                await enqueue(session, "test.work", number=1)
                raise Oops
        assert await waiting(db) == []

    async def test_with_the_commit_there_is_one(self, db: Database) -> None:
        async with db.transaction() as session:
            await enqueue(session, "test.work", number=1)
        assert await waiting(db) == [("test.work", "todo")]

    async def test_once_is_one_job_while_it_waits(self, db: Database) -> None:
        for _ in range(3):
            async with db.transaction() as session:
                await enqueue(session, "test.work", once="work:1", number=1)
                await enqueue(session, "test.work", once="work:1", number=1)
        assert len(await waiting(db)) == 1

    async def test_once_among_rivals_leaves_every_transaction_whole(self, db: Database) -> None:
        together = asyncio.Barrier(6)

        async def rival(number: int) -> None:
            async with db.transaction() as session:
                await session.execute(text("SELECT 1"))
                await together.wait()
                await enqueue(session, "test.work", once="work:1", number=number)
                await session.execute(
                    text("INSERT INTO principals (id, kind) VALUES (:id, 'user')"),
                    {"id": f"usr_{number}"},
                )

        await asyncio.gather(*(rival(number) for number in range(6)))
        assert len(await waiting(db)) == 1
        async with db.transaction() as session:
            count = await session.scalar(text("SELECT count(*) FROM principals WHERE kind='user'"))
        assert count == 6

    async def test_once_behind_an_uncommitted_rival_leaves_the_transaction_whole(
        self, db: Database
    ) -> None:
        """The look before finds nothing, the insert waits, and loses when the rival commits."""

        async def late() -> None:
            async with db.transaction() as session:
                await enqueue(session, "test.work", once="work:1", number=2)
                await session.execute(
                    text("INSERT INTO principals (id, kind) VALUES ('usr_late', 'user')")
                )

        async with db.transaction() as session:
            await enqueue(session, "test.work", once="work:1", number=1)
            task = asyncio.create_task(late())
            done, _ = await asyncio.wait([task], timeout=0.3)
            assert not done
        await task
        assert len(await waiting(db)) == 1
        async with db.transaction() as session:
            assert await session.scalar(text("SELECT 1 FROM principals WHERE id = 'usr_late'"))


class TestWorker:
    async def test_a_job_that_fails_runs_again(
        self, db: Database, database: ScratchDatabase
    ) -> None:
        runner = JobRunner(database.conninfo())
        tries: list[int] = []

        async def handler(number: int) -> None:
            tries.append(number)
            if len(tries) < 3:
                raise RuntimeError("not yet")

        runner.register("test.work", handler)
        async with db.transaction() as session:
            await enqueue(session, "test.work", number=7)
        async with running(runner):
            await until(lambda: len(tries) == 3, what="the third try")
        assert tries == [7, 7, 7]
        assert await waiting(db) == []

    async def test_a_delayed_job_waits(self, db: Database, database: ScratchDatabase) -> None:
        runner = JobRunner(database.conninfo())
        at: list[float] = []

        async def handler() -> None:
            at.append(time.monotonic())

        runner.register("test.work", handler)
        started = time.monotonic()
        async with db.transaction() as session:
            await enqueue(session, "test.work", delay_seconds=2)
        async with running(runner):
            await until(lambda: bool(at), what="the delayed job")
        assert at[0] - started > 1.9

    async def test_a_failed_job_whose_name_waits_again_does_not_get_stuck(
        self, db: Database, database: ScratchDatabase
    ) -> None:
        """While `once` work runs, the same work is promised again; then the first try fails."""
        runner = JobRunner(database.conninfo())
        tries: list[int] = []
        again = asyncio.Event()

        async def handler(number: int) -> None:
            tries.append(number)
            if number == 1 and tries.count(1) == 1:
                await again.wait()
                raise RuntimeError("not yet")

        runner.register("test.work", handler)
        async with db.transaction() as session:
            await enqueue(session, "test.work", once="work:1", number=1)
        async with running(runner):
            await until(lambda: tries == [1], what="the first try")
            async with db.transaction() as session:
                await enqueue(session, "test.work", once="work:1", delay_seconds=1, number=2)
            again.set()
            await until(lambda: 2 in tries, what="the second promise")
            for _ in range(200):
                if await waiting(db) == []:
                    break
                await asyncio.sleep(0.1)
            assert await waiting(db) == []

    @pytest.mark.slow
    async def test_jobs_of_a_killed_worker_are_taken_over_in_time(
        self,
        db: Database,
        database: ScratchDatabase,
        start: Callable[..., subprocess.Popen[bytes]],
    ) -> None:
        doomed = start("hang")
        async with db.transaction() as session:
            for number in (1, 2):
                await enqueue(session, "test.work", number=number)
        for number in (1, 2):
            await until(lambda n=number: bool(told(database, f"started.{n}")), seconds=30)
        rescuer = start("work")
        await asyncio.sleep(4)
        assert not told(database, "done.1")
        doomed.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        for number in (1, 2):
            await until(
                lambda n=number: bool(told(database, f"done.{n}")),
                seconds=TAKEOVER_SECONDS,
                what="the takeover",
            )
        assert time.monotonic() - killed < patience(TAKEOVER_SECONDS)
        assert told(database, "done.1") == [rescuer.pid]


@pytest.mark.slow
async def test_one_leader_at_a_time_and_a_second_after_its_death(
    database: ScratchDatabase, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    rivals = [start("lead", "scan") for _ in range(2)]
    await until(lambda: len(told(database, "led.scan")) > 5, seconds=30, what="a leader")
    await asyncio.sleep(2)
    first = set(told(database, "led.scan"))
    assert len(first) == 1
    leader = next(process for process in rivals if process.pid in first)
    other = next(process for process in rivals if process is not leader)
    leader.send_signal(signal.SIGKILL)
    await until(lambda: other.pid in told(database, "led.scan"), seconds=5, what="the second")
    ticks = told(database, "led.scan")
    assert ticks == [leader.pid] * ticks.count(leader.pid) + [other.pid] * ticks.count(other.pid)


class TestDue:
    """Loops that say when anything waits for them."""

    @pytest.fixture
    async def switch(self, db: Database) -> AsyncIterator[Callable[[bool], Awaitable[None]]]:
        """Turns the condition of the loops below on or off."""

        async def switch(on: bool) -> None:
            async with db.transaction() as session:
                await session.execute(
                    text(
                        "INSERT INTO process_state (name, healthy, detail) VALUES ('due', :on, '')"
                        " ON CONFLICT (name) DO UPDATE SET healthy = :on"
                    ),
                    {"on": on},
                )

        await switch(False)
        yield switch

    @staticmethod
    @asynccontextmanager
    async def looping(database: ScratchDatabase, *loops: Loop) -> AsyncIterator[None]:
        task = asyncio.create_task(run_loops(database.conninfo(), list(loops)))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @staticmethod
    def loop(tick: Callable[[], Awaitable[object]], name: str = "due") -> Loop:
        due = "EXISTS (SELECT FROM process_state WHERE name = %s AND healthy)"
        return Loop(name, tick, 0.1, due=due, about=("due",))

    async def test_it_rests_while_nothing_waits_and_comes_when_something_does(
        self, database: ScratchDatabase, switch: Callable[[bool], Awaitable[None]]
    ) -> None:
        ticks: list[float] = []
        others: list[float] = []

        async def tick() -> None:
            ticks.append(time.monotonic())

        async def other() -> None:
            others.append(time.monotonic())

        async with self.looping(database, self.loop(tick), Loop("other", other, 0.1)):
            await until(lambda: len(others) > 10, what="the loop without a condition")
            assert len(ticks) == 1, "the first tick is unasked, for nobody knows what waits"
            await switch(True)
            assert await until(lambda: len(ticks) > 3, what="the loop whose work waits") < patience(
                2.0
            )
            await switch(False)
            await asyncio.sleep(0.6)
            rested, seen = len(ticks), len(others)
            await until(lambda: len(others) > seen + 5, what="the other loop")
            assert len(ticks) == rested

    async def test_work_in_parts_comes_again_without_being_asked(
        self, database: ScratchDatabase, switch: Callable[[bool], Awaitable[None]]
    ) -> None:
        parts: list[int] = []

        async def tick() -> int:
            parts.append(1)
            return 5 - len(parts)

        async with self.looping(database, self.loop(tick)):
            await until(lambda: len(parts) == 5, what="the last part")
            await asyncio.sleep(0.6)
        assert len(parts) == 5

    async def test_without_the_connection_nothing_ticks_and_a_new_one_leads_again(
        self, database: ScratchDatabase, switch: Callable[[bool], Awaitable[None]]
    ) -> None:
        """The locks go with the connection: a rival leads then, and gives the lead back."""
        ticks: list[float] = []

        async def tick() -> None:
            ticks.append(time.monotonic())

        loop = Loop("fallen", tick, 0.1)
        async with self.looping(database, loop):
            await until(lambda: len(ticks) > 2, what="the lead")
            async with await psycopg.AsyncConnection.connect(
                database.conninfo(), autocommit=True
            ) as rival:
                waiting = asyncio.create_task(
                    rival.execute("SELECT pg_advisory_lock(%s)", (loop.key,))
                )
                await asyncio.sleep(0.3)  # it stands in line when the lead falls
                with psycopg.connect(database.conninfo(), autocommit=True) as owner:
                    owner.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'bifold-lead' AND datname = current_database()"
                    )
                await waiting
                before = len(ticks)
                await asyncio.sleep(1.5)
                assert len(ticks) <= before + 1, "it ticks although a rival leads"
                await rival.execute("SELECT pg_advisory_unlock(%s)", (loop.key,))
                held = len(ticks)
                await until(lambda: len(ticks) > held + 2, what="the lead again")
