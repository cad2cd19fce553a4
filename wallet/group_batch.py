"""One batch of a group commit: what is answered already, what each flow prepares, how each ends.

`Flow` is what a kind of request brings; `wallet.group_commit` decides what shares a transaction.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import orjson
import psycopg

from wallet.errors import Busy, DatabaseUnavailable, WalletError
from wallet.idempotency import Answer, Claim, IdempotencyMismatch, Outcome
from wallet.ledger import Command, Hot

Cursor = psycopg.AsyncCursor[Any]
Asked = TypeVar("Asked")
AskedIn = TypeVar("AskedIn", contravariant=True)
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Prepared(Generic[Made]):
    """One effect: what is posted, and what it makes. `answer` is added by the writer.

    `again_on`: refusals that only say that something moved since it was prepared.
    """

    command: Command
    made: Made
    again_on: frozenset[str] = frozenset()


class Flow(Protocol[AskedIn, Made]):
    """How one kind of request becomes commands. Equal flows share their look-ups."""

    async def look(self, hot: Hot, asked: Sequence[AskedIn]) -> Cursor:
        """Ask the database what `prepare` needs: one query, outside any transaction.

        Its rows are not there before `prepare`: it travels with the queries of others.
        """

    async def prepare(
        self, looked: Cursor, now: datetime, asked: Sequence[AskedIn]
    ) -> list[Prepared[Made] | WalletError | None]:
        """One for each that was asked, in the same order; these may be fewer than were looked up.

        None: it hangs on how one before it in this batch ends; it is asked for again in the next.
        """

    @property
    def after(self) -> Callable[[Hot, Sequence[Prepared[Made]]], Awaitable[None]] | None:
        """Writes further rows of those that were posted, in the same transaction; None: none."""


Name = tuple[str, str, str, str]
KEY = ("principal", "method", "route", "key")
"""What a `Name` is made of."""


@dataclass(slots=True, eq=False)
class Item:
    """One request on its way: `told` is its own wait, `rivals` those with the same key."""

    claim: Claim
    flow: Flow[Any, Any]
    asked: Any
    shape: Callable[[Any], Answer]
    told: asyncio.Future[Outcome] = field(repr=False)
    rivals: list[asyncio.Future[Outcome | None]] = field(default_factory=list)
    tries: int = 0

    @property
    def name(self) -> Name:
        """Under which nothing else may run meanwhile."""
        claim = self.claim
        return claim.principal_id, claim.method, claim.route, claim.key


@dataclass(frozen=True, slots=True)
class Ready:
    """What is posted for an item, and its answer if that is done."""

    item: Item
    prepared: Prepared[Any]
    answer: Answer


Ends = dict[Item, Outcome | WalletError | None]
"""How each of a batch ends; None: it is asked for again in the next one."""


async def prepared_of(hot: Hot, items: list[Item]) -> tuple[list[Ready], Ends]:
    """What is to be posted, in the order it came; and how those end who are answered already, or
    refused before the books have been asked. One round trip.
    """
    by_flow: dict[Flow[Any, Any], list[Item]] = {}
    for item in items:
        by_flow.setdefault(item.flow, []).append(item)
    async with hot.pipeline():
        stored = await _look(hot, items)
        looked = {
            flow: await flow.look(hot, [item.asked for item in mine])
            for flow, mine in by_flow.items()
        }
    now, ends = await _stored(stored, items)
    ready: dict[Item, Ready] = {}
    for flow, mine in by_flow.items():
        fresh = [item for item in mine if item not in ends]
        made = await flow.prepare(looked[flow], now, [item.asked for item in fresh])
        for item, prepared in zip(fresh, made, strict=True):
            if isinstance(prepared, Prepared):
                ready[item] = Ready(item, prepared, item.shape(prepared.made))
            else:
                ends[item] = prepared
    return [ready[item] for item in items if item in ready], ends


def judged(ready: list[Ready], refusals: list[WalletError | None], ends: Ends) -> list[Ready]:
    """Note how each ended; those that were posted."""
    done = []
    for one, refusal in zip(ready, refusals, strict=True):
        if refusal is None:
            ends[one.item] = Outcome(one.answer, replayed=False)
            done.append(one)
        else:
            ends[one.item] = None if refusal.code in one.prepared.again_on else refusal
    return done


async def write_after(hot: Hot, done: list[Ready]) -> None:
    """What the flows write beside the postings."""
    for flow in dict.fromkeys(one.item.flow for one in done):
        if flow.after is not None:
            await flow.after(hot, [one.prepared for one in done if one.item.flow == flow])


async def _look(hot: Hot, items: list[Item]) -> Cursor:
    """Ask for business time and what is answered already."""
    return await hot.execute(
        # LIMIT: one probe of the key for each, also while the planner, knowing nothing of the table
        # yet, would read it whole. JSON: the driver writes arrays in Python, 1.5 us a text.
        "SELECT bifold_now(), a.fingerprint, a.status, a.location, a.body FROM ROWS FROM"
        " (jsonb_to_recordset(%s::jsonb) AS (principal text, method text, route text, key text))"
        " WITH ORDINALITY AS c(principal, method, route, key, place) LEFT JOIN LATERAL (SELECT i.*"
        " FROM idempotency_answers i WHERE i.principal_id = c.principal AND i.method = c.method"
        " AND i.route = c.route AND i.key = c.key LIMIT 1) AS a ON true ORDER BY c.place",
        (orjson.dumps([dict(zip(KEY, item.name, strict=True)) for item in items]).decode(),),
    )


async def _stored(looked: Cursor, items: list[Item]) -> tuple[datetime, Ends]:
    """Business time, and the ends of those that are answered already."""
    rows = await looked.fetchall()
    ends: Ends = {}
    for item, (_now, mark, status, location, body) in zip(items, rows, strict=True):
        if mark is None:
            continue
        if hmac.compare_digest(bytes(mark), item.claim.fingerprint):
            ends[item] = Outcome(Answer(status, body, location), replayed=True)
        else:
            ends[item] = mismatch()
    return rows[0][0], ends


def mismatch() -> IdempotencyMismatch:
    return IdempotencyMismatch("This key was used for another request.")


def away(cause: Exception) -> DatabaseUnavailable:
    away = DatabaseUnavailable("The database is away; try again in a moment.")
    away.__cause__ = cause
    return away


def busy(cause: Exception | None) -> Busy:
    busy = Busy("Too much is happening at once; try again in a moment.")
    busy.__cause__ = cause
    return busy


def answer_row(one: Ready) -> dict[str, object]:
    """What its command stores, so that a repeat is told the same."""
    answer, claim = one.answer, one.item.claim
    if not 200 <= answer.status <= 299:
        raise ValueError("only a 2xx answer is stored; a refusal leaves the key free")
    return {
        "principal_id": claim.principal_id,
        "method": claim.method,
        "route": claim.route,
        "key": claim.key,
        "fingerprint_hex": claim.fingerprint.hex(),
        "status": answer.status,
        "location": answer.location,
        "body": answer.body,
    }
