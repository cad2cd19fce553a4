"""LNbits as a contender: its own server and wallets, on a database of the same cluster.

A whole internal transfer is what its users do: the payee makes an invoice, the payer pays it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson

from bench.http_load import Load, answer, request
from wallet.testing.databases import ScratchDatabase

START_SECONDS = 90.0
WALLETS = 40
FUNDS_SATS = 1_000_000
PASSWORD = "bench-only-password"


@dataclass(frozen=True)
class Server:
    """A running LNbits and its funded wallets: (admin key, invoice key) of each."""

    port: int
    wallets: list[tuple[str, str]]


@contextmanager
def serving(python: Path, scratch: ScratchDatabase, home: Path, port: int) -> Iterator[Server]:
    """LNbits from the environment of `python`, until the end of the block.

    Raises RuntimeError when it does not start.
    """
    log = home / "lnbits.log"
    environment = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "LNBITS_DATA_FOLDER": str(home / "lnbits"),
        "LNBITS_DATABASE_URL": _url(scratch),
        "LNBITS_BACKEND_WALLET_CLASS": "FakeWallet",
        "LNBITS_ADMIN_UI": "true",
        "LNBITS_EXTENSIONS_DEFAULT_INSTALL": "",
        "LNBITS_RATE_LIMIT_NO": "1000000",
        "LOG_LEVEL": "ERROR",
        "DEBUG": "false",
    }
    (home / "lnbits").mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python.parent / "lnbits", "--host", "127.0.0.1", "--port", str(port)],
            cwd=_packages(python),  # it looks for its static files beside itself
            env=environment,
            stdout=output,
            stderr=output,
        )
        try:
            yield Server(port, _prepare(port, process, log))
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _packages(python: Path) -> Path:
    found = next(python.parent.parent.glob("lib/python3*/site-packages/lnbits"), None)
    if found is None:
        raise RuntimeError(f"{python} has no LNbits: pip install lnbits into an environment first")
    return found.parent


def _url(scratch: ScratchDatabase) -> str:
    url = scratch.owner_url.replace("postgresql+psycopg://", "postgres://", 1)
    return url.replace("postgresql://", "postgres://", 1)


def _prepare(port: int, process: subprocess.Popen[bytes], log: Path) -> list[tuple[str, str]]:
    base = f"http://127.0.0.1:{port}"
    until = time.monotonic() + START_SECONDS
    with httpx2.Client(base_url=base, timeout=30) as client:
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"LNbits did not start:\n{log.read_text('utf-8')[-2000:]}")
            try:
                if client.get("/api/v1/health").status_code < 400:  # 307 to its first page
                    break
            except httpx2.HTTPError:
                pass
            time.sleep(0.2)
        first = {"username": "bench", "password": PASSWORD, "password_repeat": PASSWORD}
        told = _checked(client.put("/api/v1/auth/first_install", json=first))
        client.headers["Authorization"] = f"Bearer {told['access_token']}"
        wallets = []
        for number in range(WALLETS):
            made = _checked(client.post("/api/v1/account", json={"name": f"bench {number}"}))
            funds = {"id": made["id"], "amount": FUNDS_SATS}
            _checked(client.put("/users/api/v1/balance", json=funds))
            wallets.append((made["adminkey"], made["inkey"]))
        return wallets


def _checked(told: httpx2.Response) -> Any:
    if told.status_code >= 300:
        raise RuntimeError(f"LNbits: {told.status_code} {told.text[:300]}")
    return told.json()


async def load(server: Server, *, connections: int, seconds: float) -> Load:
    """Whole transfers over kept-alive connections, each payer on its own."""
    times: list[float] = []
    started = time.monotonic()
    until = started + seconds
    payees = itertools.cycle(range(connections, len(server.wallets)))

    async def stream(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        payer, _ = server.wallets[number]

        async def ask(key: str, body: bytes) -> bytes:
            writer.write(request("/api/v1/payments", body, {"X-Api-Key": key}))
            status, told = await answer(reader)
            if status != 201:
                raise RuntimeError(f"LNbits: {status} {told[:300].decode(errors='replace')}")
            return told

        while time.monotonic() < until:
            _, payee = server.wallets[next(payees)]
            sent = time.perf_counter()
            told = await ask(payee, b'{"out": false, "amount": 1, "memo": "bench"}')
            await ask(payer, b'{"out": true, "bolt11": "%s"}' % _invoice(told))
            times.append(time.perf_counter() - sent)
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(stream(number))
    times.sort()
    elapsed = time.monotonic() - started
    return Load(
        len(times),
        len(times) / elapsed,
        times[len(times) // 2] * 1000,
        times[min(len(times) - 1, len(times) * 99 // 100)] * 1000,
        0.0,
    )


def _invoice(told: bytes) -> bytes:
    invoice: str = orjson.loads(told)["bolt11"]
    return invoice.encode()
