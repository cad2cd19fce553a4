"""pgledger as a contender: its SQL, fetched by whoever runs this, in a database of its own."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import psycopg

from wallet.testing.databases import ScratchDatabase

ACCOUNTS = 1_000
FUNDS = 10**9
CONNECTIONS = 32
ONE = "SELECT id FROM pgledger_create_transfer(%s, %s, 1)"


def prepare(scratch: ScratchDatabase, sql: Path) -> list[str]:
    """Run its SQL; the funded accounts, none of which may go below zero."""
    with psycopg.connect(scratch.conninfo("bifold_owner"), autocommit=True) as connection:
        connection.execute(sql.read_bytes())
        (house,) = _row(
            connection.execute("SELECT id FROM pgledger_create_account('house', 'EUR')")
        )
        accounts = []
        for number in range(ACCOUNTS):
            made = connection.execute(
                "SELECT id FROM pgledger_create_account(%s, 'EUR', false)", (f"person {number}",)
            )
            (account,) = _row(made)
            connection.execute(
                "SELECT id FROM pgledger_create_transfer(%s, %s, %s)", (house, account, FUNDS)
            )
            accounts.append(account)
        connection.execute("ANALYZE")
    return accounts


async def rate(
    scratch: ScratchDatabase, accounts: list[str], *, hot: bool, seconds: float
) -> float:
    """Transfers a second, one call each over 32 connections; `hot`: all to one account."""
    connections = [
        await psycopg.AsyncConnection.connect(scratch.conninfo("bifold_owner"), autocommit=True)
        for _ in range(CONNECTIONS)
    ]
    done = 0
    started = time.monotonic()

    async def stream(connection: psycopg.AsyncConnection[tuple[object, ...]], seed: int) -> None:
        nonlocal done
        chance = random.Random(seed)
        while time.monotonic() < started + seconds:
            payer, payee = chance.sample(accounts[1:], 2)
            await connection.execute(ONE, (payer, accounts[0] if hot else payee))
            done += 1

    try:
        await asyncio.gather(*(stream(c, seed) for seed, c in enumerate(connections)))
        return done / (time.monotonic() - started)
    finally:
        for connection in connections:
            await connection.close()


def check(scratch: ScratchDatabase) -> None:
    """Its books are whole, too. Raises RuntimeError."""
    with psycopg.connect(scratch.conninfo("bifold_owner"), autocommit=True) as connection:
        (total,) = _row(connection.execute("SELECT sum(balance) FROM pgledger_accounts"))
    if total != 0:
        raise RuntimeError(f"pgledger's books are off by {total}")


def _row(cursor: psycopg.Cursor[tuple[object, ...]]) -> tuple[str]:
    row = cursor.fetchone()
    if row is None:
        raise RuntimeError("pgledger answered nothing")
    return row  # type: ignore[return-value]
