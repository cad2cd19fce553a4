"""Group commit: one transaction for many, one answer for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import psycopg
import pytest
from sqlalchemy import text

from wallet import crashpoints, group_commit, ledger
from wallet.db import Database
from wallet.errors import DatabaseUnavailable, NotFound, WalletError
from wallet.group_batch import Cursor, Prepared
from wallet.group_commit import GroupWriter
from wallet.idempotency import Answer, Claim, IdempotencyMismatch, Outcome
from wallet.ledger import accounts
from wallet.ledger.errors import InsufficientFunds
from wallet.money import Money
from wallet.testing.books import EUR, fund, new_principal
from wallet.testing.databases import ScratchCluster, ScratchDatabase

Move = tuple[str, str, int]


class Moves:
    """(payer, payee, minor units): the smallest flow there is."""

    after: Callable[[ledger.Hot, Sequence[Prepared[str]]], Awaitable[None]] | None = None

    async def look(self, hot: ledger.Hot, asked: Sequence[Move]) -> Cursor:
        return await hot.execute("SELECT 1")

    async def prepare(
        self, looked: Cursor, now: datetime, asked: Sequence[Move]
    ) -> list[Prepared[str] | WalletError | None]:
        assert await looked.fetchall() == [(1,)]
        return [self._one(move) for move in asked]

    def _one(self, move: Move) -> Prepared[str] | WalletError:
        payer, payee, minor = move
        if payee == "nobody":
            return NotFound("nobody")
        lines = [
            ledger.Line(accounts.customer(payer, "EUR"), Money(-minor, EUR)),
            ledger.Line(accounts.customer(payee, "EUR"), Money(minor, EUR)),
        ]
        return Prepared(ledger.Command(kind="moved", ref="test", lines=lines), payer)


FLOW = Moves()


async def _rows(hot: ledger.Hot, done: Sequence[Prepared[str]]) -> None:
    await hot.execute(
        "INSERT INTO outbox (principal_id, type, ref) SELECT unnest(%s::text[]), 'test', 'after'",
        ([one.made for one in done],),
    )


@pytest.fixture(params=["one statement", "rows of its own"], autouse=True)
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rows of its own a flow's batch is one statement, with them a transaction."""
    monkeypatch.setattr(FLOW, "after", _rows if request.param == "rows of its own" else None)


def shape(made: str) -> Answer:
    return Answer(201, f'{{"from": "{made}"}}', "/here")


def claim(principal: str, key: str, mark: bytes = b"m" * 32) -> Claim:
    return Claim(principal, "POST", "/v1/test", key, mark)


@pytest.fixture
async def writer(db: Database) -> AsyncIterator[GroupWriter]:
    writer = GroupWriter(db)
    yield writer
    await writer.aclose()


@pytest.fixture
async def people(db: Database) -> list[str]:
    """Forty people with 1.00 each."""
    async with db.transaction() as session:
        made = [await new_principal(session) for _ in range(40)]
        for person in made:
            await fund(session, person, 100)
    return made


async def balances(db: Database, people: list[str]) -> list[int]:
    async with db.transaction() as session:
        return [
            await ledger.balance_of(session, accounts.customer(person, "EUR")) for person in people
        ]


async def test_what_arrives_together_shares_a_commit(
    db: Database, writer: GroupWriter, people: list[str]
) -> None:
    payee = people[0]
    done = await asyncio.gather(
        *(writer.submit(claim(p, "k"), FLOW, (p, payee, 10), shape) for p in people[1:])
    )
    assert all(one.answer.status == 201 and not one.replayed for one in done)
    assert writer.commands == 39
    assert 2 <= writer.batches <= 3  # never all in one: some travel while others are posted
    assert await balances(db, [payee]) == [100 + 39 * 10]


async def test_a_lone_one_waits_for_nobody(writer: GroupWriter, people: list[str]) -> None:
    """Its time is that of its own statements: no timer gathers neighbours for it."""
    await writer.submit(claim(people[0], "warm"), FLOW, (people[0], people[1], 1), shape)
    times = []
    for n in range(9):
        started = time.perf_counter()
        await writer.submit(claim(people[0], f"k{n}"), FLOW, (people[0], people[1], 1), shape)
        times.append(time.perf_counter() - started)
    assert writer.batches == 10
    assert min(times) < 0.1


async def test_each_has_its_own_answer(
    db: Database, writer: GroupWriter, people: list[str]
) -> None:
    ada, bob, eve = people[:3]
    first = await writer.submit(claim(ada, "used"), FLOW, (ada, bob, 1), shape)
    asked: list[tuple[Claim, Move]] = [
        (claim(ada, "good"), (ada, bob, 30)),
        (claim(bob, "short"), (bob, eve, 10_000)),
        (claim(eve, "nobody"), (eve, "nobody", 1)),
        (claim(ada, "used"), (ada, bob, 1)),
        (claim(ada, "used", b"x" * 32), (ada, bob, 2)),
        (claim(eve, "fine"), (eve, ada, 5)),
    ]
    answers = await asyncio.gather(
        *(writer.submit(c, FLOW, move, shape) for c, move in asked), return_exceptions=True
    )
    assert [type(one) for one in answers] == [
        Outcome, InsufficientFunds, NotFound, Outcome, IdempotencyMismatch, Outcome,
    ]  # fmt: skip
    assert answers[3] == replace(first, replayed=True)
    assert await balances(db, [ada, bob, eve]) == [100 - 1 - 30 + 5, 100 + 31, 95]
    async with db.transaction() as session:
        stored = await session.scalars(text("SELECT key FROM idempotency_answers ORDER BY key"))
        assert list(stored) == ["fine", "good", "used"]


async def test_32_with_one_key_are_one_effect(
    db: Database, writer: GroupWriter, people: list[str]
) -> None:
    ada, bob = people[:2]
    for n in range(20):
        answers = await asyncio.gather(
            *(writer.submit(claim(ada, f"k{n}"), FLOW, (ada, bob, 1), shape) for _ in range(32))
        )
        assert sum(not one.replayed for one in answers) == 1
        assert len({one.answer for one in answers}) == 1
    assert await balances(db, [ada, bob]) == [80, 120]


async def test_two_processes_with_the_same_keys(
    database: ScratchDatabase, db: Database, people: list[str]
) -> None:
    """Two writers of two pools: what one of them stored first, the other tells again."""
    other = Database(database.app_url)
    writers = [GroupWriter(db), GroupWriter(other)]
    try:
        answers = await asyncio.gather(
            *(
                writers[n % 2].submit(
                    claim(people[n % 40], f"k{n // 4}"),
                    FLOW, (people[n % 40], people[(n + 1) % 40], 1), shape,
                )
                for n in range(400)
            )
        )  # fmt: skip
        rivals = await asyncio.gather(
            *(
                writers[n % 2].submit(claim(people[0], f"r{n // 8}"), FLOW,
                                      (people[0], people[1], 1), shape)
                for n in range(160)
            )
        )  # fmt: skip
    finally:
        for writer in writers:
            await writer.aclose()
        await other.dispose()
    async with db.transaction() as session:
        entries = await session.scalar(text("SELECT count(*) FROM entries WHERE kind = 'moved'"))
        assert await ledger.trial_balance(session) == {"EUR": 0}
    assert entries == sum(not one.replayed for one in [*answers, *rivals])
    assert sum(not one.replayed for one in rivals) == 20
    assert sum(await balances(db, people)) == 4_000


async def test_one_that_breaks_breaks_alone(
    db: Database, writer: GroupWriter, people: list[str]
) -> None:
    """A defect in one request (here: an answer that cannot be made) fails that request."""

    def broken(_made: str) -> Answer:
        raise ZeroDivisionError

    answers = await asyncio.gather(
        *(
            writer.submit(claim(p, "k"), FLOW, (p, people[0], 1), broken if n == 7 else shape)
            for n, p in enumerate(people[1:])
        ),
        return_exceptions=True,
    )
    broke = [n for n, one in enumerate(answers) if isinstance(one, BaseException)]
    assert broke == [7]
    assert isinstance(answers[7], ZeroDivisionError)
    assert await balances(db, [people[0], people[8]]) == [138, 100]


async def test_a_client_that_leaves_takes_nothing_back(
    db: Database, writer: GroupWriter, people: list[str]
) -> None:
    ada, bob = people[:2]
    asked = asyncio.create_task(writer.submit(claim(ada, "k"), FLOW, (ada, bob, 1), shape))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    again = await writer.submit(claim(ada, "k"), FLOW, (ada, bob, 1), shape)
    assert again.replayed
    assert await balances(db, [ada, bob]) == [99, 101]


async def test_a_database_that_dies_answers_nobody_twice(durable_cluster: ScratchCluster) -> None:
    """Connections cut in the middle: whoever was told 201 is in the books, once; the others may ask
    again with their keys."""
    database = durable_cluster.create()
    db = Database(database.app_url)
    writer = GroupWriter(db)
    try:
        async with db.transaction() as session:
            people = [await new_principal(session) for _ in range(20)]
            for person in people:
                await fund(session, person, 1_000)
        told: set[str] = set()

        async def ask(n: int) -> None:
            for k in range(12):
                key = f"k{n}-{k}"
                for _ in range(50):
                    try:
                        await writer.submit(
                            claim(people[n], key), FLOW, (people[n], people[n - 1], 1), shape
                        )
                    except DatabaseUnavailable:
                        await asyncio.sleep(0.02)
                        continue
                    told.add(key)
                    break

        async def cut() -> None:
            admin = Database(database.app_url)
            for _ in range(4):
                await asyncio.sleep(0.05)
                async with admin.transaction() as session:
                    await session.execute(
                        text(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                            " WHERE datname = current_database() AND usename = current_user"
                            " AND pid <> pg_backend_pid()"
                        )
                    )
            await admin.dispose()

        await asyncio.gather(cut(), *(ask(n) for n in range(20)))
        assert len(told) == 240
        async with db.transaction() as session:
            entries = await session.scalar(text("SELECT count(*) FROM entries WHERE kind='moved'"))
            assert await ledger.trial_balance(session) == {"EUR": 0}
        assert entries == 240
        assert await balances(db, people) == [1_000] * 20
    finally:
        await writer.aclose()
        await db.dispose()
        durable_cluster.drop(database)


async def test_one_that_comes_as_the_writer_ends_is_not_forgotten(
    writer: GroupWriter, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the writer's last look and the end of its task: it waited for the next one."""

    @asynccontextmanager
    async def nowhere() -> AsyncIterator[None]:
        raise DatabaseUnavailable("away")
        yield

    async def one_after_the_other() -> None:
        for number in range(3):
            with pytest.raises(DatabaseUnavailable):
                await writer.submit(
                    claim(people[0], f"k{number}"), FLOW, (people[0], people[1], 1), shape
                )

    with monkeypatch.context() as patched:
        patched.setattr(writer._db, "driver_alone", nowhere)
        await asyncio.wait_for(one_after_the_other(), 5)


async def test_what_was_taken_in_is_finished_at_the_end(db: Database, people: list[str]) -> None:
    writer = GroupWriter(db)
    asked = [
        asyncio.create_task(writer.submit(claim(p, "k"), FLOW, (p, people[0], 1), shape))
        for p in people[1:]
    ]
    await asyncio.sleep(0)
    await writer.aclose()
    assert all(one.answer.status == 201 for one in await asyncio.gather(*asked))


async def test_a_crash_before_the_commit_leaves_nothing_of_the_batch(
    db: Database, writer: GroupWriter, people: list[str]
) -> None:
    def die(point: str) -> None:
        if point == "db.before_commit":
            raise RuntimeError("the process ends here")

    crashpoints.install(die)
    try:
        answers = await asyncio.gather(
            *(writer.submit(claim(p, "k"), FLOW, (p, people[0], 1), shape) for p in people[1:]),
            return_exceptions=True,
        )
    finally:
        crashpoints.install(None)
    assert all(isinstance(one, RuntimeError) for one in answers)
    assert await balances(db, people) == [100] * 40


async def test_stored_answers_are_found_by_their_key_in_a_young_database(
    writer: GroupWriter, db: Database, people: list[str]
) -> None:
    """A planner that knows nothing of the table yet would read it whole for each batch."""
    for key in range(15):
        moves = ((person, people[0], 1) for person in people[1:])
        await asyncio.gather(*(writer.submit(claim(m[0], f"{key}"), FLOW, m, shape) for m in moves))
    await writer.aclose()
    await db.dispose()  # a backend that ends tells its figures
    for _ in range(50):
        read = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = :table"
        async with db.transaction() as session:
            rows = await session.execute(text(read), {"table": "idempotency_answers"})
            whole, by_key = rows.one()
        if by_key:
            break
        await asyncio.sleep(0.1)
    assert (whole, by_key >= 15 * 39) == (0, True)


async def test_a_connection_that_dies_while_its_writer_rests_costs_nobody_an_answer(
    database: ScratchDatabase,
    writer: GroupWriter,
    people: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoke: list[int] = []

    async def look(hot: ledger.Hot, asked: Sequence[Move]) -> Cursor:
        spoke.append(hot.info.backend_pid)
        return await hot.execute("SELECT 1")

    monkeypatch.setattr(FLOW, "look", look)

    async def move(key: str) -> None:
        done = await writer.submit(claim(people[1], key), FLOW, (people[1], people[0], 1), shape)
        assert done.answer.status == 201

    await move("first")
    await asyncio.sleep(0.05)
    await move("over the same connection")
    assert spoke[0] == spoke[1]
    with psycopg.connect(database.server.conninfo(), autocommit=True) as by_root:
        by_root.execute("SELECT pg_terminate_backend(%s)", (spoke[0],))
    await asyncio.sleep(0.2)
    await move("over another")
    assert spoke[2] != spoke[0]


async def test_a_writer_without_work_gives_its_connection_back(
    db: Database, writer: GroupWriter, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "REST_SECONDS", 0.05)
    await writer.submit(claim(people[1], "k"), FLOW, (people[1], people[0], 1), shape)
    assert db.engine.pool.checkedout() == 1  # type: ignore[attr-defined]
    await asyncio.sleep(0.3)
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_writer_that_gets_no_connection_leaves_the_queue_to_the_other(
    db: Database, writer: GroupWriter, people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = 0
    alone = db.driver_alone

    @asynccontextmanager
    async def one_only() -> AsyncIterator[ledger.Hot]:
        nonlocal given
        given += 1
        if given > 1:
            raise DatabaseUnavailable("too many connections")
        async with alone() as hot:
            yield hot

    monkeypatch.setattr(db, "driver_alone", one_only)
    done = await asyncio.gather(
        *(writer.submit(claim(p, "k"), FLOW, (p, people[0], 1), shape) for p in people[1:])
    )
    assert len(done) == 39 and given > 1
