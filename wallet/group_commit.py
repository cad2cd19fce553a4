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
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar, cast
from weakref import WeakSet

import psycopg
import structlog
from psycopg import errors as pg

from wallet.crashpoints import hit
from wallet.db import Database
from wallet.errors import Busy
from wallet.group_batch import (
    Flow,
    Item,
    Name,
    answer_row,
    away,
    busy,
    judged,
    mismatch,
    prepared_of,
    write_after,
)
from wallet.idempotency import Answer, Claim, IdempotencyInProgress, Outcome
from wallet.idempotency.once import RIVAL_WAIT_SECONDS
from wallet.ledger import (
    AccountIds,
    Hot,
    all_known,
    post_batch,
    post_known,
)

WRITERS = 2
CROWD = 4
"""So many wait at least before the second writer starts beside the first: small batches cost more
than a short wait."""
FORGETS = 0.95
"""What is left, a batch later, of the most that were under way at once."""
MOST = 128
"""Commands in one transaction at most: beyond it they wait longer than they save."""
TRIES = 5
RETRY_BASE_SECONDS = 0.02
REST_SECONDS = 1.0
"""A writer without work keeps its connection so long: taking one costs half of a small batch."""
PATIENCE_SECONDS = 0.05
"""So long a few wait for more, or for the batch before: that one may wait for somebody's lock."""
# Another process stored the same key first; a deadlock with a flow; both are done again whole.
AGAIN = (pg.UniqueViolation, pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable)

log = structlog.get_logger("group_commit")

Asked = TypeVar("Asked")
Made = TypeVar("Made")


class GroupWriter:
    """The queue of one process, and the tasks that empty it. They outlive their work by a rest."""

    def __init__(self, db: Database, *, writers: int = WRITERS, most: int = MOST) -> None:
        self._db = db
        self._most = most
        self._waiting: deque[Item] = deque()
        known: dict[str, str] = {}
        self._free = [AccountIds(known) for _ in range(writers)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._resting: list[asyncio.Future[bool]] = []
        self._pausing = 0
        self._crowd = 0.0
        self._late: asyncio.TimerHandle | None = None
        self._seen: WeakSet[Hot] = WeakSet()
        self._closing = False
        self._running: dict[Name, Item] = {}
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
        item = Item(claim, flow, asked, shape, asyncio.get_running_loop().create_future())
        name = item.name
        if name in self._running:
            told = await self._outlive(claim, name, time.monotonic() + wait_seconds)
            if told is not None:
                return told
        self._running[name] = item
        self._put([item])
        # A client that leaves cancels only its own wait: the command may be in a transaction.
        return await item.told

    async def _outlive(self, claim: Claim, name: Name, until: float) -> Outcome | None:
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
                    raise mismatch()
                return replace(outcome, replayed=True)
        return None

    async def aclose(self) -> None:
        """Finish what was taken in."""
        self._closing = True
        while self._tasks:
            for resting in list(self._resting):
                self._wake(resting, False)
            await asyncio.wait(list(self._tasks))

    def _put(self, items: Iterable[Item]) -> None:
        self._waiting.extend(items)
        if self._at_work and not self._enough:
            self._soon()
        else:
            self._begin()

    def _begin(self) -> None:
        """One more writer, if there is one."""
        if self._resting:
            self._wake(self._resting[-1], True)
        elif self._free:
            task = asyncio.create_task(self._write(self._free.pop()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _soon(self) -> None:
        if self._late is None:
            loop = asyncio.get_running_loop()
            self._late = loop.call_later(PATIENCE_SECONDS, self._overdue)

    def _overdue(self) -> None:
        self._late = None
        if self._waiting:
            self._begin()

    @property
    def _at_work(self) -> int:
        """Writers that will look at the queue soon: neither rest nor wait to try again."""
        return len(self._tasks) - len(self._resting) - self._pausing

    async def _write(self, ids: AccountIds) -> None:
        """Empty the queue over one connection, and again after a rest if more has come."""
        try:
            while self._waiting:
                try:
                    async with self._db.driver_alone() as hot:
                        if hot not in self._seen:  # perhaps to another server than the last ones
                            self._seen.add(hot)
                            ids.forget()
                        while True:
                            while self._waiting:
                                await self._take(hot, ids)
                                if self._waiting and self._at_work > 1 and not self._enough:
                                    self._soon()
                                    break  # the other takes it, or it becomes worth a batch
                            if not await self._rest():
                                break
                            _still_there(hot)
                except psycopg.Error as error:  # told to whom it concerned
                    log.warning("group_commit.connection_lost", error=type(error).__name__)
                except Exception as error:  # noqa: BLE001 - no connection to be had
                    if len(self._tasks) - len(self._resting) > 1:
                        return  # the other writer has one, and who waits waits for it
                    self._fail([self._waiting.popleft() for _ in range(len(self._waiting))], error)
        finally:
            ids.lost()
            self._free.append(ids)
            # At once, not a turn of the loop later: what comes in between would wait for the next.
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if self._waiting and not self._at_work:
                self._begin()  # one came while the last transaction ended, and nobody works

    async def _rest(self) -> bool:
        """Until something comes; False: it is time to give the connection back."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()
        self._resting.append(woken)
        timer = loop.call_later(0 if self._closing else REST_SECONDS, self._wake, woken, False)
        try:
            return await woken
        finally:
            timer.cancel()
            if woken in self._resting:  # cancelled
                self._resting.remove(woken)

    def _wake(self, resting: asyncio.Future[bool], work: bool) -> None:
        if resting in self._resting:
            self._resting.remove(resting)
            if not resting.done():
                resting.set_result(work)

    @property
    def _half(self) -> int:
        """A batch beside another: half of who is about. While these are posted, the others come,
        are looked up and go; all at once would leave this process and the database to wait for each
        other, and what is left when some answers are still being written would be batches too
        small."""
        crowd = max(len(self._running), round(self._crowd))
        return min(max(-(-crowd // 2), CROWD), self._most)

    @property
    def _enough(self) -> bool:
        """Whether a batch beside another is worth its while: half of one, for more come while the
        writer wakes. Nobody waits longer than for the batch before, or PATIENCE_SECONDS."""
        return self._closing or len(self._waiting) >= max(-(-self._half // 2), CROWD)

    def _next(self) -> list[Item]:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._crowd = max(len(self._running), self._crowd * FORGETS)
        count = min(len(self._waiting), self._half)
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
            self._fail(items, away(error))
            raise
        except Exception as error:  # noqa: BLE001 - told to whom it belongs
            ids.lost()
            await _undo(hot)
            if len(items) > 1:  # one of them breaks: each alone, so that only that one does
                await self._each_alone(hot, ids, items)
            else:
                self._fail(items, error)
        except BaseException:
            self._fail(items, Busy("The service is ending; try again in a moment."))
            raise

    async def _each_alone(self, hot: Hot, ids: AccountIds, items: list[Item]) -> None:
        left = deque(items)
        try:
            while left:
                await self._alone(hot, ids, left[0])
                left.popleft()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._fail(left, away(error))
            raise
        except BaseException:
            waiting = set(self._waiting)  # one that waited to be tried again is tried again
            self._fail(
                [one for one in left if one not in waiting],
                Busy("The service is ending; try again in a moment."),
            )
            raise

    async def _alone(self, hot: Hot, ids: AccountIds, item: Item) -> None:
        try:
            await self._batch(hot, ids, [item])
        except AGAIN as error:
            ids.lost()
            await _undo(hot)
            await self._again([item], error)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            ids.lost()
            self._fail([item], away(error))
            raise
        except Exception as error:  # noqa: BLE001 - told to whom it belongs
            ids.lost()
            await _undo(hot)
            self._fail([item], error)

    async def _batch(self, hot: Hot, ids: AccountIds, items: list[Item]) -> None:
        """One transaction; everybody is answered when it is durable."""
        ready, ends = await prepared_of(hot, items)
        commands = [one.prepared.command for one in ready]
        answers = [answer_row(one) for one in ready]
        known = await ids.existing(hot, (spec for one in commands for spec in one.accounts))
        if not ready:
            pass
        elif all_known(commands, known) and all(one.item.flow.after is None for one in ready):
            hit("transfer.posted")  # who dies here or in the statement has written nothing
            hit("idempotency.before_commit")
            hit("db.before_commit")
            told = await post_known(hot, commands, known, answers=answers, turn=self._turn)
            judged(ready, told, ends)
        else:
            async with hot.transaction():
                done = judged(ready, await post_batch(hot, commands, ids, answers=answers), ends)
                hit("transfer.posted")
                await write_after(hot, done)
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
                self._refuse(item, busy(None))
        self._waiting.extendleft(reversed(again))

    async def _again(self, items: list[Item], error: Exception) -> None:
        """The whole batch once more, a little later; not for ever."""
        spent = [item for item in items if item.tries >= TRIES]
        self._fail(spent, busy(error))
        left = [item for item in items if item.tries < TRIES]
        for item in left:
            item.tries += 1
        if left:
            pause = RETRY_BASE_SECONDS * 2 ** (left[0].tries - 1)
            self._pausing += 1
            if self._waiting and not self._at_work:
                self._begin()  # others need not wait for this pause
            try:
                await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - hides nothing
            finally:
                self._pausing -= 1
                self._waiting.extendleft(reversed(left))

    def _fail(self, items: Iterable[Item], error: BaseException) -> None:
        for item in items:
            self._refuse(item, error)

    def _tell(self, item: Item, outcome: Outcome) -> None:
        self._ended(item, outcome)
        if not item.told.done():
            item.told.set_result(outcome)

    def _refuse(self, item: Item, error: BaseException) -> None:
        self._ended(item, None)
        if not item.told.done():
            item.told.set_exception(error)
            item.told.exception()  # somebody who left does not hear it: that is no defect

    def _ended(self, item: Item, outcome: Outcome | None) -> None:
        if self._running.get(item.name) is item:  # told once already, it may be another's by now
            del self._running[item.name]
        for rival in item.rivals:
            if not rival.done():
                rival.set_result(outcome)
        item.rivals.clear()


def _still_there(hot: Hot) -> None:
    """A server that ends says so to a connection nobody uses. Raises psycopg.OperationalError."""
    readable = select.poll()
    readable.register(hot.pgconn.socket, select.POLLIN)
    if readable.poll(0):
        raise psycopg.OperationalError("the connection was lost while nobody used it")


async def _undo(hot: Hot) -> None:
    """Roll back; a connection that is lost is found out by its next use."""
    with suppress(psycopg.Error):
        await hot.rollback()
