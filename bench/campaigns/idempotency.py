"""`./dev campaign idempotency`: the same request 32 times at once, over and over, on two servers.

Each round has a new key and sends it by 32 connections, half to each `bifold serve`; the routes
take turns: a transfer and a hold (they ride the group writer), a recipient (one transaction of its
own). A round may have one effect, and all its 2xx answers are the same bytes. Each `--kill-every`
rounds a server dies by SIGKILL in the middle of one. Then every key is asked again: as it is, after
all servers and the database were killed and started again, and after business time moved 400 days.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
import uvloop

from bench.campaigns.bank_house import Bank, opened
from bench.campaigns.bank_load import BOOK_SQL, Client
from bench.campaigns.stops import Stops
from wallet import log
from wallet.testing.databases import ScratchCluster

AT_ONCE = 32
JUMP_DAYS = 400
ASK_AGAIN_AT_ONCE = 16
RETRIES = 200
RETRY_SECONDS = 0.1
KILL_AFTER_SECONDS = 0.01
ROUTES = ("transfers", "holds", "recipients")
EFFECTS_SQL = {
    "transfers": "SELECT id FROM transfers WHERE note = %s",
    "holds": "SELECT id FROM payment_holds WHERE note = %s",
    "recipients": "SELECT id FROM recipients WHERE name = %s",
}


@dataclass
class Round:
    """One intention and the answer it got first."""

    key: str
    route: str
    payer: str
    body: bytes
    answer: bytes = b""


@dataclass
class Seen:
    """What came back over all rounds."""

    rounds: list[Round] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    killed: int = 0
    stops: Stops = field(default_factory=Stops)


def _round(bank: Bank, number: int, seed: int) -> Round:
    route = ROUTES[number % len(ROUTES)]
    payer = bank.people[number % len(bank.people)]
    payee = bank.people[(number + 1) % len(bank.people)]
    key = f"same-{seed}-{number}"
    money = {"amount": "0.000000000000000001", "asset": "ETH"}
    bodies: dict[str, dict[str, Any]] = {
        "transfers": {"to": payee, "money": money, "note": key},
        "holds": {"to": payee, "money": money, "note": key, "expires_in_seconds": 86_400},
        "recipients": {
            "type": "clabe", "name": key, "country": "MX", "clabe": "032180000118359719",
        },
    }  # fmt: skip
    return Round(key, route, payer, orjson.dumps(bodies[route]))


async def _ask(bank: Bank, client: Client, asked: Round, seen: Seen) -> bytes | None:
    """One request of the round; its body where it was 2xx."""
    status, body, silence = 0, b"", "no answer"
    began = time.monotonic()
    try:
        status, body = await client.post(
            f"/v1/{asked.route}", asked.body, token=bank.tokens[asked.payer], key=asked.key
        )
    except TimeoutError:  # an open connection and not a word: somebody was forgotten
        if not await seen.stops.noted_since(began):
            silence = "forgotten"
    except (OSError, EOFError):
        pass  # it broke with its server
    if 200 <= status < 300:
        seen.codes["2xx"] += 1
        return body
    code = orjson.loads(body).get("code") if body else silence
    seen.codes[str(code)] += 1
    allowed = {"no answer", "idempotency_in_progress", "database_unavailable", "busy"}
    if code not in allowed:
        seen.wrong.append(f"{asked.key}: {status} {code}")
    return None


async def _play(
    bank: Bank, clients: list[Client], asked: Round, seen: Seen, *, kill: int | None
) -> None:
    """All at once; then again until it is answered, where a kill took all answers away."""
    asking = [asyncio.create_task(_ask(bank, client, asked, seen)) for client in clients]
    if kill is not None:
        await asyncio.sleep(KILL_AFTER_SECONDS)
        bank.servers[kill].kill()
        seen.killed += 1
    bodies = {body for body in await asyncio.gather(*asking) if body is not None}
    if kill is not None:
        bank.servers[kill].start()
        await bank.servers[kill].wait()
    for _ in range(RETRIES):
        if bodies:
            break
        again = await _ask(bank, clients[0], asked, seen)
        if again is not None:
            bodies.add(again)
        await asyncio.sleep(RETRY_SECONDS)
    if len(bodies) != 1:
        seen.wrong.append(f"{asked.key}: {len(bodies)} different answers")
        return
    asked.answer = bodies.pop()
    seen.rounds.append(asked)


async def _again(bank: Bank, clients: list[Client], seen: Seen, when: str) -> int:
    """Ask every key once more; how many were told the same bytes."""
    same = 0
    left = list(seen.rounds)

    async def stream(client: Client) -> None:
        nonlocal same
        while left:
            asked = left.pop()
            for _ in range(RETRIES):
                body = await _ask(bank, client, asked, seen)
                if body is not None:
                    break
                await asyncio.sleep(RETRY_SECONDS)
            if body == asked.answer:
                same += 1
            else:
                seen.wrong.append(f"{asked.key}: another answer {when}")

    await asyncio.gather(*(stream(client) for client in clients[:ASK_AGAIN_AT_ONCE]))
    return same


async def _jump(bank: Bank) -> None:
    client = Client(bank.servers[0].port)
    body = orjson.dumps({"advance_seconds": JUMP_DAYS * 86_400})
    status, answer = await client.post("/sandbox/clock", body, token="", key=None)
    client.close()
    if status != 200:
        raise RuntimeError(f"the clock did not move: {status} {answer!r}")


def _judge(bank: Bank, seen: Seen) -> int:
    """One effect a round, with the id that was answered; the books whole. How many effects."""
    effects = 0
    with psycopg.connect(bank.database.conninfo("bifold_owner")) as audit:
        for asked in seen.rounds:
            ids = [row[0] for row in audit.execute(EFFECTS_SQL[asked.route], (asked.key,))]
            effects += len(ids)
            if ids != [orjson.loads(asked.answer)["id"]]:
                seen.wrong.append(f"{asked.key}: {len(ids)} effects")
        row = audit.execute(BOOK_SQL).fetchone()
    if row is None or row[:3] != (0, 0, 0):
        seen.wrong.append(f"the books are off: {row}")
    return effects


async def repeat(bank: Bank, *, rounds: int, kill_every: int, seed: int) -> dict[str, Any]:
    """The rounds and the repeats; `wrong` is empty when all is well."""
    seen = Seen()
    ports = [server.port for server in bank.servers]
    clients = [Client(ports[n % len(ports)]) for n in range(AT_ONCE)]
    began = time.monotonic()
    with seen.stops:
        for number in range(rounds):
            kill = None
            if kill_every and number % kill_every == kill_every - 1:
                kill = (number // kill_every) % len(ports)
            await _play(bank, clients, _round(bank, number, seed), seen, kill=kill)
        seconds = time.monotonic() - began - seen.stops.since(began)
        same = {"at once": await _again(bank, clients, seen, "at once")}
        await bank.kill_database("whole")
        await bank.restart_servers(by_kill=True)
        same["after a restart"] = await _again(bank, clients, seen, "after a restart")
        await _jump(bank)
        same["400 days later"] = await _again(bank, clients, seen, "400 days later")
    for client in clients:
        client.close()
    effects = _judge(bank, seen)
    return {
        "wrong": seen.wrong,
        "rounds": len(seen.rounds),
        "effects": effects,
        "same": same,
        "codes": dict(seen.codes),
        "killed": seen.killed,
        "seconds": round(seconds, 1),
        "stood_still": round(seen.stops.since(began), 1),
    }


def measure(
    *, rounds: int, kill_every: int, seed: int = 1, shared: ScratchCluster | None = None
) -> dict[str, Any]:
    """On a bank of its own; see `repeat`. `shared`: on this durable cluster."""
    with opened(people=20, seed=seed, shared=shared) as bank:
        return uvloop.run(repeat(bank, rounds=rounds, kill_every=kill_every, seed=seed))


def main(arguments: list[str]) -> int:
    """Run it; 1 with what is wrong."""
    parser = argparse.ArgumentParser(prog="./dev campaign idempotency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000, help=f"of {AT_ONCE} at once")
    parser.add_argument("--kill-every", type=int, default=100, help="rounds; 0 kills no server")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    log.configure("CRITICAL")
    figures = measure(**vars(options))
    for line in figures["wrong"][:20]:
        print(line)
    told = ", ".join(f"{count} {code}" for code, count in sorted(figures["codes"].items()))
    same = ", ".join(f"{count} {when}" for when, count in figures["same"].items())
    print(
        f"{figures['rounds']} rounds of {AT_ONCE} at once in {figures['seconds']:.0f} s,"
        f" {figures['killed']} with a killed server: {figures['effects']} effects; answers {told}"
    )
    print(
        f"the same bytes: {same}; {len(figures['wrong'])} wrong; the machine stood still for"
        f" {figures['stood_still']} s (not counted)"
    )
    return int(bool(figures["wrong"]))
