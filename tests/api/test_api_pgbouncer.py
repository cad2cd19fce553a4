"""Two API processes behind PgBouncer in transaction mode, a worker beside it: exact as ever."""

from __future__ import annotations

import asyncio
import configparser
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import orjson
import psycopg
import pytest
from sqlalchemy import text

from chain.registry import dump_networks
from chain.testing.fake_node import FakeNode
from tests.api.conftest import PASSWORD, build_services, local_network, public_keys
from wallet import identity, ledger, payouts, topups, worker
from wallet.bootstrap import Services
from wallet.payouts import SimulatedBank
from wallet.processes import Identity
from wallet.testing.databases import ScratchDatabase
from wallet.testing.exchange import ExchangeBed
from wallet.testing.pace import patience

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "deploy" / "pgbouncer.ini"
PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
PEOPLE, TRANSFERS, POOL = 6, 120, 4
START_MINOR = 100_000


@dataclass
class Bouncer:
    """Where clients connect, as SQLAlchemy's URL and as libpq's words."""

    url: str
    admin: str


@contextmanager
def running_bouncer(database: ScratchDatabase) -> Iterator[Bouncer]:
    """The sample's settings over this database, run as PostgreSQL is: it too refuses to be root."""
    assert PROGRAM is not None
    who = Identity.choose(database.server.data_dir.parent)
    home = Path(tempfile.mkdtemp(prefix="bifold-pgb-", dir="/tmp"))  # a socket's path is short
    parts = configparser.ConfigParser(interpolation=None)
    parts.read(SAMPLE, encoding="utf-8")
    line = parts["databases"]["bifold"].replace("host=127.0.0.1 port=5432 dbname=bifold", "")
    place = f"host={database.server.socket_dir} dbname={database.name}"
    parts["databases"] = {database.name: place + line}
    parts["pgbouncer"].update({
        "listen_addr": "", "unix_socket_dir": str(home), "auth_type": "trust",
        "auth_file": str(home / "users"), "admin_users": "bifold_owner",
        "default_pool_size": str(POOL), "logfile": str(home / "log"),
    })  # fmt: skip
    with (home / "ini").open("w", encoding="utf-8") as target:
        parts.write(target)
    (home / "users").write_text('"bifold_app" ""\n"bifold_owner" ""\n', encoding="utf-8")
    if who.uid is not None:
        for path in (home, *home.iterdir()):
            os.chown(path, who.uid, who.gid or 0)
    process = subprocess.Popen(
        [*who.prefix, PROGRAM, "-q", str(home / "ini")], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, user=who.uid, group=who.gid,
    )  # fmt: skip
    try:
        until = time.monotonic() + patience(10)
        while not (home / ".s.PGSQL.6432").exists():
            assert process.poll() is None and time.monotonic() < until, (
                (home / "log").read_text() if (home / "log").exists() else "it did not start"
            )
            time.sleep(0.05)
        where = f"host={quote(str(home))}&port=6432"
        yield Bouncer(
            f"postgresql+psycopg://bifold_app@/{database.name}?{where}",
            f"host={home} port=6432 user=bifold_owner dbname=pgbouncer",
        )
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running_apis(home: Path, *, url: str, direct: str, count: int) -> Iterator[list[str]]:
    """Real processes; yields their addresses."""
    house = public_keys()
    public = {"deposit_xpub": house.deposit_xpub, "fingerprint": house.fingerprint, "hot": []}
    (home / "keys.json").write_bytes(orjson.dumps(public))
    dump_networks(home / "networks.toml", {"local": local_network()})
    started: list[subprocess.Popen[bytes]] = []
    bases = []
    with (home / "log").open("wb") as output:
        try:
            for _ in range(count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", 0))
                    port = probe.getsockname()[1]
                environment = {
                    **os.environ, "PYTHONPATH": str(ROOT), "BIFOLD_MODE": "sandbox",
                    "BIFOLD_DATABASE_URL": url, "BIFOLD_DATABASE_DIRECT_URL": direct,
                    "BIFOLD_HOST": "127.0.0.1", "BIFOLD_PORT": str(port),
                    "BIFOLD_DATA_DIR": str(home), "BIFOLD_LOG_LEVEL": "WARNING",
                }  # fmt: skip
                started.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "api.server"], cwd=ROOT, env=environment,
                        stdout=output, stderr=output,
                    )
                )  # fmt: skip
                bases.append(f"http://127.0.0.1:{port}")
            for process, base in zip(started, bases, strict=True):
                _wait(process, base, home / "log")
            yield bases
        finally:
            for process in started:
                process.terminate()
            for process in started:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                if process.poll() is None:
                    process.kill()
                    process.wait()


def _wait(process: subprocess.Popen[bytes], base: str, log: Path) -> None:
    until = time.monotonic() + patience(60)
    while time.monotonic() < until and process.poll() is None:
        with suppress(httpx2.HTTPError):
            if httpx2.get(f"{base}/healthz", timeout=2).status_code < 500:
                return
        time.sleep(0.1)
    raise AssertionError(f"an API did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture
async def direct(database: ScratchDatabase) -> AsyncIterator[Services]:
    """The worker's services: straight to the server."""
    services = build_services(database.app_url, FakeNode())
    bed = ExchangeBed(services.db, services.assets)
    await bed.table_rates()
    await payouts.seed_house(
        services.db, SimulatedBank(services.db), services.assets, topups.IncomingTransfers()
    )
    yield services
    await services.aclose()


async def _people(services: Services) -> list[tuple[str, str]]:
    """Id and token of each, with money."""
    bed = ExchangeBed(services.db, services.assets)
    found = []
    for number in range(PEOPLE):
        async with services.db.transaction() as session:
            user = await identity.register(
                session, email=f"b{number}@example.org", password=PASSWORD,
                display_name=f"Person {number}", country="DE", sandbox=True,
            )  # fmt: skip
            opened = await identity.open_session(session, principal_id=user.id, kind="api")
        assert opened.token is not None
        await bed.give(user.id, f"{START_MINOR // 100}.00", "EUR")
        found.append((user.id, opened.token))
    return found


async def _move(http: httpx2.AsyncClient, bases: list[str], people: Any, number: int) -> set[str]:
    """One transfer, asked of both processes at once under one key. Answers the ids they told."""
    payer, payee = people[number % PEOPLE], people[(number * 5 + 1) % PEOPLE]
    if payer is payee:
        payee = people[(number + 1) % PEOPLE]
    body = {"to": payee[0], "money": {"amount": f"0.{number % 89 + 10}", "asset": "EUR"}}
    headers = {"Authorization": f"Bearer {payer[1]}", "Idempotency-Key": f"bounced-{number}"}
    answers = await asyncio.gather(
        *(http.post(f"{base}/v1/transfers", json=body, headers=headers) for base in bases)
    )
    assert [answer.status_code for answer in answers] == [201, 201], [a.text for a in answers]
    read = await http.get(f"{bases[number % 2]}/v1/balances", headers=headers)
    assert read.status_code == 200, read.text
    return {answer.json()["id"] for answer in answers}


async def _hold(http: httpx2.AsyncClient, bases: list[str], people: Any, number: int) -> None:
    """Made at one process, taken in part at the other, the rest given back at the first."""
    payer, payee = people[number % PEOPLE], people[(number + 1) % PEOPLE]

    async def ask(base: str, path: str, who: Any, body: object, key: str) -> Any:
        headers = {"Authorization": f"Bearer {who[1]}", "Idempotency-Key": f"{key}-{number}"}
        answer = await http.post(f"{base}{path}", json=body, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    money = {"amount": "2.00", "asset": "EUR"}
    made = await ask(
        bases[0], "/v1/holds", payer, {"to": payee[0], "money": money, "expires_in_seconds": 600},
        "make",
    )  # fmt: skip
    path = f"/v1/holds/{made['id']}"
    part = {"money": {"amount": "0.50", "asset": "EUR"}}
    await ask(bases[1], f"{path}/capture", payee, part, "take")
    ended = await ask(bases[0], f"{path}/void", payer, None, "void")
    assert ended["status"] == "voided"


@pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")
async def test_concurrent_money_is_exact_through_a_pooler(
    database: ScratchDatabase, direct: Services, tmp_path: Path
) -> None:
    people = await _people(direct)
    working = asyncio.create_task(worker.run(direct))
    try:
        with (
            running_bouncer(database) as bouncer,
            running_apis(tmp_path, url=bouncer.url, direct=database.app_url, count=2) as bases,
        ):
            async with httpx2.AsyncClient(timeout=patience(60)) as http:
                told = await asyncio.gather(
                    *(_move(http, bases, people, number) for number in range(TRANSFERS)),
                    *(_hold(http, bases, people, number) for number in range(PEOPLE)),
                )
            ids = [one for one in told if one is not None]
            assert all(len(one) == 1 for one in ids)  # both processes told the same transfer
            assert len(set().union(*ids)) == TRANSFERS
            servers, clients = _pool(bouncer, database.name)
            assert 1 <= servers <= POOL < clients
            await _published(direct, working)
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
    await _whole(direct, people)


def _pool(bouncer: Bouncer, name: str) -> tuple[int, int]:
    """Connections to the server, and those of clients that share them."""
    with psycopg.connect(bouncer.admin, autocommit=True) as admin:
        admin.prepare_threshold = None
        servers = psycopg.ClientCursor(admin).execute("SHOW SERVERS").fetchall()
        clients = psycopg.ClientCursor(admin).execute("SHOW CLIENTS").fetchall()
    return sum(name in row for row in servers), sum(name in row for row in clients)


async def _published(services: Services, working: asyncio.Task[None]) -> None:
    """The worker, beside the pooler, has relayed what both processes promised."""
    until = time.monotonic() + patience(30)
    while True:
        assert not working.done(), working.exception()
        async with services.db.transaction() as session:
            left = await session.scalar(text("SELECT count(*) FROM outbox"))
            told = await session.scalar(
                text("SELECT count(*) FROM events WHERE type LIKE 'transfer.%'")
            )
        if left == 0 and told == 2 * TRANSFERS:
            return
        assert time.monotonic() < until, (left, told)
        await asyncio.sleep(0.2)


async def _whole(services: Services, people: list[tuple[str, str]]) -> None:
    async with services.db.transaction() as session:
        assert set((await ledger.trial_balance(session)).values()) == {0}
        rows = await session.execute(text("SELECT payer_id, payee_id, amount_minor FROM transfers"))
        moves = [(row.payer_id, row.payee_id, int(row.amount_minor)) for row in rows]
        assert len(moves) == TRANSFERS
        for number, (person, _token) in enumerate(people):
            expected = START_MINOR - 50 + 50  # every one paid one hold's part and took another's
            expected -= sum(minor for payer, _, minor in moves if payer == person)
            expected += sum(minor for _, payee, minor in moves if payee == person)
            (held,) = await ledger.balances(session, principal_id=person)
            assert (held.total_minor, held.held_minor) == (expected, 0), number
