"""What somebody can do who has the application's database role and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from wallet.db import Database, sqlstate
from wallet.testing.databases import ScratchDatabase

DENIED = "42501"
MINE = "0x00000000000000000000000000000000000A11cE"

ATTEMPTS = [
    "UPDATE accounts SET balance_minor = 1000000",
    "INSERT INTO accounts (id, path, asset, kind, side, balance_minor)"
    " VALUES ('acc_x', 'x', 'EUR', 'system', 'C', 5)",
    "INSERT INTO postings (entry_id, account_id, asset, amount_minor)"
    " SELECT 'x', id, asset, 1 FROM accounts",
    "INSERT INTO account_deltas (account_id, amount_minor) SELECT id, 1 FROM accounts",
    "DELETE FROM account_deltas",
    "DELETE FROM entries",
    "TRUNCATE entries CASCADE",
    "TRUNCATE outbox",
    "ALTER TABLE postings DISABLE TRIGGER ALL",
    "DROP TRIGGER postings_balanced ON postings",
    "SET session_replication_role = replica",
    "SET ROLE bifold_owner",
    "UPDATE holds SET released_minor = amount_minor",
    "SELECT ledger_apply('{}')",
    "SELECT ledger_open_hold('{}')",
    "UPDATE transfers SET amount_minor = 1",
    "INSERT INTO transfers (id, payer_id, payee_id, asset, amount_minor, entry_id)"
    " VALUES ('trf_x', 'prn_house', 'prn_house', 'EUR', 1, 'x')",
    f"UPDATE deposit_addresses SET address = '{MINE}'",
    "UPDATE deposit_addresses SET principal_id = 'prn_house'",
    "UPDATE house_addresses SET place = 'cold'",
    "DELETE FROM house_addresses",
    "DELETE FROM chain_attempts",
    "DELETE FROM deposits",
    "DELETE FROM withdrawals",
    "UPDATE idempotency_answers SET body = '{}'",
    "DELETE FROM idempotency_answers",
    "UPDATE events SET data = '{}'",
    "UPDATE conversions SET target_minor = 1",
    "UPDATE recipients SET details = '{}'",
    "UPDATE bank_credits SET amount_minor = 1",
    "DELETE FROM retired_handles",
    "UPDATE simbank.statement SET amount_minor = 1",
    "DELETE FROM simbank.statement",
    "DELETE FROM simbank.orders",
    "UPDATE alembic_version SET version_num = 'x'",
    "CREATE TABLE public.mine (x int)",
    "CREATE FUNCTION public.bifold_later() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY accounts TO PROGRAM 'cat'",
]


@pytest.fixture
async def thief(database: ScratchDatabase) -> AsyncIterator[Database]:
    db = Database(database.app_url)
    yield db
    await db.dispose()


async def test_the_application_role_is_refused(thief: Database) -> None:
    done = []
    for statement in ATTEMPTS:
        try:
            async with thief.transaction() as session:
                await session.execute(text(statement))
        except DBAPIError as refused:
            if sqlstate(refused) == DENIED:
                continue
        done.append(statement)
    assert done == []
