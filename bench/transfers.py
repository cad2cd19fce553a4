"""Internal transfer over HTTP: the real API with a durable PostgreSQL, against two floors.

Rounds alternate between the FastAPI hello floor, the real `POST /v1/transfers` (signed in,
idempotent, recorded) and the database's own rate of one `ledger_post` a commit, so that the ratios
hold although the machine's speed wanders. Everything stays on loopback and ends by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psycopg

from bench import database, http_load
from chain.registry import Network, dump_networks
from keys.derivation import DEPOSIT_ACCOUNT, account_xpub, fingerprint
from keys.mnemonic import to_seed
from keys.secret import SecretText
from wallet import identity
from wallet.db import Database
from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster, ScratchDatabase

CONNECTIONS = 32
START_SECONDS = 60.0
ROOT = Path(__file__).parents[1]
# The world's best known phrase: worth nothing, on purpose.
PHRASE = SecretText("test test test test test test test test test test test junk")


def measure(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Medians, ratios and every round."""
    cluster = ScratchCluster(durable=True, migrate=upgrade)
    try:
        scratch = cluster.create()
        people = database.prepare(scratch)
        tokens = asyncio.run(sign_in(scratch, [person for person, _ in people]))
        with (
            tempfile.TemporaryDirectory(prefix="bifold-bench-") as home,
            servers(scratch, Path(home)) as (hello, api),
        ):
            samples = asyncio.run(
                _rounds(scratch, people, tokens, hello.port, api.port, rounds, seconds)
            )
        check(scratch)
    finally:
        cluster.close()
    return _summary(samples)


async def _rounds(
    scratch: ScratchDatabase,
    people: list[tuple[str, str]],
    tokens: list[str],
    hello_port: int,
    api_port: int,
    rounds: int,
    seconds: float,
) -> dict[str, list[Any]]:
    principals = [person for person, _ in people]
    accounts = [account for _, account in people]
    make = _requests(principals, tokens)
    await http_load.load(api_port, make, connections=CONNECTIONS, seconds=min(2.0, seconds))
    samples: dict[str, list[Any]] = {"hello": [], "api": [], "database": []}
    for _ in range(rounds):
        samples["hello"].append(
            await http_load.load(hello_port, make, connections=CONNECTIONS, seconds=seconds)
        )
        samples["api"].append(
            await http_load.load(api_port, make, connections=CONNECTIONS, seconds=seconds)
        )
        samples["database"].append(
            await database.rate(
                scratch.conninfo("bifold_app"), accounts, database.by_poster, seconds
            )
        )
    return samples


def _requests(principals: list[str], tokens: list[str]) -> Callable[[int], bytes]:
    """The next transfer of a connection's own payer, to a random payee, with a fresh key."""
    chance = random.Random(1)
    run = uuid.uuid4().hex
    numbers = itertools.count()

    def make(connection: int) -> bytes:
        payee = chance.choice(principals[CONNECTIONS:])
        body = orjson.dumps({"to": payee, "money": {"amount": "0.01", "asset": "EUR"}})
        return http_load.request(
            "/v1/transfers",
            body,
            {
                "Authorization": f"Bearer {tokens[connection]}",
                "Idempotency-Key": f"{run}-{next(numbers)}",
            },
        )

    return make


def _summary(samples: dict[str, list[Any]]) -> dict[str, Any]:
    hello = statistics.median(load.per_second for load in samples["hello"])
    api = statistics.median(load.per_second for load in samples["api"])
    one_call = statistics.median(samples["database"])
    return {
        "connections": CONNECTIONS,
        "api_per_second": round(api),
        "api_p50_ms": round(statistics.median(load.p50_ms for load in samples["api"]), 1),
        "api_p99_ms": round(statistics.median(load.p99_ms for load in samples["api"]), 1),
        "hello_per_second": round(hello),
        "database_one_call_per_second": round(one_call),
        "api_over_hello": round(api / hello, 3),
        "api_over_database": round(api / one_call, 3),
        "generator_cpu_share": {
            name: round(statistics.median(load.generator_cpu for load in samples[name]), 2)
            for name in ("hello", "api")
        },
        "rounds": {
            "hello": [round(load.per_second) for load in samples["hello"]],
            "api": [round(load.per_second) for load in samples["api"]],
            "database": [round(value) for value in samples["database"]],
        },
    }


async def sign_in(
    scratch: ScratchDatabase, principals: list[str], *, count: int = CONNECTIONS
) -> list[str]:
    """Make every principal a person, and a session for each of the first `count`."""
    db = Database(scratch.owner_url)
    with psycopg.connect(scratch.conninfo("bifold_owner"), autocommit=True) as connection:
        connection.cursor().executemany(
            "INSERT INTO users (id, handle, email, email_key, email_verified_at, password_hash,"
            " display_name, country, kyc_tier) VALUES (%s, %s, %s, %s, now(), '!', %s, 'DE',"
            " 'sandbox')",
            [
                (p, f"bench_{n}", f"b{n}@example.com", f"b{n}@example.com", f"Person {n}")
                for n, p in enumerate(principals)
            ],
        )
        connection.execute("ANALYZE")
    tokens = []
    async with db.transaction() as session:
        for principal in principals[:count]:
            made = await identity.open_session(session, principal_id=principal, kind="api")
            if made.token is None:
                raise RuntimeError("a new session has a token")
            tokens.append(made.token)
    await db.dispose()
    return tokens


@dataclass(frozen=True)
class Served:
    """One running server."""

    pid: int
    port: int


@contextmanager
def servers(
    scratch: ScratchDatabase, home: Path, *, prototype_url: str | None = None
) -> Iterator[list[Served]]:
    """The hello floor, the real API and, where a database is named, the prototype: one process
    each, in this order."""
    seed = to_seed(PHRASE)
    xpub = account_xpub(seed, DEPOSIT_ACCOUNT)
    public = {"deposit_xpub": xpub, "fingerprint": fingerprint(xpub), "hot": []}
    (home / "keys.json").write_bytes(orjson.dumps(public))
    dump_networks(home / "networks.toml", {"local": _network()})
    ports = [free_port() for _ in range(3)]
    modules = [("bench.hello", str(ports[0])), ("api.server",)]
    if prototype_url is not None:
        modules.append(("bench.prototype", str(ports[2]), prototype_url))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BIFOLD_MODE": "sandbox",
        "BIFOLD_DATABASE_URL": scratch.app_url,
        "BIFOLD_HOST": "127.0.0.1",
        "BIFOLD_PORT": str(ports[1]),
        "BIFOLD_DATA_DIR": str(home),
        "BIFOLD_LOG_LEVEL": "WARNING",
    }
    with (home / "log").open("wb") as output:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", *module], cwd=ROOT, env=environment, stdout=output,
                stderr=output,
            )
            for module in modules
        ]  # fmt: skip
        try:
            served = []
            for process, port in zip(started, ports, strict=False):
                _wait(process, port, home / "log")
                served.append(Served(process.pid, port))
            yield served
        finally:
            for process in started:
                process.terminate()
            for process in started:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _network() -> Network:
    """A chain that nobody asks: transfers inside the wallet need none."""
    return Network(
        name="local",
        chain_id=31337,
        rpc_urls=("http://127.0.0.1:1",),
        native_asset="ETH",
        block_time_ms=1000,
        confirmations=8,
        finality="depth",
        logs_window=1000,
        min_tip_wei=10**9,
        max_fee_wei=500 * 10**9,
        bump_percent=20,
    )


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"a server did not start:\n{log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check(scratch: ScratchDatabase) -> None:
    """A figure counts only when the books are whole after it."""
    with psycopg.connect(scratch.conninfo("bifold_audit"), autocommit=True) as audit:
        off = audit.execute(
            "SELECT asset, sum(balance_minor) FROM account_balances GROUP BY asset"
            " HAVING sum(balance_minor) <> 0"
        ).fetchall()
        lost = audit.execute(
            "SELECT (SELECT count(*) FROM transfers) - (SELECT count(*) FROM idempotency_answers)"
        ).fetchone()
    if off or lost != (0,):
        raise RuntimeError(f"the books are off: {off} {lost}")
