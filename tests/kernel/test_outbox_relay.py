"""The relay: every promise once, one gapless order, one wake-up a tick."""

from __future__ import annotations

import asyncio
import json
import random

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from wallet import outbox
from wallet.db import Database
from wallet.outbox import Notice, Relay
from wallet.testing.books import new_principal
from wallet.testing.databases import ScratchDatabase


async def events(db: Database) -> list[tuple[int, str]]:
    async with db.transaction() as session:
        rows = await session.execute(text("SELECT seq, ref FROM events ORDER BY seq"))
        return [(row.seq, row.ref) for row in rows]


async def promise(db: Database, *refs: str, pause: float = 0.0) -> None:
    async with db.transaction() as session:
        for ref in refs:
            await outbox.put(session, Notice(None, "test.done", ref))
        await asyncio.sleep(pause)


async def test_publishes_in_the_order_of_the_promises(db: Database) -> None:
    await promise(db, "a", "b")
    await promise(db, "c")
    assert await Relay(db).tick() == 3
    assert await Relay(db).tick() == 0
    assert await events(db) == [(1, "a"), (2, "b"), (3, "c")]


async def test_without_a_commit_nothing_is_told(db: Database) -> None:
    with pytest.raises(KeyError):
        async with db.transaction() as session:
            await outbox.put(session, Notice(None, "test.done", "a"))
            raise KeyError
    assert await Relay(db).tick() == 0


async def test_a_promise_that_commits_late_is_not_missed(db: Database) -> None:
    late = asyncio.create_task(promise(db, "late", pause=0.6))
    await asyncio.sleep(0.2)
    await promise(db, "early")
    relay = Relay(db)
    assert await relay.tick() == 1
    await late
    assert await relay.tick() == 1
    assert await events(db) == [(1, "early"), (2, "late")]


async def test_nothing_is_missed_or_doubled_under_many_writers(db: Database) -> None:
    chance = random.Random(7)
    refs = [f"r{number}" for number in range(400)]
    pauses = [chance.choice((0.0, 0.0, 0.02, 0.1)) for _ in refs]
    limit = asyncio.Semaphore(6)

    async def write(ref: str, pause: float) -> None:
        async with limit:
            await promise(db, ref, pause=pause)

    async def relay(stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await Relay(db).tick()
            except IntegrityError:
                overlaps.append(1)  # two leaders for a moment: one of them gave way
            await asyncio.sleep(0.01)

    overlaps: list[int] = []
    stop = asyncio.Event()
    relays = [asyncio.create_task(relay(stop)) for _ in range(2)]
    await asyncio.gather(*(write(ref, pause) for ref, pause in zip(refs, pauses, strict=True)))
    stop.set()
    await asyncio.gather(*relays)
    while await Relay(db).tick():
        continue
    published = await events(db)
    assert [seq for seq, _ in published] == list(range(1, len(refs) + 1))
    assert sorted(ref for _, ref in published) == sorted(refs)


async def test_wakes_listeners_once_a_tick(db: Database, database: ScratchDatabase) -> None:
    async with db.transaction() as session:
        people = [await new_principal(session) for _ in range(3)]
        for person in people:
            for _ in range(5):
                await outbox.put(session, Notice(person, "test.done", "x"))
    with psycopg.connect(database.conninfo(), autocommit=True) as listener:
        listener.execute(f"LISTEN {outbox.CHANNEL}")
        await Relay(db).tick()
        told = [json.loads(note.payload) for note in listener.notifies(timeout=0.5)]
    assert told == [{"seq": 15, "principals": sorted(people)}]


async def test_many_principals_are_told_as_a_star(db: Database, database: ScratchDatabase) -> None:
    async with db.transaction() as session:
        for _ in range(outbox.NOTIFY_PRINCIPALS + 1):
            await outbox.put(session, Notice(await new_principal(session), "test.done", "x"))
    with psycopg.connect(database.conninfo(), autocommit=True) as listener:
        listener.execute(f"LISTEN {outbox.CHANNEL}")
        await Relay(db).tick()
        told = [json.loads(note.payload) for note in listener.notifies(timeout=0.5)]
    assert told == [{"seq": outbox.NOTIFY_PRINCIPALS + 1, "principals": "*"}]


async def test_a_batch_is_bounded(db: Database) -> None:
    await promise(db, *(f"r{number}" for number in range(outbox.BATCH + 3)))
    assert [await Relay(db).tick() for _ in range(3)] == [outbox.BATCH, 3, 0]
