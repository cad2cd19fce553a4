"""A warm process that forks one child for each run: everything imported, no loop or pool yet.

Reads one JSON order a line, answers one JSON result a line. A child plays one flow through the real
HTTP app and a real worker in this process, and dies by SIGKILL at the crash point it was told.
Run as a script: `python tests/crash/zygote.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401 - found by name else, in each child

from api.app import create_app
from api.web.i18n import load_languages
from chain.client import ChainClient
from chain.rpc import Answer, Call, Rpc
from keys.desk import SigningDesk
from keys.house import deposit_xpub, hot_keys, journal_key
from keys.journal import JOURNAL_FILE, Journal
from keys.policy_file import load
from keys.request import Kind, SignedTx
from keys.secret import SecretText
from keys.signer import LocalSigner
from keys.vault import VAULT_FILE, Vault
from wallet import crashpoints, log
from wallet.bootstrap import Services, build
from wallet.jobs import JobRunner, run_loops
from wallet.settings import Settings
from wallet.wiring import wire

POLL_SECONDS = 0.05
LINGER_SECONDS = 2.0  # that a life which is to die waits for its death
TERMINAL = {
    "transfer": {"completed"},
    "conversion": {"completed"},
    "payment": {"completed", "returned", "failed", "cancelled"},
    "withdrawal": {"settled", "failed", "cancelled", "in_review"},
}


class Counted:
    """Counts every pass of a crash point, named with the loop or request that passed it."""

    def __init__(self, crash: tuple[str, int] | None) -> None:
        self.seen: Counter[str] = Counter()
        self.crash = crash

    def __call__(self, name: str) -> None:
        task = asyncio.current_task()
        where = task.get_name() if task else "main"
        if not where.startswith(("loop:", "request")):
            where = "job"
        key = f"{name}@{where}"
        self.seen[key] += 1
        if self.crash == (key, self.seen[key]):
            os.kill(os.getpid(), signal.SIGKILL)


class CountedRpc:
    """A node whose every call is a place to die: before it is asked, and after it answered."""

    def __init__(self, inner: Rpc) -> None:
        self._inner = inner

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        crashpoints.hit(f"node.before.{method}")
        answer = await self._inner.call(method, params)
        crashpoints.hit(f"node.after.{method}")
        return answer

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        return await self._inner.batch(calls)

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        return await self._inner.batch_answers(calls)

    async def aclose(self) -> None:
        await self._inner.aclose()


class CountedSigner(LocalSigner):
    """The real desk with the real journal on disk; dies around each signature."""

    async def sign_transaction(
        self,
        *,
        address: str,
        payload: bytes,
        intent_id: str,
        kind: Kind,
        deposit_index: int | None = None,
        approval: bytes = b"",
    ) -> SignedTx:
        crashpoints.hit("signer.before")
        signed = await super().sign_transaction(
            address=address,
            payload=payload,
            intent_id=intent_id,
            kind=kind,
            deposit_index=deposit_index,
            approval=approval,
        )
        crashpoints.hit("signer.after")
        return signed


@functools.cache
def opened(home: Path, passphrase: str) -> Vault:
    """The house's vault; opened once, before the first fork: that is slow on purpose."""
    return Vault.open(home / "vault" / VAULT_FILE, SecretText(passphrase))


def compose(order: dict[str, Any]) -> Services:
    """Services over the lab's database and node."""
    home = Path(order["data_dir"])
    settings = Settings(
        mode="sandbox", database_url=order["database_url"], data_dir=home, port=order["port"]
    )
    services = build(settings, role="worker")
    for name, network in services.networks.items():
        services.rpcs[name] = CountedRpc(services.rpcs[name])
        services.chains[name] = ChainClient(network, services.rpcs[name])
    vault = opened(home, order["passphrase"])
    services.signer = CountedSigner(
        SigningDesk(
            hot_keys=hot_keys(vault, 1),
            deposit_xpub=deposit_xpub(vault),
            policy=load(home / "policy.json"),
            journal=Journal.open(home / "vault" / JOURNAL_FILE, journal_key(vault)),
        )
    )
    return services


async def play(order: dict[str, Any], counted: Counted) -> dict[str, Any]:
    """One run: a worker, and the requests of the order in turn; waits for the end it names."""
    services = compose(order)
    crashpoints.install(counted)
    runner = JobRunner(
        services.db.dsn, heartbeat_seconds=0.2, stalled_after_seconds=0.8, sweep_seconds=0.2
    )
    loops = wire(services, runner)
    for loop in loops:
        loop.interval_seconds = min(loop.interval_seconds, 0.1)
    working = [
        asyncio.create_task(runner.run(), name="job"),
        asyncio.create_task(run_loops(services.db.dsn, loops), name="loops"),
    ]
    app = create_app(services)
    try:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            asking = asyncio.create_task(ask(http, order, working), name="request")
            answer = await asking
            if order.get("crash"):  # loops come by seldom in a short life
                await asyncio.sleep(LINGER_SECONDS)
            return answer
    finally:
        crashpoints.install(None)
        for task in working:
            task.cancel()
        for task in working:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await app.state.bifold.writer.aclose()
        await services.aclose()


async def ask(
    http: httpx2.AsyncClient, order: dict[str, Any], working: list[asyncio.Task[None]]
) -> dict[str, Any]:
    """Send the order's request with its fixed key, then follow it to an end of its kind; or send
    several, one after the other."""
    if "requests" in order:
        return {"answers": await ask_all(http, order["requests"])}
    headers = {"Authorization": f"Bearer {order['token']}"}
    deadline = time.monotonic() + order["seconds"]
    sent = await http.request(
        order["method"],
        order["path"],
        json=order["body"],
        headers=headers | {"Idempotency-Key": order["key"]} if order.get("key") else headers,
    )
    answer = {"status": sent.status_code, "body": sent.json(), "replayed": False}
    answer["replayed"] = sent.headers.get("Idempotent-Replayed") == "true"
    follow = order.get("follow")
    if sent.status_code >= 300 or follow is None:
        return answer
    while time.monotonic() < deadline:
        for task in working:
            if task.done():
                task.result()
        now = (await http.get(follow["path"].format(**sent.json()), headers=headers)).json()
        rows = now.get("data", [now])
        if len(rows) >= follow.get("count", 1) and all(
            row["status"] in follow["until"] for row in rows
        ):
            return answer | {"end": now}
        await asyncio.sleep(POLL_SECONDS)
    return answer | {"end": now, "timeout": True}


async def ask_all(http: httpx2.AsyncClient, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each by whom it names: a token, or the number of the answer that brought it."""
    answers: list[dict[str, Any]] = []
    for one in requests:
        token = one["token"]
        if isinstance(token, int):
            token = answers[token]["body"]["token"]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        sent = await http.post(
            one["path"], json=one["body"], headers=headers | {"Idempotency-Key": one["key"]}
        )
        answers.append({"status": sent.status_code, "body": sent.json()})
    return answers


def child(order: dict[str, Any], writing: int) -> None:
    """The whole life of one child; never returns."""
    counted = Counted(tuple(order["crash"]) if order.get("crash") else None)
    try:
        result = asyncio.run(play(order, counted))
        result["seen"] = dict(counted.seen)
    except BaseException as error:
        logging.exception("the child failed")
        result = {"error": f"{type(error).__name__}: {error}"[:2000], "seen": dict(counted.seen)}
    with os.fdopen(writing, "w") as pipe:
        pipe.write(json.dumps(result))
    os._exit(0)


def main() -> None:
    """Serve orders until standard input ends."""
    log.configure("INFO")  # to standard error; standard output carries the results
    load_languages()  # for all children, as the import of the database's dialect
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        opened(Path(order["data_dir"]), order["passphrase"])
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            child(order, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            told = pipe.read()
        _, status = os.waitpid(pid, 0)
        result = json.loads(told) if told else {}
        result["killed"] = os.WIFSIGNALED(status)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
