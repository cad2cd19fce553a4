"""Group commit: commands that arrive together share one transaction, each with its own answer.

Two writers a process, who post in turns: while one posts, the other looks up what the next batch
needs, and behind them the one after gathers. A lone request waits for nobody. A command that is
refused, or that breaks, disturbs none of its neighbours. Several processes may do this on one
database: accounts are locked in the order of their ids.

A batch is two round trips: what is answered already and what the flows look up, asked together;
then one statement that posts and, being alone, commits, so that no lock waits for this process.
Where flows have rows of their own to write, or an account is opened, a transaction is around it.
"""

from __future__ import annotations

import asyncio
import hmac
import random
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, cast

import psycopg
import structlog
from psycopg import errors as pg

from wallet.crashpoints import hit
from wallet.db import Database
from wallet.errors import Busy, DatabaseUnavailable, WalletError
from wallet.idempotency import Answer, Claim, IdempotencyInProgress, IdempotencyMismatch, Outcome
from wallet.idempotency.once import RIVAL_WAIT_SECONDS
from wallet.ledger import (
    AccountIds,
    Command,
    Hot,
    all_known,
    post_batch,
    post_known,
)
from wallet.ledger.errors import LedgerError

WRITERS = 2
CROWD = 4
"""So many wait before the second writer starts beside the first: small batches cost more than a
short wait."""
MOST = 128
"""Commands in one transaction at most: beyond it they wait longer than they save."""
TRIES = 5
RETRY_BASE_SECONDS = 0.02
# Another process stored the same key first; a deadlock with a flow; both are done again whole.
AGAIN = (pg.UniqueViolation, pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)

log = structlog.get_logger("group_commit")

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


_Name = tuple[str, str, str, str]


@dataclass(slots=True, eq=False)
class _Item:
    claim: Claim
    flow: Flow[Any, Any]
    asked: Any
    shape: Callable[[Any], Answer]
    told: asyncio.Future[Outcome] = field(repr=False)
    rivals: list[asyncio.Future[Outcome | None]] = field(default_factory=list)
    tries: int = 0

    @property
    def name(self) -> _Name:
        """Under which nothing else may run meanwhile."""
        claim = self.claim
        return claim.principal_id, claim.method, claim.route, claim.key


class GroupWriter:
    """The queue of one process, and the tasks that empty it. They live while there is work."""

    def __init__(self, db: Database, *, writers: int = WRITERS, most: int = MOST) -> None:
        self._db = db
        self._most = most
        self._waiting: deque[_Item] = deque()
        self._free = [AccountIds() for _ in range(writers)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[_Name, _Item] = {}
        # One posts while the other looks up: they would want the same accounts and processor.
        # Whose turn is next the database says (an advisory lock of this process's own), so that
        # it need not wait for this loop to come by.
        self._turn = secrets.randbits(63)
        self.batches = 0
        self.commands = 0

    async def submit(
        self,
        claim: Claim,
        flow: Flow[Asked, Made],
        asked: Asked,
        shape: Callable[[Made], Answer],
        *,
        wait_seconds: float = RIVAL_WAIT_SECONDS,
    ) -> Outcome:
        """Do it, or tell its first answer again. The commit has happened when this returns.

        A rival with the same key waits for the first one's end. Raises what the flow and the books
        refuse with, IdempotencyMismatch, IdempotencyInProgress, Busy, DatabaseUnavailable.
        """
        item = _Item(claim, flow, asked, shape, asyncio.get_running_loop().create_future())
        name = item.name
        if name in self._running:
            told = await self._outlive(claim, name, time.monotonic() + wait_seconds)
            if told is not None:
                return told
        self._running[name] = item
        self._put([item])
        # A client that leaves cancels only its own wait: the command may be in a transaction.
        return await item.told

    async def _outlive(self, claim: Claim, name: _Name, until: float) -> Outcome | None:
        """Wait until nothing runs under this name: the first one's answer, None if it was refused.

        Raises IdempotencyInProgress, IdempotencyMismatch.
        """
        while (first := self._running.get(name)) is not None:
            ended: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
            first.rivals.append(ended)
            await asyncio.wait([ended], timeout=max(until - time.monotonic(), 0))
            if not ended.done():
                raise IdempotencyInProgress("The first request with this key is still running.")
            if (outcome := ended.result()) is not None:
                if not hmac.compare_digest(first.claim.fingerprint, claim.fingerprint):
                    raise _mismatch()
                return replace(outcome, replayed=True)
        return None

    async def aclose(self) -> None:
        """Finish what was taken in."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _put(self, items: Iterable[_Item]) -> None:
        self._waiting.extend(items)
        if self._free and (not self._tasks or len(self._waiting) >= CROWD):
            task = asyncio.create_task(self._write(self._free.pop()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _write(self, ids: AccountIds) -> None:
        """Empty the queue over one connection, then rest."""
        try:
            while self._waiting:
                try:
                    async with self._db.driver_alone() as hot:
                        while self._waiting:
                            await self._take(hot, ids)
                except psycopg.Error as error:  # told to whom it concerned
                    log.warning("group_commit.connection_lost", error=type(error).__name__)
                except Exception as error:  # noqa: BLE001 - no connection to be had: who waits hears it
                    self._fail(self._next(), error)
        finally:
            self._free.append(ids)
            # At once, not a turn of the loop later: what comes in between would wait for the next.
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if self._waiting:  # one came while the last transaction ended
                self._put(())

    def _next(self) -> list[_Item]:
        count = min(len(self._waiting), self._most)
        return [self._waiting.popleft() for _ in range(count)]

    async def _take(self, hot: Hot, ids: AccountIds) -> None:
        items = self._next()
        try:
            await self._batch(hot, ids, items)
        except AGAIN as error:
            ids.lost()
            await _undo(hot)
            await self._again(items, error)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            ids.lost()
            away = DatabaseUnavailable("The database is away; try again in a moment.")
            away.__cause__ = error
            self._fail(items, away)
            raise
        except Exception as error:  # noqa: BLE001 - told to whom it belongs
            ids.lost()
            await _undo(hot)
            if len(items) > 1:  # one of them breaks: each alone, so that only that one does
                for item in items:
                    await self._alone(hot, ids, item)
            else:
                self._fail(items, error)
        except BaseException:
            self._fail(items, Busy("The service is ending; try again in a moment."))
            raise

    async def _alone(self, hot: Hot, ids: AccountIds, item: _Item) -> None:
        try:
            await self._batch(hot, ids, [item])
        except AGAIN as error:
            ids.lost()
            await _undo(hot)
            await self._again([item], error)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            ids.lost()
            self._fail([item], DatabaseUnavailable("The database is away; try again in a moment."))
        except Exception as error:  # noqa: BLE001 - told to whom it belongs
            ids.lost()
            await _undo(hot)
            self._fail([item], error)

    async def _batch(self, hot: Hot, ids: AccountIds, items: list[_Item]) -> None:
        """One transaction; everybody is answered when it is durable."""
        ready, ends = await _prepared(hot, items)
        commands = [_with_answer(one) for one in ready]
        known = await ids.existing(hot, (spec for one in commands for spec in one.accounts))
        if not ready:
            pass
        elif all_known(commands, known) and all(one.item.flow.after is None for one in ready):
            hit("transfer.posted")  # who dies here or in the statement has written nothing
            hit("idempotency.before_commit")
            hit("db.before_commit")
            _judged(ready, await post_known(hot, commands, known, turn=self._turn), ends)
        else:
            async with hot.transaction():
                done = _judged(ready, await post_batch(hot, commands, ids), ends)
                hit("transfer.posted")
                await _after(hot, done)
                hit("idempotency.before_commit")
                hit("db.before_commit")
        ids.committed()
        hit("db.after_commit")
        hit("idempotency.after_commit")
        self.batches += 1
        self.commands += len(ready)
        again = []
        for item in items:
            end = ends[item]
            if isinstance(end, Outcome):
                self._tell(item, end)
            elif end is not None:
                self._refuse(item, end)
            elif item.tries < TRIES:
                item.tries += 1
                again.append(item)
            else:
                self._refuse(item, _busy(None))
        self._waiting.extendleft(reversed(again))

    async def _again(self, items: list[_Item], error: Exception) -> None:
        """The whole batch once more, a little later; not for ever."""
        spent = [item for item in items if item.tries >= TRIES]
        self._fail(spent, _busy(error))
        left = [item for item in items if item.tries < TRIES]
        for item in left:
            item.tries += 1
        if left:
            pause = RETRY_BASE_SECONDS * 2 ** (left[0].tries - 1)
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - hides nothing
            self._waiting.extendleft(reversed(left))

    def _fail(self, items: Iterable[_Item], error: BaseException) -> None:
        for item in items:
            self._refuse(item, error)

    def _tell(self, item: _Item, outcome: Outcome) -> None:
        self._ended(item, outcome)
        if not item.told.done():
            item.told.set_result(outcome)

    def _refuse(self, item: _Item, error: BaseException) -> None:
        self._ended(item, None)
        if not item.told.done():
            item.told.set_exception(error)
            item.told.exception()  # somebody who left does not hear it: that is no defect

    def _ended(self, item: _Item, outcome: Outcome | None) -> None:
        if self._running.get(item.name) is item:  # told once already, it may be another's by now
            del self._running[item.name]
        for rival in item.rivals:
            if not rival.done():
                rival.set_result(outcome)
        item.rivals.clear()


@dataclass(frozen=True, slots=True)
class _Ready:
    item: _Item
    prepared: Prepared[Any]
    answer: Answer


_Ends = dict[_Item, Outcome | WalletError | None]
"""How each of a batch ends; None: it is asked for again in the next one."""


async def _prepared(hot: Hot, items: list[_Item]) -> tuple[list[_Ready], _Ends]:
    """What is to be posted, in the order it came; and how those end who are answered already, or
    refused before the books have been asked. One round trip.
    """
    by_flow: dict[Flow[Any, Any], list[_Item]] = {}
    for item in items:
        by_flow.setdefault(item.flow, []).append(item)
    async with hot.pipeline():
        stored = await _look(hot, items)
        looked = {
            flow: await flow.look(hot, [item.asked for item in mine])
            for flow, mine in by_flow.items()
        }
    now, ends = await _stored(stored, items)
    ready: dict[_Item, _Ready] = {}
    for flow, mine in by_flow.items():
        fresh = [item for item in mine if item not in ends]
        made = await flow.prepare(looked[flow], now, [item.asked for item in fresh])
        for item, prepared in zip(fresh, made, strict=True):
            if isinstance(prepared, Prepared):
                ready[item] = _Ready(item, prepared, item.shape(prepared.made))
            else:
                ends[item] = prepared
    return [ready[item] for item in items if item in ready], ends


def _judged(ready: list[_Ready], refusals: list[LedgerError | None], ends: _Ends) -> list[_Ready]:
    """Note how each ended; those that were posted."""
    done = []
    for one, refusal in zip(ready, refusals, strict=True):
        if refusal is None:
            ends[one.item] = Outcome(one.answer, replayed=False)
            done.append(one)
        else:
            ends[one.item] = None if refusal.code in one.prepared.again_on else refusal
    return done


async def _after(hot: Hot, done: list[_Ready]) -> None:
    """What the flows write beside the postings."""
    for flow in dict.fromkeys(one.item.flow for one in done):
        if flow.after is not None:
            await flow.after(hot, [one.prepared for one in done if one.item.flow == flow])


async def _look(hot: Hot, items: list[_Item]) -> Cursor:
    """Ask for business time and what is answered already."""
    return await hot.execute(
        # LIMIT: one probe of the key for each, also while the planner knows nothing of the table
        # and would read it whole.
        "SELECT bifold_now(), a.fingerprint, a.status, a.location, a.body FROM"
        " unnest(%s::text[], %s::text[], %s::text[], %s::text[]) WITH ORDINALITY"
        " AS c(principal, method, route, key, place) LEFT JOIN LATERAL (SELECT i.*"
        " FROM idempotency_answers i WHERE i.principal_id = c.principal AND i.method = c.method"
        " AND i.route = c.route AND i.key = c.key LIMIT 1) AS a ON true ORDER BY c.place",
        (
            [item.claim.principal_id for item in items],
            [item.claim.method for item in items],
            [item.claim.route for item in items],
            [item.claim.key for item in items],
        ),
    )


async def _stored(looked: Cursor, items: list[_Item]) -> tuple[datetime, _Ends]:
    """Business time, and the ends of those that are answered already."""
    rows = await looked.fetchall()
    ends: _Ends = {}
    for item, (_now, mark, status, location, body) in zip(items, rows, strict=True):
        if mark is None:
            continue
        if hmac.compare_digest(bytes(mark), item.claim.fingerprint):
            ends[item] = Outcome(Answer(status, body, location), replayed=True)
        else:
            ends[item] = _mismatch()
    return rows[0][0], ends


def _mismatch() -> IdempotencyMismatch:
    return IdempotencyMismatch("This key was used for another request.")


def _busy(cause: Exception | None) -> Busy:
    busy = Busy("Too much is happening at once; try again in a moment.")
    busy.__cause__ = cause
    return busy


async def _undo(hot: Hot) -> None:
    """Roll back; a connection that is lost is found out by its next use."""
    with suppress(psycopg.Error):
        await hot.rollback()


def _with_answer(one: _Ready) -> Command:
    answer, claim = one.answer, one.item.claim
    if not 200 <= answer.status <= 299:
        raise ValueError("only a 2xx answer is stored; a refusal leaves the key free")
    return replace(
        one.prepared.command,
        answer={
            "principal_id": claim.principal_id,
            "method": claim.method,
            "route": claim.route,
            "key": claim.key,
            "fingerprint_hex": claim.fingerprint.hex(),
            "status": answer.status,
            "location": answer.location,
            "body": answer.body,
        },
    )
