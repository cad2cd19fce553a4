"""Transfers inside the database: `ledger_post` against a transfer stripped to the bone.

The floor is what one PL/pgSQL call costs when nothing but two balances and three rows are written;
both run on one durable PostgreSQL, in alternating rounds, over 32 connections.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import psycopg

from wallet.ids import new_id
from wallet.testing.databases import ScratchDatabase

CONNECTIONS = 32
CUSTOMERS = 1_000
BALANCE_MINOR = 10**12

FLOOR_SQL = """
CREATE TABLE IF NOT EXISTS floor_accounts (
    id text PRIMARY KEY, balance numeric(78,0) NOT NULL CHECK (balance >= 0));
CREATE TABLE IF NOT EXISTS floor_entries (
    id text PRIMARY KEY, kind text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS floor_postings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry_id text NOT NULL REFERENCES floor_entries,
    account_id text NOT NULL REFERENCES floor_accounts, amount numeric(78,0) NOT NULL);
CREATE INDEX IF NOT EXISTS floor_postings_account_idx ON floor_postings (account_id, id);
CREATE OR REPLACE FUNCTION floor_transfer(entry text, payer text, payee text, amount numeric)
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM floor_accounts WHERE id IN (payer, payee) ORDER BY id FOR NO KEY UPDATE;
    IF (SELECT balance FROM floor_accounts WHERE id = payer) < amount THEN
        RETURN 'insufficient_funds';
    END IF;
    INSERT INTO floor_entries (id, kind) VALUES (entry, 'transfer');
    UPDATE floor_accounts SET balance = balance + CASE WHEN id = payer THEN -amount ELSE amount END
     WHERE id IN (payer, payee);
    INSERT INTO floor_postings (entry_id, account_id, amount)
    VALUES (entry, payer, -amount), (entry, payee, amount);
    RETURN NULL;
END $$;
"""

Call = Callable[[psycopg.AsyncConnection[Any], str, str], Awaitable[None]]


def prepare(database: ScratchDatabase) -> list[tuple[str, str]]:
    """Customers with money in both books; returns (principal, account) of each."""
    people = [(new_id("usr"), new_id("acc")) for _ in range(CUSTOMERS)]
    with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.execute(FLOOR_SQL)
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO bifold_owner")
        cursor.executemany(
            "INSERT INTO principals (id, kind) VALUES (%s, 'user')", [(p,) for p, _ in people]
        )
        cursor.executemany(
            "INSERT INTO accounts (id, path, principal_id, asset, kind, side)"
            " VALUES (%s, 'customer:' || %s || ':EUR', %s, 'EUR', 'customer', 'C')",
            [(a, p, p) for p, a in people],
        )
        cursor.executemany(
            "INSERT INTO floor_accounts VALUES (%s, %s)", [(a, BALANCE_MINOR) for _, a in people]
        )
        cursor.executemany(
            "INSERT INTO floor_accounts VALUES (%s, %s)",
            [(f"f{n}", BALANCE_MINOR) for n in range(1, CUSTOMERS + 1)],
        )
        cursor.execute(
            "INSERT INTO accounts (id, path, asset, kind, side)"
            " VALUES ('acc_capital', 'house:capital:EUR', 'EUR', 'system', 'C')"
        )
        for start in range(0, CUSTOMERS, 100):
            batch = [
                command("acc_capital", account, BALANCE_MINOR)
                for _, account in people[start : start + 100]
            ]
            cursor.execute("SELECT code FROM ledger_post(%s::jsonb)", (_json(batch),))
            if any(code is not None for (code,) in cursor.fetchall()):
                raise RuntimeError("the customers could not be funded")
        cursor.execute("ANALYZE")
    return people


def command(payer: str, payee: str, amount: int) -> dict[str, Any]:
    """One transfer as `ledger_post` takes it, without its domain row."""
    return {
        "entry": {"id": new_id("ent"), "kind": "transfer", "ref": "bench"},
        "postings": [
            {"account": payer, "asset": "EUR", "amount": str(-amount)},
            {"account": payee, "asset": "EUR", "amount": str(amount)},
        ],
    }


def _json(batch: list[dict[str, Any]]) -> str:
    return orjson.dumps(batch).decode()


async def by_poster(connection: psycopg.AsyncConnection[Any], payer: str, payee: str) -> None:
    """One transfer through `ledger_post`."""
    cursor = await connection.execute(
        "SELECT code FROM ledger_post(%s::jsonb)", (_json([command(payer, payee, 1)]),)
    )
    row = await cursor.fetchone()
    if row is None or row[0] is not None:
        raise RuntimeError(f"refused: {row}")


async def by_floor(connection: psycopg.AsyncConnection[Any], payer: str, payee: str) -> None:
    """One transfer through the stripped function."""
    cursor = await connection.execute(
        "SELECT floor_transfer(%s, %s, %s, 1)", (new_id("ent"), payer, payee)
    )
    row = await cursor.fetchone()
    if row is None or row[0] is not None:
        raise RuntimeError(f"refused: {row}")


async def rate(conninfo: str, accounts: list[str], call: Call, seconds: float) -> float:
    """Calls a second over `CONNECTIONS` connections, each its own stream of random pairs."""
    connections = [
        await psycopg.AsyncConnection.connect(conninfo, autocommit=True) for _ in range(CONNECTIONS)
    ]
    done = 0
    until = time.monotonic() + seconds

    async def stream(connection: psycopg.AsyncConnection[Any], seed: int) -> None:
        nonlocal done
        chance = random.Random(seed)
        while time.monotonic() < until:
            payer, payee = chance.sample(accounts, 2)
            await call(connection, payer, payee)
            done += 1

    started = time.monotonic()
    try:
        await asyncio.gather(*(stream(c, seed) for seed, c in enumerate(connections)))
        elapsed = time.monotonic() - started
    finally:
        for connection in connections:
            await connection.close()
    return done / elapsed


async def measure(database: ScratchDatabase, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Medians over `rounds` alternating rounds, and how many times slower the poster is."""
    accounts = [account for _, account in prepare(database)]
    owner = database.conninfo("bifold_owner")
    samples: dict[str, list[float]] = {"floor": [], "poster": []}
    for _ in range(rounds):
        samples["floor"].append(await rate(owner, accounts, by_floor, seconds))
        samples["poster"].append(await rate(owner, accounts, by_poster, seconds))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    return {
        "connections": CONNECTIONS,
        "floor_per_second": round(medians["floor"]),
        "ledger_post_per_second": round(medians["poster"]),
        "floor_over_ledger_post": round(medians["floor"] / medians["poster"], 2),
        "rounds": {name: [round(v) for v in values] for name, values in samples.items()},
    }
