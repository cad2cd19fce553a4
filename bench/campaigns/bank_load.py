"""Clients of the bank, and readers of the whole book while they pay.

A client keeps one connection, pays with a new key each time and writes down what it was told. Where
it was told nothing (the connection broke, a 5xx, the same key still under way), it asks again with
the same key, or by the toss of a coin leaves it open: the end must find such a payment whole or not
at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
import psycopg

from bench import http_load
from bench.campaigns.bank_house import ASSETS, Bank
from wallet.money import format_amount

ANSWER_SECONDS = 20.0
RETRY_SECONDS = 0.25
RETRIES = 200
READ_PAUSE_SECONDS = 0.3

BOOK_SQL = """
SELECT (SELECT count(*) FROM (
            SELECT asset FROM account_balances GROUP BY asset HAVING sum(balance_minor) <> 0) o),
       (SELECT count(*) FROM accounts
         WHERE kind = 'customer' AND (balance_minor < 0 OR balance_minor < held_minor)),
       (SELECT count(*) FROM account_balances a LEFT JOIN (
            SELECT account_id, sum(amount_minor) AS amount FROM postings GROUP BY 1) p
            ON p.account_id = a.id WHERE a.balance_minor <> coalesce(p.amount, 0)),
       (SELECT count(*) FROM postings)
"""


@dataclass(frozen=True)
class Payment:
    """What a client asked for."""

    key: str
    payer: str
    payee: str
    asset: str
    minor: int

    def body(self) -> bytes:
        """As `POST /v1/transfers` takes it."""
        amount = format_amount(self.minor, ASSETS[self.asset])
        return orjson.dumps(
            {
                "to": self.payee,
                "money": {"amount": amount, "asset": self.asset},
                "note": self.key,
            }
        )


@dataclass
class Told:
    """All that the clients know: by key, what was acknowledged, refused, and left open."""

    acknowledged: dict[str, tuple[Payment, str]] = field(default_factory=dict)
    refused: dict[str, Payment] = field(default_factory=dict)
    open: dict[str, Payment] = field(default_factory=dict)
    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    troubles: int = 0  # answers that told nothing
    repeats: int = 0  # acknowledged by a repeat of the key


@dataclass
class Reads:
    """What the readers saw: whole books at one moment each."""

    done: int = 0
    off_zero: int = 0
    negative: int = 0
    not_their_postings: int = 0
    shrank: int = 0
    lost: int = 0  # cut off by a kill


class Client:
    """One kept-alive connection, opened again wherever it broke."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pipes: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(
        self, path: str, body: bytes, *, token: str, key: str | None
    ) -> tuple[int, bytes]:
        """Status and body. Raises OSError, EOFError or TimeoutError where nothing was told."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._pipes is None:
                    self._pipes = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._pipes
                writer.write(http_load.request(path, body, headers))
                return await http_load.answer(reader)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget the connection."""
        if self._pipes is not None:
            self._pipes[1].close()
            self._pipes = None


async def pay(
    bank: Bank, client: Client, payment: Payment, told: Told, chance: random.Random
) -> None:
    """One payment, until it is answered or left open."""
    for attempt in range(RETRIES):
        status, body = 0, b""
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            status, body = await client.post(
                "/v1/transfers", payment.body(), token=bank.tokens[payment.payer], key=payment.key
            )
        if status == 201:
            told.open.pop(payment.key, None)
            told.acknowledged[payment.key] = (payment, str(orjson.loads(body)["id"]))
            told.repeats += attempt > 0
            return
        code = orjson.loads(body).get("code", "none") if body else "no_answer"
        told.codes[f"{status} {code}"] += 1
        if 400 <= status < 500 and code != "idempotency_in_progress":
            told.open.pop(payment.key, None)
            told.refused[payment.key] = payment
            if code != "insufficient_funds":
                told.wrong.append(f"refused with {status} {code}")
            return
        if status == 500:  # a killed database has a refusal of its own
            told.wrong.append(f"{payment.key} met a defect: 500 {code}")
        told.troubles += 1
        told.open[payment.key] = payment
        if attempt == 0 and chance.random() < 0.5:
            return
        await asyncio.sleep(RETRY_SECONDS)
    told.wrong.append(f"{payment.key} was never answered")


async def stream(bank: Bank, number: int, told: Told, *, transfers: int, seed: int) -> None:
    """One client: pays until all together have `transfers` acknowledged."""
    chance = random.Random(f"{seed}/{number}")
    client = Client(bank.servers[number % len(bank.servers)].port)
    sent = 0
    while len(told.acknowledged) < transfers:
        payer, payee = chance.sample(bank.people, 2)
        asset = chance.choice(list(ASSETS))
        most = 20 * 10 ** ASSETS[asset]
        payment = Payment(
            f"fire-{seed}-{number}-{sent}", payer, payee, asset, chance.randint(1, most)
        )
        sent += 1
        await pay(bank, client, payment, told, chance)
    client.close()


async def read_books(bank: Bank, reads: Reads, ended: asyncio.Event) -> None:
    """Read the whole book over and over, each time at one moment; a kill only costs the read."""
    seen = 0
    while not ended.is_set():
        try:
            async with await psycopg.AsyncConnection.connect(
                bank.database.conninfo("bifold_audit")
            ) as connection:
                await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
                await connection.set_read_only(True)
                while not ended.is_set():
                    async with connection.transaction():
                        row = await (await connection.execute(BOOK_SQL)).fetchone()
                    assert row is not None
                    reads.done += 1
                    reads.off_zero += row[0]
                    reads.negative += row[1]
                    reads.not_their_postings += row[2]
                    reads.shrank += row[3] < seen
                    seen = row[3]
                    await asyncio.sleep(READ_PAUSE_SECONDS)
        except psycopg.Error:
            reads.lost += 1
            await asyncio.sleep(READ_PAUSE_SECONDS)


PRESENT_SQL = """
WITH lines AS (
    SELECT t.id, count(*) AS lines,
           count(*) FILTER (WHERE p.asset = t.asset AND a.kind = 'customer'
               AND p.amount_minor = CASE a.principal_id WHEN t.payer_id THEN -t.amount_minor
                                                        WHEN t.payee_id THEN t.amount_minor END
           ) AS right_lines
      FROM transfers t JOIN postings p ON p.entry_id = t.entry_id
      LEFT JOIN accounts a ON a.id = p.account_id GROUP BY t.id),
answers AS (
    SELECT principal_id, key, body::jsonb->>'id' AS id, count(*) AS answers
      FROM idempotency_answers WHERE method = 'POST' GROUP BY 1, 2, 3),
notices AS (SELECT ref, count(*) AS notices FROM outbox GROUP BY 1)
SELECT t.note, t.id, t.payer_id, t.payee_id, t.asset, t.amount_minor, coalesce(l.lines, 0),
       coalesce(l.right_lines, 0), coalesce(i.answers, 0), coalesce(o.notices, 0)
  FROM transfers t
  LEFT JOIN lines l ON l.id = t.id
  LEFT JOIN answers i ON i.principal_id = t.payer_id AND i.key = t.note AND i.id = t.id
  LEFT JOIN notices o ON o.ref = t.id
"""

WHOLE = (2, 2, 1, 2)
"""Postings, those of them that are right, stored answers, notices: of each transfer."""


def judge(bank: Bank, told: Told) -> dict[str, Any]:
    """Compare what the clients were told with what the books hold; `wrong` lists the differences.

    An acknowledged payment must be there once, as it was asked; an open one whole or not at all;
    a refused one not at all; nothing else may be there.
    """
    wrong = list(told.wrong)
    expected = dict(bank.began)
    with psycopg.connect(bank.database.conninfo("bifold_owner")) as audit:
        rows = audit.execute(PRESENT_SQL).fetchall()
        balances = {
            (person, asset): int(balance)
            for person, asset, balance in audit.execute(
                "SELECT principal_id, asset, balance_minor FROM accounts WHERE kind = 'customer'"
            )
        }
        strays = audit.execute(
            "SELECT (SELECT count(*) FROM entries WHERE kind <> 'deposit')"
            " - (SELECT count(*) FROM transfers),"
            " (SELECT count(*) FROM idempotency_answers) - (SELECT count(*) FROM transfers),"
            " (SELECT count(*) FROM entries e WHERE NOT EXISTS"
            "   (SELECT FROM postings p WHERE p.entry_id = e.id))"
        ).fetchone()
    present, half = Counter(row[0] for row in rows), 0
    wrong += [f"{key} is there {times} times" for key, times in present.items() if times > 1]
    for note, transfer, payer, payee, asset, amount, lines, right, answers, notices in rows:
        acknowledged = told.acknowledged.get(note)
        asked = acknowledged[0] if acknowledged else told.open.get(note)
        if asked is None:
            wrong.append(f"{note} is in the books and was refused or never asked")
            continue
        minor = int(Decimal(amount))
        if asked != Payment(note, payer, payee, asset, minor):
            wrong.append(f"{note} is another payment than was asked")
        if acknowledged and acknowledged[1] != transfer:
            wrong.append(f"{note} was acknowledged as another transfer")
        if (lines, right, answers, notices) != WHOLE:
            half += 1
            wrong.append(f"{note} is half: {(lines, right, answers, notices)}")
        expected[payer, asset] -= minor
        expected[payee, asset] += minor
    lost = [key for key in told.acknowledged if key not in present]
    wrong += [f"{key} was acknowledged and is lost" for key in lost]
    wrong += [
        f"{owner} holds {balances[owner]}, the payments say {minor}"
        for owner, minor in expected.items()
        if balances[owner] != minor
    ]
    if strays != (0, 0, 0):
        wrong.append(f"entries or answers without a transfer: {strays}")
    return {
        "wrong": wrong,
        "in_the_books": len(rows),
        "acknowledged": len(told.acknowledged),
        "acknowledged_and_lost": len(lost),
        "open": len(told.open),
        "open_and_there": sum(key in present for key in told.open),
        "half": half,
        "refused": len(told.refused),
    }


async def settle_open(bank: Bank, told: Told, seed: int) -> int:
    """Ask once more for each payment left open: it must be answered now; how many were."""
    left = list(told.open.values())
    clients = [Client(server.port) for server in bank.servers]
    for number, payment in enumerate(left):
        # 2.0: never leaves it open again
        await pay(bank, clients[number % len(clients)], payment, told, _Always(seed))
    for client in clients:
        client.close()
    return len(left)


class _Always(random.Random):
    """A coin that always says: ask again."""

    def random(self) -> float:
        return 1.0
