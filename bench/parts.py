"""Where a transfer's time goes: CPU of API and PostgreSQL for each, by parts, and what it writes.

The whole over HTTP, then the group writer alone (no HTTP, the same rows) at several sizes of batch,
then PostgreSQL alone without one thing at a time, in turns on copies of one database.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg

from bench import database, http_load, ledger, transfers
from bench.ratios import cpu_seconds, middle
from wallet.db import Database
from wallet.group_commit import GroupWriter
from wallet.idempotency import Answer, Claim
from wallet.migrate import upgrade
from wallet.money import FIAT, Money
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.transfers import Flow, Transfer, Wanted

HOT = "entries postings accounts transfers idempotency_answers outbox unsealed account_deltas"
TABLES = HOT.split()
COMMAS = ",".join(TABLES)
IN_FLIGHT = (2, 8, 24, 256)
USUAL = 24
"""In flight for a batch of 12 each, as the API has at 32 connections."""
BODY = '"' + "x" * 480 + '"'
EUR = FIAT[0]
FLOW = Flow()
WITHOUT = {
    "all": "SELECT",
    "no triggers": ";".join(f"ALTER TABLE {t} DISABLE TRIGGER USER" for t in TABLES),
    "no CHECK": "DO $$DECLARE c record; BEGIN FOR c IN SELECT conname, conrelid::regclass AS t"
    f" FROM pg_constraint WHERE contype = 'c' AND conrelid::regclass::text = ANY('{{{COMMAS}}}')"
    " LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname); END LOOP; END$$",
    "no further index": "DROP INDEX entries_ref_idx, postings_account_idx, transfers_payer_idx,"
    " transfers_payee_idx",
}


def measure(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Medians in microseconds a transfer; new rows and bytes of log of one."""
    cluster = ScratchCluster(durable=True, migrate=upgrade, settings=ledger.SETTINGS)
    try:
        with tempfile.TemporaryDirectory(prefix="bifold-bench-") as home:
            return asyncio.run(_measure(cluster, Path(home), rounds, seconds))
    finally:
        cluster.close()


async def _measure(
    cluster: ScratchCluster, home: Path, rounds: int, seconds: float
) -> dict[str, Any]:
    sides = {name: await _Side.open(cluster.create(), change) for name, change in WITHOUT.items()}
    whole = sides["all"]
    make = ledger.signed(whole.people, whole.tokens)
    with transfers.servers(whole.scratch, home) as (_hello, api):
        for count in (ledger.CONNECTIONS, ledger.MANY) * (rounds + 1):
            load = partial(http_load.load, api.port, make, connections=count, seconds=seconds)
            await whole.take(f"HTTP, {count} connections", api.pid, load)
    for _ in range(rounds + 1):
        for count in IN_FLIGHT:
            for name, side in sides.items() if count == USUAL else [("all", whole)]:
                what = "" if name == "all" else f", {name}"
                post = partial(side.post, count, seconds)
                await side.take(f"writer, {count} in flight{what}", os.getpid(), post)
    figures: dict[str, Any] = {}
    for side in sides.values():
        figures |= side.figures()
    figures |= await whole.written(partial(whole.post, USUAL, min(seconds, 0.5)))
    for side in sides.values():
        await side.writer.aclose()
        await side.db.dispose()
    transfers.check(whole.scratch)
    return figures


class Done(Protocol):
    """What a turn gave."""

    @property
    def count(self) -> int:
        """Transfers."""


@dataclass(frozen=True)
class Posted:
    """One turn of the writer."""

    count: int


class _Side:
    """One database, people with money in it, and a writer."""

    def __init__(self, scratch: ScratchDatabase, people: list[str], tokens: list[str]) -> None:
        self.scratch, self.people, self.tokens = scratch, people, tokens
        self.db = Database(scratch.app_url)
        self.writer = GroupWriter(self.db)
        self._taken: dict[str, list[tuple[float, float]]] = {}

    @classmethod
    async def open(cls, scratch: ScratchDatabase, change: str) -> _Side:
        """Set up, then changed by its owner."""
        people = [person for person, _ in await asyncio.to_thread(database.prepare, scratch)]
        tokens = await transfers.sign_in(scratch, people, count=ledger.MANY)
        with psycopg.connect(scratch.conninfo("bifold_owner"), autocommit=True) as owner:
            owner.execute(change.encode())
        return cls(scratch, people, tokens)

    async def post(self, in_flight: int, seconds: float) -> Posted:
        """So many at once, each followed by the next."""
        until, run, done = time.monotonic() + seconds, uuid.uuid4().hex, 0

        async def stream(number: int) -> None:
            nonlocal done
            chance = random.Random(number)
            for turn in itertools.count():
                payer, payee = chance.sample(self.people, 2)
                claim = Claim(payer, "POST", "/v1/transfers", f"{run}-{number}-{turn}", bytes(32))
                asked = Wanted(payer, payee, Money(1, EUR), None)
                await self.writer.submit(claim, FLOW, asked, _shape)
                done += 1
                if time.monotonic() >= until:
                    break

        await asyncio.gather(*(stream(number) for number in range(in_flight)))
        return Posted(done)

    async def take(self, name: str, pid: int, work: Callable[[], Awaitable[Done]]) -> None:
        """One turn; the CPU of a transfer in the process and in its backends."""
        before, backends = cpu_seconds(pid), self._backends()
        done = (await work()).count
        used = sum(cpu - backends.get(pid, 0) for pid, cpu in self._backends().items())
        self._taken.setdefault(name, []).append(((cpu_seconds(pid) - before) / done, used / done))

    def figures(self) -> dict[str, Any]:
        """Process and PostgreSQL in microseconds; the first turn warmed up."""
        return {
            f"{name}: process, database (us)": [
                middle(each, 1e6) for each in zip(*turns[1:], strict=True)
            ]
            for name, turns in self._taken.items()
        }

    async def written(self, work: Callable[[], Awaitable[Done]]) -> dict[str, Any]:
        """New rows and log of one transfer; the two balances are rewritten besides."""
        before = self._counts()
        done = (await work()).count
        rows, log = (b - a for a, b in zip(before, self._counts(), strict=True))
        return {
            "new rows a transfer": round(rows / done, 1),
            "bytes of log a transfer": round(log / done),
        }

    def _counts(self) -> tuple[int, int]:
        counted = " + ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
        with psycopg.connect(self.scratch.conninfo("bifold_owner"), autocommit=True) as owner:
            row = owner.execute(
                f"SELECT {counted}, (pg_current_wal_lsn() - '0/0')::bigint".encode()
            ).fetchone()
        if row is None:
            raise RuntimeError("PostgreSQL counts nothing")
        return row[0], row[1]

    def _backends(self) -> dict[int, float]:
        with psycopg.connect(self.scratch.conninfo("postgres"), autocommit=True) as root:
            pids = root.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'bifold_app'"
            ).fetchall()
        return {pid: cpu_seconds(pid) for (pid,) in pids}


def _shape(made: Transfer) -> Answer:
    return Answer(201, BODY, f"/v1/transfers/{made.id}")
