"""Promises: rows written with what they speak of, published by the relay in one gapless order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.db import Database
from wallet.ids import new_id

CHANNEL = "bifold_events"
TICK_SECONDS = 0.15
DUE = "EXISTS (SELECT FROM outbox)"
BATCH = 2_000
NOTIFY_PRINCIPALS = 60  # keeps a payload under PostgreSQL's 8,000 bytes; more is told as "*"


@dataclass(frozen=True, slots=True)
class Notice:
    """What the relay will tell `principal_id`: event `type` about `ref`."""

    principal_id: str | None
    type: str
    ref: str
    data: Mapping[str, Any] = field(default_factory=dict)


async def put(session: AsyncSession, *notices: Notice) -> None:
    """Promise in the caller's transaction, in this order. Commands of `ledger_post` carry theirs
    themselves."""
    if not notices:
        return
    await session.execute(
        text(
            "INSERT INTO outbox (principal_id, type, ref, data) SELECT n.principal, n.type, n.ref,"
            " n.data FROM unnest(CAST(:principals AS text[]), CAST(:types AS text[]),"
            " CAST(:refs AS text[]), CAST(:data AS jsonb[])) WITH ORDINALITY"
            " AS n (principal, type, ref, data, place) ORDER BY n.place"
        ),
        {
            "principals": [notice.principal_id for notice in notices],
            "types": [notice.type for notice in notices],
            "refs": [notice.ref for notice in notices],
            "data": [orjson.dumps(dict(notice.data)).decode() for notice in notices],
        },
    )


class Relay:
    """Moves outbox rows to `events` and wakes listeners: one NOTIFY a tick, however many rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def _waiting(self) -> int:
        """One cheap look without a transaction. At most BATCH."""
        found = await self._db.look(
            "SELECT count(*) FROM (SELECT FROM outbox LIMIT :batch) w", {"batch": BATCH}
        )
        return int(found or 0)

    async def tick(self) -> int:
        """Publish what is promised by now; returns how many. One leader at a time calls this."""
        waiting = await self._waiting()
        if not waiting:
            return 0
        async with self._db.transaction() as session:
            told = (
                await session.execute(
                    text("SELECT seq, principal_id FROM events_publish(:ids)"),
                    {"ids": [new_id("evt") for _ in range(waiting)]},
                )
            ).all()
            if not told:
                return 0
            await session.execute(
                text("SELECT pg_notify(:channel, :payload)"),
                {
                    "channel": CHANNEL,
                    "payload": _payload(
                        max(int(row.seq) for row in told), {row.principal_id for row in told}
                    ),
                },
            )
        return len(told)


def _payload(seq: int, about: set[str | None]) -> str:
    """JSON of the last seq and the principals concerned; `"*"` stands for many."""
    principals = sorted(principal for principal in about if principal)
    told: list[str] | str = principals if len(principals) <= NOTIFY_PRINCIPALS else "*"
    return orjson.dumps({"seq": seq, "principals": told}).decode()
