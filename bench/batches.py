"""Transfers in the database, many to a commit: what group commit asks of it, without HTTP."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import orjson
import psycopg

from bench.database import command
from wallet.ledger.batch import Hot
from wallet.testing.databases import ScratchDatabase

PER_COMMIT = 100
WRITERS = 2

Pair = Callable[[random.Random], list[str]]


def pairs(accounts: list[str], *, hot: bool) -> Pair:
    """Draws payer and payee: any two, or all to the first account."""

    def draw(chance: random.Random) -> list[str]:
        if hot:
            return [chance.choice(accounts[1:]), accounts[0]]
        return chance.sample(accounts, 2)

    return draw


async def post(connection: Hot, chance: random.Random, draw: Pair) -> None:
    """One commit of `PER_COMMIT` transfers. Raises RuntimeError at a refusal."""
    commands = [command(*draw(chance), 1) for _ in range(PER_COMMIT)]
    cursor = await connection.execute(
        "SELECT code FROM ledger_post(%s::jsonb) WHERE code IS NOT NULL", (_json(commands),)
    )
    refused = await cursor.fetchone()
    if refused is not None:
        raise RuntimeError(f"refused: {refused}")


async def rate(
    scratch: ScratchDatabase, accounts: list[str], *, hot: bool = False, seconds: float
) -> float:
    """Transfers a second by two writers."""
    draw, done, started = pairs(accounts, hot=hot), 0, time.monotonic()

    async def write(seed: int) -> None:
        nonlocal done
        chance = random.Random(seed)
        async with await psycopg.AsyncConnection.connect(
            scratch.conninfo("bifold_app"), autocommit=True
        ) as connection:
            while time.monotonic() < started + seconds:
                await post(connection, chance, draw)
                done += PER_COMMIT

    await asyncio.gather(*(write(seed) for seed in range(WRITERS)))
    return done / (time.monotonic() - started)


async def grow(scratch: ScratchDatabase, accounts: list[str], *, postings: int) -> None:
    """Post until the books have so many postings, through the same function as everybody."""
    draw = pairs(accounts, hot=False)
    left = max(0, postings // 2)

    async def write(seed: int) -> None:
        nonlocal left
        chance = random.Random(seed)
        async with await psycopg.AsyncConnection.connect(
            scratch.conninfo("bifold_app"), autocommit=True
        ) as connection:
            while left > 0:
                left -= PER_COMMIT
                await post(connection, chance, draw)

    await asyncio.gather(*(write(seed) for seed in range(100, 100 + WRITERS)))
    with psycopg.connect(scratch.conninfo("bifold_owner"), autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE")


def _json(commands: list[dict[str, object]]) -> str:
    return orjson.dumps(commands).decode()
