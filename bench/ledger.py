"""The books against their contenders, all on one durable PostgreSQL, in turn, in one run.

Over HTTP: the real `POST /v1/transfers` (uniform, into one hot account, and at 256 connections),
the FastAPI hello floor, the usual prototype (FastAPI and SQLModel), LNbits where there is one.
In the database: batches of `ledger_post` (uniform and hot), one call a commit, pgbench with a
transfer stripped to the bone, pgledger where its SQL is given; and batches on grown books.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psycopg
from sqlalchemy import create_engine

from bench import batches, database, http_load, lnbits, pgledger, prototype, transfers
from bench.ratios import cpu_seconds, of
from wallet.migrate import upgrade
from wallet.postgres import binaries
from wallet.testing.databases import ScratchCluster, ScratchDatabase

CONNECTIONS = 32
MANY = 256
SMALL_POSTINGS = 10_000
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "300"}
PGBENCH = """\\set a random(1, 1000)
\\set b 1 + (:a + random(0, 998)) % 1000
SELECT floor_transfer(gen_random_uuid()::text, 'f' || :a, 'f' || :b, 1);
"""
Side = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Contenders:
    """Those that this repository does not bring: a file of SQL, a Python that has LNbits."""

    pgledger_sql: Path | None = None
    lnbits_python: Path | None = None


@dataclass
class Samples:
    """Rates a second of every side, round by round, and what came with them."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    p99_ms: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)
    generator: dict[str, list[float]] = field(default_factory=dict)

    async def take(self, name: str, side: Side) -> None:
        """One turn of one side."""
        print(f"  {name} …", file=sys.stderr, flush=True)
        self.rates.setdefault(name, []).append(await side())


def measure(
    *, rounds: int, seconds: float, contenders: Contenders | None = None, postings: int = 200_000
) -> dict[str, Any]:
    """Medians, ratios by round, and every rate. Raises RuntimeError when any books are off."""
    asked = contenders or Contenders()
    cluster = ScratchCluster(durable=True, migrate=upgrade, settings=SETTINGS)
    try:
        with tempfile.TemporaryDirectory(prefix="bifold-bench-") as home:
            samples = asyncio.run(
                _Run(cluster, Path(home), asked, rounds, seconds, postings).measure()
            )
    finally:
        cluster.close()
    return _summary(samples, asked, postings)


class _Run:
    """Everything that is set up once, and the rounds."""

    def __init__(
        self,
        cluster: ScratchCluster,
        home: Path,
        asked: Contenders,
        rounds: int,
        seconds: float,
        postings: int,
    ) -> None:
        self._cluster, self._home, self._asked = cluster, home, asked
        self._rounds, self._seconds, self._postings = rounds, seconds, postings
        self._samples = Samples()

    async def measure(self) -> Samples:
        """Set up, take turns, look at the books."""
        api_books, books, grown = (self._cluster.create() for _ in range(3))
        people = await asyncio.to_thread(database.prepare, api_books)
        accounts = [account for _, account in await asyncio.to_thread(database.prepare, books)]
        far = [account for _, account in await asyncio.to_thread(database.prepare, grown)]
        await batches.grow(books, accounts, postings=SMALL_POSTINGS)
        print(f"  growing to {self._postings:,} postings …", file=sys.stderr, flush=True)
        await batches.grow(grown, far, postings=self._postings)
        principals = [person for person, _ in people]
        tokens = await transfers.sign_in(api_books, principals, count=MANY)
        orm = await asyncio.to_thread(_prototype_books, self._cluster.create())
        with contextlib.ExitStack() as stack:
            hello, api, orm_port = stack.enter_context(
                transfers.servers(api_books, self._home, prototype_url=orm)
            )
            sides: dict[str, Side] = {
                "hello": lambda: self._http("hello", hello, _body_only(principals)),
                "api": lambda: self._http("api", api, signed(principals, tokens)),
                "api_hot": lambda: self._http("api_hot", api, signed(principals, tokens, hot=True)),
                "api_c256": lambda: self._http(
                    "api_c256", api, signed(principals, tokens), connections=MANY
                ),
                "orm": lambda: self._http("orm", orm_port, _unsigned()),
                "one_call": lambda: database.rate(
                    books.conninfo("bifold_app"), accounts, database.by_poster, self._seconds
                ),
                "pgbench": lambda: asyncio.to_thread(self._pgbench, books),
                "batched": lambda: batches.rate(books, accounts, seconds=self._seconds),
                "batched_hot": lambda: batches.rate(
                    books, accounts, hot=True, seconds=self._seconds
                ),
                "batched_grown": lambda: batches.rate(grown, far, seconds=self._seconds),
            }
            checks = [lambda: transfers.check(api_books)]
            checks += [lambda each=each: _whole(each) for each in (books, grown)]
            self._add_pgledger(sides, checks)
            self._add_lnbits(sides, stack)
            await http_load.load(
                api.port, signed(principals, tokens), connections=CONNECTIONS, seconds=2.0
            )
            for number in range(self._rounds):
                print(f"round {number + 1}", file=sys.stderr, flush=True)
                for name, side in sides.items():
                    await self._samples.take(name, side)
        for check in checks:
            await asyncio.to_thread(check)
        return self._samples

    async def _http(
        self,
        name: str,
        server: transfers.Served,
        make: Callable[[int], bytes],
        *,
        connections: int = CONNECTIONS,
    ) -> float:
        before = cpu_seconds(server.pid)
        load = await http_load.load(
            server.port, make, connections=connections, seconds=self._seconds
        )
        used = cpu_seconds(server.pid) - before
        samples = self._samples
        samples.p99_ms.setdefault(name, []).append(load.p99_ms)
        samples.generator.setdefault(name, []).append(load.generator_cpu)
        samples.cpu_us.setdefault(name, []).append(used / load.count * 1e6)
        return load.per_second

    def _pgbench(self, books: ScratchDatabase) -> float:
        script = self._home / "pgbench.sql"
        script.write_text(PGBENCH, "ascii")
        told = subprocess.run(
            [
                binaries() / "pgbench",
                *("--no-vacuum", "--protocol=prepared", f"--client={CONNECTIONS}", "--jobs=2"),
                *(f"--time={max(1, round(self._seconds))}", f"--file={script}"),
                books.conninfo("bifold_owner"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"^tps = ([0-9.]+)", told.stdout, re.MULTILINE)
        if told.returncode or found is None:
            raise RuntimeError(f"pgbench: {told.stdout[-300:]}{told.stderr[-300:]}")
        return float(found[1])

    def _add_pgledger(self, sides: dict[str, Side], checks: list[Callable[[], None]]) -> None:
        if self._asked.pgledger_sql is None:
            print("  pgledger: skipped, no --pgledger FILE", file=sys.stderr)
            return
        scratch = self._cluster.create()
        accounts = pgledger.prepare(scratch, self._asked.pgledger_sql)
        for name, hot in (("pgledger", False), ("pgledger_hot", True)):
            sides[name] = lambda hot=hot: pgledger.rate(  # type: ignore[misc]
                scratch, accounts, hot=hot, seconds=self._seconds
            )
        checks.append(lambda: pgledger.check(scratch))

    def _add_lnbits(self, sides: dict[str, Side], stack: contextlib.ExitStack) -> None:
        python = self._asked.lnbits_python
        if python is None:
            print("  LNbits: skipped, no --lnbits PYTHON", file=sys.stderr)
            return
        server = stack.enter_context(
            lnbits.serving(
                python, self._cluster.create(bare=True), self._home, transfers.free_port()
            )
        )

        async def side() -> float:
            load = await lnbits.load(server, connections=CONNECTIONS, seconds=self._seconds)
            self._samples.p99_ms.setdefault("lnbits", []).append(load.p99_ms)
            return load.per_second

        sides["lnbits"] = side


def signed(
    principals: list[str], tokens: list[str], *, hot: bool = False
) -> Callable[[int], bytes]:
    """Real requests: each connection its own payer; payees at random, or all the last person."""
    chance, run, numbers = random.Random(1), uuid.uuid4().hex, itertools.count()

    def make(connection: int) -> bytes:
        payee = principals[-1] if hot else chance.choice(principals[MANY:])
        return http_load.request(
            "/v1/transfers",
            orjson.dumps({"to": payee, "money": {"amount": "0.01", "asset": "EUR"}}),
            {
                "Authorization": f"Bearer {tokens[connection]}",
                "Idempotency-Key": f"{run}-{next(numbers)}",
            },
        )

    return make


def _body_only(principals: list[str]) -> Callable[[int], bytes]:
    body = orjson.dumps({"to": principals[-1], "money": {"amount": "0.01", "asset": "EUR"}})
    return lambda _connection: http_load.request("/v1/transfers", body, {})


def _unsigned() -> Callable[[int], bytes]:
    chance = random.Random(1)

    def make(connection: int) -> bytes:
        body = {
            "payer": f"owner{connection}",
            "to": f"owner{chance.randrange(CONNECTIONS, database.CUSTOMERS)}",
            "money": {"amount": "0.01", "asset": "EUR"},
        }
        return http_load.request("/v1/transfers", orjson.dumps(body), {})

    return make


def _prototype_books(scratch: ScratchDatabase) -> str:
    """Its tables and as many funded accounts as ours; the URL to it."""
    engine = create_engine(scratch.owner_url)
    with engine.begin() as connection:
        for table in prototype.TABLES:
            table.create(connection)
        connection.execute(
            prototype.TABLES[0].insert(),
            [
                {"id": f"acc{n:05}", "owner": f"owner{n}", "asset": "EUR", "balance_minor": 10**12}
                for n in range(database.CUSTOMERS)
            ],
        )
    engine.dispose()
    return scratch.owner_url


def _whole(scratch: ScratchDatabase) -> None:
    with psycopg.connect(scratch.conninfo("bifold_audit"), autocommit=True) as audit:
        off = audit.execute(
            "SELECT asset, sum(balance_minor) FROM account_balances GROUP BY asset"
            " HAVING sum(balance_minor) <> 0"
        ).fetchall()
    if off:
        raise RuntimeError(f"the books are off: {off}")


GOALS = (  # numerator, denominator, at least
    ("api", "orm", 12.0),
    ("api", "lnbits", 100.0),
    ("api", "hello", 0.5),
    ("api_c256", "pgbench", 0.8),
    ("api_hot", "pgledger_hot", 15.0),
    ("api_hot", "api", 0.9),
    ("batched", "pgledger", 9.0),
    ("batched_hot", "pgledger_hot", 50.0),
    ("batched", "one_call", 3.0),
    ("batched_grown", "batched", 0.9),
)


def _summary(samples: Samples, asked: Contenders, postings: int) -> dict[str, Any]:
    rates = samples.rates
    ratios: dict[str, Any] = {}
    for upper, lower, goal in GOALS:
        if upper in rates and lower in rates:
            name = f"{upper} / {lower}"
            ratios.update(of(name, rates[upper], rates[lower]))
            ratios[f"{name}, goal"] = goal
    if "lnbits" in rates:
        name = "lnbits p99 / api p99"
        ratios.update(of(name, samples.p99_ms["lnbits"], samples.p99_ms["api"]))
        ratios[f"{name}, goal"] = 20.0
    return {
        **{
            f"{name} (a second)": round(statistics.median(values), 1)
            for name, values in rates.items()
        },
        **ratios,
        "p99 ms": _medians(samples.p99_ms, 1),
        "server CPU, µs a request": _medians(samples.cpu_us, 0),
        "load generator, share of a core": _medians(samples.generator, 2),
        "grown books, postings": postings,
        "left out": [
            name
            for name, given in (
                ("pgledger", asked.pgledger_sql),
                ("lnbits", asked.lnbits_python),
            )
            if given is None
        ],
        "rounds": {name: [round(value, 1) for value in values] for name, values in rates.items()},
    }


def _medians(values: dict[str, list[float]], digits: int) -> dict[str, float]:
    return {name: round(statistics.median(each), digits) for name, each in values.items()}
