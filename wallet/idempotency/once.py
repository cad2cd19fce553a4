"""The edge of an idempotent request: claim, work, store, commit; rivals wait for the first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from wallet.crashpoints import hit
from wallet.db import Database
from wallet.idempotency.answers import Answer, Claim, claim, replay, store
from wallet.idempotency.errors import IdempotencyInProgress

RIVAL_WAIT_SECONDS = 5.0
POLL_FIRST_SECONDS = 0.02
POLL_MOST_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer and whether it is the repeat of an earlier one."""

    answer: Answer
    replayed: bool


async def once(
    db: Database,
    asked: Claim,
    work: Callable[[AsyncSession], Awaitable[Answer]],
    *,
    before: Callable[[], Awaitable[None]] | None = None,
    wait_seconds: float = RIVAL_WAIT_SECONDS,
) -> Outcome:
    """Do `work` and store its answer in one transaction, or give the stored answer again.

    `before` runs with no transaction open (a read-only call to a node, say), and only when nothing
    is stored yet. A rival holds no connection between its polls. Deadlocks are retried by the
    database edge, so `work` may run more than once; only one of its runs is committed.
    Raises IdempotencyMismatch, IdempotencyInProgress, and whatever `work` refuses with.
    """

    async def attempt(session: AsyncSession) -> Outcome | None:
        claimed = await claim(session, asked)
        # A stored answer is committed and final: who only repeats it needs no claim, so that many
        # rivals are told at once instead of one by one.
        stored = await replay(session, asked)
        if stored is not None:
            return Outcome(stored.answer, replayed=True)
        if not claimed:
            return None
        answer = await work(session)
        await store(session, asked, answer)
        hit("idempotency.before_commit")
        return Outcome(answer, replayed=False)

    if before is not None:
        async with db.transaction() as session:
            stored = await replay(session, asked)
        if stored is not None:
            return Outcome(stored.answer, replayed=True)
        await before()
    deadline = time.monotonic() + wait_seconds
    pause = POLL_FIRST_SECONDS
    while True:
        outcome = await db.run(attempt)
        if outcome is not None:
            hit("idempotency.after_commit")
            return outcome
        if time.monotonic() >= deadline:
            raise IdempotencyInProgress("The first request with this key is still running.")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, POLL_MOST_SECONDS)
