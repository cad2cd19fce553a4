"""The sealer's loop, and the newest link. The order and the hashes are made by `seal` in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.db import Database

TICK_SECONDS = 0.2  # with the tick itself far below the second that is promised
BATCH = 5_000
# A backlog is sealed in several transactions a tick, then the loop looks whether it still leads.
BATCHES_A_TICK = 10

DUE = (
    "EXISTS (SELECT FROM unsealed) OR EXISTS (SELECT FROM unsealed_log) OR"
    " coalesce((SELECT max(seq) FROM events), 0) > coalesce((SELECT subject::bigint FROM seals"
    " WHERE kind = 'event' ORDER BY seq DESC LIMIT 1), 0)"
)


OLDEST = (
    "SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 FROM entries"
    " WHERE id = (SELECT entry_id FROM unsealed ORDER BY entry_id LIMIT 1)"
)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest link: what an operator writes down outside, to hold the chain against later."""

    chain: str
    seq: int
    hash: bytes
    sealed_at: datetime


class Sealer:
    """Seals what was committed. Any number may run: they wait for one another in the database."""

    def __init__(self, db: Database, *, batch: int = BATCH) -> None:
        self._db = db
        self._batch = batch

    async def tick(self) -> int:
        """Seal what can be seen now; returns how many links were made."""
        if not await self._db.look("SELECT " + DUE):
            return 0
        sealed = 0
        for _ in range(BATCHES_A_TICK):
            async with self._db.transaction() as session:
                made = int(await session.scalar(text("SELECT seal(:n)"), {"n": self._batch}) or 0)
            sealed += made
            if made < self._batch:
                break
        return sealed


async def head(session: AsyncSession) -> Head:
    """The newest link, and the name of the chain."""
    row = (
        await session.execute(
            text(
                "SELECT g.subject, s.seq, s.hash, s.sealed_at FROM seals s, seals g"
                " WHERE g.seq = 0 ORDER BY s.seq DESC LIMIT 1"
            )
        )
    ).one()
    return Head(row.subject, int(row.seq), bytes(row.hash), row.sealed_at)


async def tail_seconds(session: AsyncSession) -> float:
    """For how long the oldest entry has waited for its seal; 0 when none waits."""
    return float(await session.scalar(text(OLDEST)) or 0.0)
