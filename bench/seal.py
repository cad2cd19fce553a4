"""The seal: what it costs the poster, how far behind it is, and how fast it works off a backlog.

Rounds alternate on one durable PostgreSQL: the poster alone, its trigger off, against the poster
with the sealer behind it. Batches of 64 over two connections, as the service's writers send them.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from typing import Any

import orjson
import psycopg

from bench import database
from wallet.db import Database
from wallet.migrate import upgrade
from wallet.seal import TICK_SECONDS, Sealer, verify
from wallet.testing.databases import ScratchCluster, ScratchDatabase

WRITERS = 2
BATCH = 64
TAILS = (
    "SELECT percentile_cont(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (ORDER BY"
    " extract(epoch FROM s.sealed_at - e.created_at)::float8)"
    " FROM seals s JOIN entries e ON e.id = s.subject WHERE s.kind = 'entry' AND s.seq > %s"
)


def measure(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Medians of both sides, the tail, links a second over a backlog, and of verification."""
    cluster = ScratchCluster(durable=True, migrate=upgrade)
    try:
        return asyncio.run(_measure(cluster.create(), rounds, seconds))
    finally:
        cluster.close()


async def _measure(scratch: ScratchDatabase, rounds: int, seconds: float) -> dict[str, Any]:
    accounts = [account for _, account in database.prepare(scratch)]
    db = Database(scratch.app_url)
    sealer = Sealer(db)
    await sealer.tick()
    samples: dict[str, list[tuple[float, float]]] = {"alone": [], "sealed": []}
    tails: list[list[float]] = []
    for _ in range(rounds):
        _as_owner(scratch, "ALTER TABLE entries DISABLE TRIGGER entries_await_seal")
        samples["alone"].append(await _rate(scratch, accounts, seconds))
        _as_owner(scratch, "ALTER TABLE entries ENABLE TRIGGER entries_await_seal")
        newest = _one(scratch, "SELECT max(seq) FROM seals")
        stop = asyncio.Event()
        running = asyncio.create_task(_loop(sealer, stop))
        samples["sealed"].append(await _rate(scratch, accounts, seconds))
        await asyncio.sleep(1)
        stop.set()
        await running
        tails.append(_one(scratch, TAILS, newest))
    backlog = _one(scratch, "SELECT (SELECT count(*) FROM entries) - max(seq) FROM seals")
    _as_owner(
        scratch,
        "INSERT INTO unsealed SELECT id FROM entries WHERE id NOT IN (SELECT subject FROM seals)",
    )
    started = time.monotonic()
    while await sealer.tick():
        continue
    sealing = time.monotonic() - started
    started = time.monotonic()
    async with db.snapshot() as session:
        checked = await verify(session)
    verifying = time.monotonic() - started
    await db.dispose()
    if checked.findings:
        raise RuntimeError(f"the chain is broken: {checked.findings}")
    medians = {name: statistics.median(r for r, _ in values) for name, values in samples.items()}
    costs = {name: statistics.median(c for _, c in values) for name, values in samples.items()}
    return {
        "poster_alone_per_second": round(medians["alone"]),
        "poster_sealed_per_second": round(medians["sealed"]),
        "sealed_over_alone": round(medians["sealed"] / medians["alone"], 3),
        "poster_alone_cpu_us": round(costs["alone"]),
        "poster_sealed_cpu_us": round(costs["sealed"]),
        "tail_p50_ms": round(statistics.median(t[0] for t in tails) * 1000),
        "tail_p99_ms": round(max(t[1] for t in tails) * 1000),
        "tail_max_ms": round(max(t[2] for t in tails) * 1000),
        "backlog_entries": backlog,
        "backlog_sealed_per_second": round(backlog / sealing),
        "verified_links_per_second": round(checked.links / verifying),
        "rounds": {name: [round(r) for r, _ in values] for name, values in samples.items()},
    }


async def _loop(sealer: Sealer, stop: asyncio.Event) -> None:
    while not stop.is_set():
        started = time.monotonic()
        await sealer.tick()
        await asyncio.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - started)))


async def _rate(
    scratch: ScratchDatabase, accounts: list[str], seconds: float
) -> tuple[float, float]:
    """Entries a second, and microseconds of the backends' processor time for one."""
    done = 0
    used = 0.0
    until = time.monotonic() + seconds

    async def write(seed: int) -> None:
        nonlocal done, used
        chance = random.Random(seed)
        async with await psycopg.AsyncConnection.connect(
            scratch.conninfo("bifold_app"), autocommit=True
        ) as connection:
            before = _cpu_seconds(connection.info.backend_pid)
            while time.monotonic() < until:
                batch = [database.command(*chance.sample(accounts, 2), 1) for _ in range(BATCH)]
                cursor = await connection.execute(
                    "SELECT count(*) FROM ledger_post(%s::jsonb) WHERE code IS NOT NULL",
                    (orjson.dumps(batch).decode(),),
                )
                if await cursor.fetchone() != (0,):
                    raise RuntimeError("the poster refused")
                done += BATCH
            used += _cpu_seconds(connection.info.backend_pid) - before

    started = time.monotonic()
    await asyncio.gather(*(write(seed) for seed in range(WRITERS)))
    return done / (time.monotonic() - started), used / done * 1e6


def _cpu_seconds(process: int) -> float:
    """User and system time: neighbours on the machine do not count."""
    with open(f"/proc/{process}/stat", encoding="ascii") as stat:
        told = stat.read().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def _as_owner(scratch: ScratchDatabase, statement: str) -> None:
    with psycopg.connect(scratch.conninfo("bifold_owner"), autocommit=True) as owner:
        owner.execute(statement.encode())


def _one(scratch: ScratchDatabase, query: str, *values: object) -> Any:
    with psycopg.connect(scratch.conninfo("bifold_audit"), autocommit=True) as audit:
        row = audit.execute(query.encode(), values or None).fetchone()
    if row is None:
        raise RuntimeError("no answer")
    return row[0]
