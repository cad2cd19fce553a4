"""Reads of a short and of a long history: CPU of the server for a call, and whether it grows.

Two people in one durable database, one with `SHORT` postings, one with `LONG`, made by the real
poster. The real app answers in this process, called by its own protocol, so that what is counted is
the server's work and no client's: this process's CPU, and beside it that of PostgreSQL. Sides take
turns; a ratio is long / short inside one round.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import psycopg
import uvloop
from fastapi import FastAPI

from api.app import create_app
from bench import ratios
from bench.ratios import cpu_seconds
from chain.registry import Network, dump_networks
from keys.derivation import DEPOSIT_ACCOUNT, account_xpub, fingerprint
from keys.mnemonic import to_seed
from keys.secret import SecretText
from wallet import identity, ledger
from wallet import log as logs
from wallet.bootstrap import Services, build
from wallet.clock import rfc3339
from wallet.db import Database
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.migrate import upgrade
from wallet.settings import Settings
from wallet.testing.databases import ScratchCluster, ScratchDatabase

SHORT, LONG = 1_000, 100_000
PAGE = 50
CALLS = 20  # of one read, one side, one round
BATCH = 100
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
# The world's best known phrase: worth nothing, on purpose.
PHRASE = SecretText("test test test test test test test test test test test junk")

HELLO = FastAPI()


@HELLO.get("/")
async def hello() -> dict[str, str]:
    """What FastAPI itself costs for an answer, on this machine now."""
    return {"amount": "12.34", "asset": "EUR"}


Read = Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class Reader:
    """Somebody signed in, with their history."""

    id: str
    account: str
    token: str
    postings: int
    written: list[datetime] = field(default_factory=list)


def measure(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of CPU a call, and long / short of each round. `seconds` is not used."""
    cluster = ScratchCluster(durable=True, migrate=upgrade)
    try:
        scratch = cluster.create()
        with tempfile.TemporaryDirectory(prefix="bifold-bench-") as home:
            logs.configure("WARNING")  # as a service that is not being looked into
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_measure(scratch, Path(home), rounds))
    finally:
        cluster.close()


async def _measure(scratch: ScratchDatabase, home: Path, rounds: int) -> dict[str, Any]:
    services = _services(scratch, home)
    try:
        readers = [
            await _reader(services.db, scratch, n, size) for n, size in enumerate((SHORT, LONG))
        ]
        with psycopg.connect(scratch.conninfo("bifold_owner"), autocommit=True) as owner:
            owner.execute("VACUUM ANALYZE")
        app = create_app(services)
        reads = [await _reads(app, services.db, one) for one in readers]
        taken: dict[str, dict[str, list[float]]] = {name: {} for name in reads[0]}
        for turn in range(rounds + 1):
            for name in reads[0]:
                for size, side in zip((SHORT, LONG), reads, strict=True):
                    await _take(taken[name], size, side[name], keep=turn > 0)
        return _figures(taken)
    finally:
        await services.aclose()


async def _take(taken: dict[str, list[float]], size: int, read: Read, *, keep: bool) -> None:
    """CPU of one call, out of `CALLS`: here and in PostgreSQL. The first round only warms up."""
    backends = _backends()
    database = sum(map(cpu_seconds, backends))
    here = time.process_time()
    for _ in range(CALLS):
        await read()
    here = time.process_time() - here
    database = sum(map(cpu_seconds, backends)) - database
    if keep:
        taken.setdefault(f"server {size}", []).append(here / CALLS * 1000)
        taken.setdefault(f"database {size}", []).append(database / CALLS * 1000)


def _figures(taken: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    floor = taken["hello (the floor)"]
    figures: dict[str, Any] = {}
    for name, sides in taken.items():
        for place in ("server", "database"):
            short, long = sides[f"{place} {SHORT}"], sides[f"{place} {LONG}"]
            figures[f"{name}, {place} CPU at {SHORT:,} (ms)"] = ratios.rounded(short)
            figures[f"{name}, {place} CPU at {LONG:,} (ms)"] = ratios.rounded(long)
            if name != "hello (the floor)":
                figures |= ratios.of(f"{name}, {place} CPU, {LONG:,} / {SHORT:,}", long, short)
        if name != "hello (the floor)":
            figures |= ratios.of(
                f"{name}, server CPU / hello's", sides[f"server {LONG}"], floor[f"server {LONG}"]
            )
    return figures


async def _reads(app: Any, db: Database, one: Reader) -> dict[str, Read]:
    """Every read, each of a fixed page of this person's history. Checks what they answer."""
    account = accounts.customer(one.id, "EUR")
    old, middle = one.postings // 50, one.postings // 2

    def call(path: str, **query: object) -> Read:
        return lambda: _get(app, one.token, path, query)

    def period(seq: int) -> dict[str, str]:
        since, until = one.written[seq], one.written[seq + PAGE]
        return {"asset": "EUR", "from": since.isoformat(), "to": until.isoformat()}

    deep = await _cursor_behind(app, one, middle)
    reads = {
        "hello (the floor)": lambda: _get(HELLO, "", "/", {}),
        "balances": call("/v1/balances"),
        "activity, first page": call("/v1/activity", limit=PAGE),
        "activity, page in the middle": call("/v1/activity", limit=PAGE, cursor=deep),
        "activity, one kind": call("/v1/activity", limit=PAGE, kind="transfer"),
        "statement of 50 lines, old": call("/v1/statements", **period(old)),
        "statement of 50 lines, new": call("/v1/statements", **period(one.postings - PAGE - 1)),
    }
    for name, read in reads.items():
        answer = await read()
        rows = answer.get("data", answer.get("lines"))
        assert rows is None or name == "balances" or len(rows) == PAGE, (name, len(rows))

    async def past() -> None:
        async with db.snapshot() as session:
            assert await ledger.balance_at(session, account, one.written[old]) > 0

    return {**reads, "balance at a past moment": past}


async def _cursor_behind(app: Any, one: Reader, lines: int) -> str:
    """The cursor of the row that so many newer ones stand before."""
    until = BEGAN + timedelta(seconds=one.postings - lines)
    page = await _get(app, one.token, "/v1/activity", {"limit": 1, "to": rfc3339(until)})
    cursor: str = page["next_cursor"]
    return cursor


async def _get(app: Any, token: str, path: str, query: dict[str, object]) -> Any:
    """One request by the server's own protocol, without a client."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": urlencode(query).encode(), "server": ("localhost", 8000),
        "client": ("127.0.0.1", 1), "state": {}, "extensions": {},
        "headers": [(b"host", b"localhost:8000"), (b"authorization", f"Bearer {token}".encode())],
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    if sent[0]["status"] != 200:
        raise RuntimeError(f"{path}: {sent[0]['status']} {body.decode()}")
    return orjson.loads(body)


async def _reader(db: Database, scratch: ScratchDatabase, number: int, size: int) -> Reader:
    """A person and a counterparty, and `size` postings between them by the poster."""
    async with db.transaction() as session:
        people = [
            await identity.register(
                session, email=f"bench{number}{side}@example.org", password="an unlikely phrase 7",
                display_name=f"Reader {number}{side}", country="DE", sandbox=True,
            )
            for side in "ab"
        ]  # fmt: skip
        opened = await identity.open_session(session, principal_id=people[0].id, kind="api")
    assert opened.token is not None
    mine, theirs = new_id("acc"), new_id("acc")
    with psycopg.connect(scratch.conninfo("bifold_owner"), autocommit=True) as owner:
        for account, person in ((mine, people[0]), (theirs, people[1])):
            owner.execute(
                "INSERT INTO accounts (id, path, principal_id, asset, kind, side)"
                " VALUES (%s, %s, %s, 'EUR', 'customer', 'C')",
                (account, accounts.customer(person.id, "EUR").path, person.id),
            )
        capital = accounts.capital("EUR").path
        owner.execute(
            "INSERT INTO accounts (id, path, asset, kind, side) VALUES ('acc_capital', %s, 'EUR',"
            " 'system', 'C') ON CONFLICT DO NOTHING", (capital,),
        )  # fmt: skip
        _post(owner, [_entry("acc_capital", mine, 10**9), _entry("acc_capital", theirs, 10**9)])
        for start in range(1, size, BATCH):
            _post(owner, [
                _transfer(people, (mine, theirs), place)
                for place in range(start, min(start + BATCH, size))
            ])  # fmt: skip
        written = [
            row[0]
            for row in owner.execute(
                "SELECT created_at FROM postings WHERE account_id = %s ORDER BY account_seq",
                (mine,),
            )
        ]
    assert len(written) == size
    return Reader(people[0].id, mine, opened.token, size, written)


def _entry(source: str, target: str, minor: int) -> dict[str, Any]:
    return {
        "entry": {"id": new_id("ent"), "kind": "transfer", "ref": "bench"},
        "postings": [
            {"account": source, "asset": "EUR", "amount": str(-minor)},
            {"account": target, "asset": "EUR", "amount": str(minor)},
        ],
    }


def _transfer(people: list[Any], held: tuple[str, str], place: int) -> dict[str, Any]:
    """There and back in turn, a second apart."""
    there = place % 2
    source, target = (0, 1) if there else (1, 0)
    minor = 1 + place % 97
    row = {
        "id": new_id("trf"), "payer_id": people[source].id, "payee_id": people[target].id,
        "asset": "EUR", "amount_minor": minor, "note": None,
        "created_at": (BEGAN + timedelta(seconds=place)).isoformat(),
    }  # fmt: skip
    return {**_entry(held[source], held[target], minor), "transfer": row}


def _post(owner: psycopg.Connection[Any], batch: list[dict[str, Any]]) -> None:
    rows = owner.execute("SELECT code FROM ledger_post(%s::jsonb)", (json.dumps(batch),)).fetchall()
    if any(code is not None for (code,) in rows):
        raise RuntimeError(f"the history could not be posted: {rows}")


def _services(scratch: ScratchDatabase, home: Path) -> Services:
    xpub = account_xpub(to_seed(PHRASE), DEPOSIT_ACCOUNT)
    public = {"deposit_xpub": xpub, "fingerprint": fingerprint(xpub), "hot": []}
    (home / "keys.json").write_bytes(orjson.dumps(public))
    network = Network(
        name="local", chain_id=31337, rpc_urls=("http://127.0.0.1:1",), native_asset="ETH",
        block_time_ms=1000, confirmations=8, finality="depth", logs_window=1000, min_tip_wei=10**9,
        max_fee_wei=500 * 10**9, bump_percent=20,
    )  # fmt: skip
    dump_networks(home / "networks.toml", {"local": network})
    settings = Settings(mode="sandbox", database_url=scratch.app_url, data_dir=home)
    return build(settings, role="api")


def _backends() -> list[int]:
    """PostgreSQL's processes for clients: children of children of ours."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            title = (entry / "cmdline").read_bytes().decode(errors="replace")
            if title.startswith("postgres: bifold_app") and _is_ours(int(entry.name)):
                found.append(int(entry.name))
    return found


def _is_ours(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return False
