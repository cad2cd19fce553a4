"""Clock, ids, rate limits, faults, crash points and the edge of the database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from wallet import clock, crashpoints, faults, throttle
from wallet.db import RETRY_LIMIT, Database, Session
from wallet.errors import Busy, DatabaseUnavailable, InvalidField, RateLimited
from wallet.ids import is_id, new_id
from wallet.testing.databases import ScratchDatabase


class TestClock:
    async def test_moves_forward_by_the_offset(self, db: Database) -> None:
        async with db.transaction() as session:
            before = await clock.now(session)
            await session.execute(text("UPDATE sandbox_clock SET offset_seconds = 3600"))
            moved = await clock.now(session) - before
        assert timedelta(seconds=3600) <= moved < timedelta(seconds=3700)

    async def test_never_moves_back(self, db: Database) -> None:
        async with db.transaction() as session:
            await session.execute(text("UPDATE sandbox_clock SET offset_seconds = 60"))
        with pytest.raises(DBAPIError, match="only moves forward"):
            async with db.transaction() as session:
                await session.execute(text("UPDATE sandbox_clock SET offset_seconds = 59"))

    def test_times_are_told_in_utc_to_the_millisecond(self) -> None:
        east = timezone(timedelta(hours=8))
        moment = datetime(2026, 1, 1, 7, 30, 0, 123_999, tzinfo=east)
        assert clock.rfc3339(moment) == "2025-12-31T23:30:00.123Z"
        assert clock.rfc3339(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


class TestIds:
    def test_are_a_prefix_and_a_ulid(self) -> None:
        made = new_id("wdr")
        assert is_id(made, "wdr")
        assert len(made) == 30
        assert not is_id(made, "dep")
        for wrong in (made.lower(), made + "0", made[:-1], made[:-1] + "U", made + "\n", ""):
            assert not is_id(wrong, "wdr")

    def test_sort_by_the_time_they_were_made(self) -> None:
        async def some() -> list[str]:
            made = []
            for _ in range(5):
                made.append(new_id("ent"))
                await asyncio.sleep(0.003)
            return made

        made = asyncio.run(some())
        assert made == sorted(made)
        assert len({new_id("ent") for _ in range(10_000)}) == 10_000


class TestThrottle:
    async def hit(self, db: Database, bucket: str, *, limit: int, window: int) -> int:
        async with db.transaction() as session:
            return await throttle.hit(session, bucket, limit=limit, window_seconds=window)

    async def test_refuses_above_the_limit_and_says_when_to_return(self, db: Database) -> None:
        assert [await self.hit(db, "a", limit=3, window=3600) for _ in range(3)] == [1, 2, 3]
        with pytest.raises(RateLimited) as refused:
            await self.hit(db, "a", limit=3, window=3600)
        assert 1 <= refused.value.extra["retry_after"] <= 3600
        assert await self.hit(db, "b", limit=3, window=3600) == 1

    async def test_rivals_are_counted_each(self, db: Database) -> None:
        results = await asyncio.gather(
            *(self.hit(db, "a", limit=5, window=3600) for _ in range(12)), return_exceptions=True
        )
        assert sorted(r for r in results if isinstance(r, int)) == [1, 2, 3, 4, 5]
        assert sum(isinstance(r, RateLimited) for r in results) == 7

    async def test_the_next_window_starts_anew(self, db: Database) -> None:
        async def full() -> bool:
            try:
                await self.hit(db, "a", limit=1, window=2)
            except RateLimited as refusal:
                assert refusal.extra["retry_after"] in (1, 2)
                return True
            return False

        await full()
        started = asyncio.get_running_loop().time()
        while await full():
            assert asyncio.get_running_loop().time() - started < 4
            await asyncio.sleep(0.05)
        async with db.transaction() as session:
            rows = await session.execute(
                text("SELECT extract(epoch FROM window_start)::int % 2 FROM rate_counters")
            )
            assert set(rows.scalars()) == {0}

    async def test_old_windows_are_forgotten_at_the_edge(self, db: Database) -> None:
        async with db.transaction() as session:
            for bucket, age in (("old", 86_401), ("kept", 86_300)):
                await session.execute(
                    text(
                        "INSERT INTO rate_counters (bucket, window_start, hits)"
                        " VALUES (:b, clock_timestamp() - :age * interval '1 second', 1)"
                    ),
                    {"b": bucket, "age": age},
                )
            await throttle.forget_old(session)
            rows = await session.execute(text("SELECT bucket FROM rate_counters"))
            assert rows.scalars().all() == ["kept"]


class TestFaults:
    async def test_are_off_until_switched_on(self, db: Database) -> None:
        async with db.transaction() as session:
            assert await faults.all_faults(session) == dict.fromkeys(faults.NAMES, False)
            await faults.switch(session, "payout_silent", on=True)
            assert await faults.enabled(session, "payout_silent")
            await faults.switch(session, "payout_silent", on=False)
            assert not await faults.enabled(session, "payout_silent")

    async def test_an_unknown_name_is_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            with pytest.raises(InvalidField):
                await faults.switch(session, "meteor", on=True)


class TestEdge:
    async def count(self, db: Database) -> int:
        async with db.transaction() as session:
            found = await session.scalar(text("SELECT count(*) FROM principals WHERE kind='user'"))
            return int(found or 0)

    async def test_commits_at_the_end_and_rolls_back_on_any_error(self, db: Database) -> None:
        insert = text("INSERT INTO principals (id, kind) VALUES ('usr_1', 'user')")
        with pytest.raises(KeyError):
            async with db.transaction() as session:
                await session.execute(insert)
                raise KeyError
        assert await self.count(db) == 0
        async with db.transaction() as session:
            await session.execute(insert)
        assert await self.count(db) == 1

    async def test_a_snapshot_sees_one_moment_and_writes_nothing(self, db: Database) -> None:
        insert = text("INSERT INTO principals (id, kind) VALUES ('usr_1', 'user')")
        async with db.snapshot() as frozen:
            query = text("SELECT count(*) FROM principals WHERE kind = 'user'")
            assert await frozen.scalar(query) == 0
            async with db.transaction() as session:
                await session.execute(insert)
            assert await frozen.scalar(query) == 0
            with pytest.raises(DBAPIError, match="read-only"):
                await frozen.execute(text("DELETE FROM principals"))

    async def test_a_deadlock_is_tried_again_and_then_busy(self, db: Database) -> None:
        tries = 0

        async def fail(session: Session) -> None:
            nonlocal tries
            tries += 1
            await session.execute(
                text("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$")
            )

        with pytest.raises(Busy) as busy:
            await db.run(fail)
        assert tries == RETRY_LIMIT
        assert busy.value.retryable

    async def test_a_server_that_is_away_is_told_as_such(self, database: ScratchDatabase) -> None:
        nowhere = Database("postgresql+psycopg://bifold_app@127.0.0.1:1/bifold")
        with pytest.raises(DatabaseUnavailable):
            async with nowhere.transaction() as session:
                await session.execute(text("SELECT 1"))
        await nowhere.dispose()

    async def test_a_connection_that_was_cut_is_told_and_then_replaced(self, db: Database) -> None:
        with pytest.raises(DatabaseUnavailable):
            async with db.transaction() as session:
                await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert await self.count(db) == 0

    async def test_the_drivers_own_transaction_tells_it_too(self, db: Database) -> None:
        """What signs callers in: it was a 500 while the database restarted."""
        with pytest.raises(DatabaseUnavailable):
            async with db.driver_transaction() as driver:
                await driver.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        async with db.driver_transaction() as driver:
            assert await (await driver.execute("SELECT 1")).fetchone() == (1,)


def test_crash_points_call_back_only_while_installed() -> None:
    passed: list[str] = []
    crashpoints.hit("before")
    crashpoints.install(passed.append)
    crashpoints.hit("during")
    crashpoints.install(None)
    crashpoints.hit("after")
    assert passed == ["during"]
