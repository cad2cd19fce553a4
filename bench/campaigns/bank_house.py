"""A bank to set fire to: durable PostgreSQL, people with money, `bifold serve` processes to kill.

Everything is on loopback and in temporary folders, and ends with the `with` block.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import orjson
import psycopg

from chain.registry import Network, dump_networks
from keys.derivation import DEPOSIT_ACCOUNT, account_xpub, fingerprint
from keys.mnemonic import to_seed
from keys.secret import SecretText
from wallet import identity
from wallet.db import Database
from wallet.ids import new_id
from wallet.migrate import upgrade
from wallet.processes import die_with_parent
from wallet.sandbox.environment import bifold
from wallet.testing.databases import ScratchCluster, ScratchDatabase

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
# The world's best known phrase: worth nothing, on purpose.
PHRASE = SecretText("test test test test test test test test test test test junk")

ASSETS: dict[str, int] = {"EUR": 2, "JPY": 0, "ETH": 18}
"""Code → decimals: cents, whole yen and wei, so that every width of amount is there."""


@dataclass
class Server:
    """One `bifold serve` on a port of its own; the port stays the same over its deaths."""

    port: int
    environment: dict[str, str]
    output: IO[bytes]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Launch it without waiting. Call on the main thread: the child dies with that thread."""
        self.process = subprocess.Popen(
            [*bifold("serve")],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )

    async def wait(self) -> None:
        """Until it takes connections. Raises RuntimeError when it ends or takes too long."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process is None or self.process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            await asyncio.sleep(0.05)
        raise RuntimeError("a server did not start")

    def kill(self) -> None:
        """`kill -9`."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass
class Bank:
    """People, their tokens and what each began with: (person, asset) → minor units."""

    cluster: ScratchCluster
    database: ScratchDatabase
    servers: list[Server]
    people: list[str]
    tokens: dict[str, str]
    accounts: dict[tuple[str, str], str]
    began: dict[tuple[str, str], int] = field(default_factory=dict)

    async def kill_database(self, kind: str) -> float:
        """Kill it as `kind` says and wait until it answers again; the seconds that took.

        `whole`: postmaster and every child; `postmaster`: its children find out by themselves;
        `backend`: one child, after which the postmaster throws the others out and recovers.
        """
        server = self.cluster.server
        assert server.process is not None
        began = time.monotonic()
        if kind == "backend":
            os.kill(await asyncio.to_thread(self._some_backend), signal.SIGKILL)
        else:
            victims = children_of(server.process.pid) if kind == "whole" else []
            server.process.kill()
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            server.process.wait()
            await asyncio.to_thread(server.prepare)
            server.launch()  # on this thread, which lives as long as it should
            await asyncio.to_thread(server.wait_ready)
        await asyncio.to_thread(self._until_it_answers)
        return time.monotonic() - began

    def _some_backend(self) -> int:
        """A backend that serves the API, asked for by name."""
        with psycopg.connect(self.database.conninfo("bifold_owner"), autocommit=True) as asking:
            rows = asking.execute(
                "SELECT pid FROM pg_stat_activity WHERE usename = 'bifold_app' ORDER BY pid"
            ).fetchall()
        if not rows:
            raise RuntimeError("no backend serves the API")
        pid: int = rows[0][0]
        return pid

    def _until_it_answers(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            try:
                with psycopg.connect(self.database.conninfo("bifold_audit")) as asking:
                    asking.execute("SELECT 1")
                return
            except psycopg.Error:
                time.sleep(0.02)
        raise RuntimeError("the database did not come back")

    async def restart_servers(self, *, by_kill: bool) -> None:
        """All of them, one after the other, and wait until they listen."""
        for server in self.servers:
            if by_kill:
                server.kill()
            else:
                await asyncio.to_thread(server.stop)
            server.start()
        for server in self.servers:
            await server.wait()


def children_of(parent: int) -> list[int]:
    """Process ids of the live children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


@contextlib.contextmanager
def opened(
    *,
    people: int,
    seed: int,
    servers: int = 2,
    most_major: int = 200,
    shared: ScratchCluster | None = None,
) -> Iterator[Bank]:
    """A bank of `people` × `ASSETS` accounts, each with up to `most_major` units, and its servers.

    Little money on purpose: some payments must be refused for the lack of it. `shared`: a durable
    cluster that exists already; it is left running.
    """
    cluster = shared or ScratchCluster(durable=True, migrate=upgrade)
    try:
        database = cluster.create()
        bank = _settle(cluster, database, people, random.Random(seed), most_major)
        bank.tokens = asyncio.run(_sign_in(database, bank.people))
        with tempfile.TemporaryDirectory(prefix="bifold-bank-") as folder:
            home = Path(folder)
            with (home / "log").open("wb") as output, _serving(bank, home, servers, output):
                try:
                    for server in bank.servers:
                        asyncio.run(server.wait())
                    yield bank
                except BaseException:
                    print((home / "log").read_text(errors="replace")[-4000:], file=sys.stderr)
                    raise
        if shared is not None:
            cluster.drop(database)
    finally:
        if shared is None:
            cluster.close()


@contextlib.contextmanager
def _serving(bank: Bank, home: Path, count: int, output: IO[bytes]) -> Iterator[None]:
    xpub = account_xpub(to_seed(PHRASE), DEPOSIT_ACCOUNT)
    public = {"deposit_xpub": xpub, "fingerprint": fingerprint(xpub), "hot": []}
    (home / "keys.json").write_bytes(orjson.dumps(public))
    dump_networks(home / "networks.toml", {"local": _network()})
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BIFOLD_")}
    for _ in range(count):
        port = _free_port()
        environment = kept | {
            "PYTHONPATH": str(ROOT),
            "BIFOLD_MODE": "sandbox",
            "BIFOLD_DATABASE_URL": bank.database.app_url,
            "BIFOLD_HOST": "127.0.0.1",
            "BIFOLD_PORT": str(port),
            "BIFOLD_ADMIN_PORT": str(_free_port()),
            "BIFOLD_DATA_DIR": str(home),
            "BIFOLD_LOG_LEVEL": "CRITICAL",
        }
        bank.servers.append(Server(port, environment, output))
    try:
        for server in bank.servers:
            server.start()
        yield
    finally:
        for server in bank.servers:
            server.stop()


def _settle(
    cluster: ScratchCluster,
    database: ScratchDatabase,
    people: int,
    chance: random.Random,
    most_major: int,
) -> Bank:
    """Principals, accounts and money from the house's capital, by `ledger_post` as ever."""
    bank = Bank(cluster, database, [], [new_id("usr") for _ in range(people)], {}, {})
    rows, commands = [], []
    for asset, scale in ASSETS.items():
        rows.append((f"cap_{asset}", f"house:capital:{asset}", None, asset, "system"))
        for person in bank.people:
            account = bank.accounts[person, asset] = new_id("acc")
            amount = bank.began[person, asset] = chance.randint(1, most_major * 10**scale)
            rows.append((account, f"customer:{person}:{asset}", person, asset, "customer"))
            commands.append(
                {
                    "entry": {"id": new_id("ent"), "kind": "deposit", "ref": "bank"},
                    "postings": [
                        {"account": f"cap_{asset}", "asset": asset, "amount": str(-amount)},
                        {"account": account, "asset": asset, "amount": str(amount)},
                    ],
                }
            )
    with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as connection:
        cursor = connection.cursor()
        cursor.executemany(
            "INSERT INTO principals (id, kind) VALUES (%s, 'user')", [(p,) for p in bank.people]
        )
        cursor.executemany(
            "INSERT INTO users (id, handle, email, email_key, email_verified_at, password_hash,"
            " display_name, country, kyc_tier) VALUES (%s, %s, %s, %s, now(), '!', %s, 'DE',"
            " 'sandbox')",
            [
                (p, f"bank_{n}", f"p{n}@example.com", f"p{n}@example.com", f"Person {n}")
                for n, p in enumerate(bank.people)
            ],
        )
        cursor.executemany(
            "INSERT INTO accounts (id, path, principal_id, asset, kind, side)"
            " VALUES (%s, %s, %s, %s, %s, 'C')",
            rows,
        )
        cursor.execute(
            "SELECT count(*) FROM ledger_post(%s::jsonb) WHERE code IS NOT NULL",
            (orjson.dumps(commands).decode(),),
        )
        if cursor.fetchone() != (0,):
            raise RuntimeError("the customers could not be funded")
        cursor.execute("ANALYZE")
    return bank


async def _sign_in(database: ScratchDatabase, people: list[str]) -> dict[str, str]:
    db = Database(database.owner_url)
    tokens = {}
    try:
        async with db.transaction() as session:
            for person in people:
                made = await identity.open_session(session, principal_id=person, kind="api")
                if made.token is None:
                    raise RuntimeError("a new session has a token")
                tokens[person] = made.token
    finally:
        await db.dispose()
    return tokens


def _network() -> Network:
    """A chain that nobody asks: it only lists its coin."""
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
