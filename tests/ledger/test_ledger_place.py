"""Where a moment stands in an account's chain: right, monotone, and flat however long it is."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from wallet import ledger
from wallet.db import Database
from wallet.ledger import accounts
from wallet.ledger.accounts import AccountSpec
from wallet.testing.books import fund, new_principal
from wallet.testing.databases import ScratchDatabase

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LONG = 100_000
# Of a chain of 100,000: 17 probes, each three pages of the index and one of the table.
PAGES_AT_MOST = 120


async def spec_of(db: Database) -> AccountSpec:
    async with db.transaction() as session:
        return accounts.customer(await new_principal(session), "EUR")


def rewrite_clock(database: ScratchDatabase, spec: AccountSpec, minutes: list[int]) -> None:
    """Give the account this chain, one unit a line, written at these minutes. Only the owner, with
    the refusals of the tables switched off, can do that."""
    with psycopg.connect(database.conninfo("postgres")) as raw:
        raw.execute("SET session_replication_role = replica")
        raw.execute("DELETE FROM postings")
        raw.execute(
            "INSERT INTO postings (entry_id, account_id, asset, amount_minor, account_seq,"
            " balance_after_minor, created_at) SELECT 'ent_' || n, a.id, 'EUR', 1, n, n,"
            " %s + m * interval '1 minute' FROM accounts a,"
            " unnest(%s::int[]) WITH ORDINALITY u(m, n) WHERE a.path = %s",
            (BEGAN, minutes, spec.path),
        )
        raw.execute("INSERT INTO entries (id, kind, ref, event_at) SELECT entry_id, 'test', 'test',"
                    " created_at FROM postings ON CONFLICT DO NOTHING")  # fmt: skip
        raw.execute(
            "UPDATE accounts SET posting_count = %s, balance_minor = %s WHERE path = %s",
            (len(minutes), len(minutes), spec.path),
        )
        raw.commit()
        raw.autocommit = True
        raw.execute("VACUUM ANALYZE postings")


async def place_at(db: Database, spec: AccountSpec, minute: float) -> int:
    async with db.snapshot() as session:
        (found,) = await ledger.places(session, spec, [BEGAN + timedelta(minutes=minute)])
    assert found.balance_minor == found.seq  # one unit a line
    return found.seq


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9])
async def test_in_order_it_is_the_last_line_before(
    db: Database, database: ScratchDatabase, length: int
) -> None:
    spec = await spec_of(db)
    async with db.transaction() as session:
        await fund(session, spec.principal_id or "", 1)
    rewrite_clock(database, spec, [10 * n for n in range(1, length + 1)])
    for n in range(1, length + 1):
        assert await place_at(db, spec, 10 * n) == n - 1
        assert await place_at(db, spec, 10 * n + 1) == n


async def test_with_a_clock_set_back_periods_still_meet(
    db: Database, database: ScratchDatabase
) -> None:
    """For any order of times: written before, the next one not, and never backwards."""
    spec = await spec_of(db)
    async with db.transaction() as session:
        await fund(session, spec.principal_id or "", 1)
    chance = random.Random(7)
    for _ in range(12):
        minutes = [chance.randrange(30) for _ in range(chance.randrange(1, 30))]
        rewrite_clock(database, spec, minutes)
        places = [await place_at(db, spec, moment) for moment in range(32)]
        assert all(before <= after for before, after in pairwise(places))
        assert places[-1] == len(minutes)
        for moment, seq in enumerate(places):
            assert seq == 0 or minutes[seq - 1] < moment
            assert seq == len(minutes) or minutes[seq] >= moment


async def test_a_missing_line_is_said(db: Database, database: ScratchDatabase) -> None:
    spec = await spec_of(db)
    async with db.transaction() as session:
        await fund(session, spec.principal_id or "", 1)
    rewrite_clock(database, spec, [1, 2, 3, 4, 5])
    with psycopg.connect(database.conninfo("postgres")) as raw:
        raw.execute("SET session_replication_role = replica")
        raw.execute("DELETE FROM postings WHERE account_seq = 4")
    with pytest.raises(DBAPIError, match="posting 4 of account"):
        await place_at(db, spec, 9)


async def test_a_system_account_has_no_place(db: Database) -> None:
    async with db.snapshot() as session:
        with pytest.raises(ValueError, match="customers"):
            await ledger.places(session, accounts.capital("EUR"), [BEGAN])


async def test_old_and_new_moments_read_the_same_few_pages(
    db: Database, database: ScratchDatabase
) -> None:
    spec = await spec_of(db)
    async with db.transaction() as session:
        await fund(session, spec.principal_id or "", 1)
    rewrite_clock(database, spec, list(range(LONG)))
    for minute in (1, LONG // 2, LONG - 2, 2 * LONG):
        assert await place_at(db, spec, minute + 0.5) == min(minute + 1, LONG)
        assert await _pages(db, spec, minute) < PAGES_AT_MOST


async def _pages(db: Database, spec: AccountSpec, minute: int) -> int:
    """What PostgreSQL read to answer, out of its memory or not, the function's own reads too."""
    query = (
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT f.seq FROM accounts a,"
        " ledger_place(a.id, :moment) f WHERE a.path = :path"
    )
    values = {"moment": BEGAN + timedelta(minutes=minute), "path": spec.path}
    async with db.snapshot() as session:
        await session.scalar(text(query), values)  # the first call of a session plans, too
        plan = (await session.scalar(text(query), values))[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])
