"""Queries about top-ups and the cards they are taken from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock
from wallet.topups.gateway import ListLine
from wallet.topups.states import Status, Waiting, check_move

# An announced transfer is looked at when its time is over, which may be far off.
DUE = f"(next_at <= bifold_now() OR method = 'card' AND {clock.due('next_at')})"
_COLUMNS = (
    "id", "principal_id", "method", "asset", "amount_minor", "status", "card_id", "waiting_for",
    "reason", "kept_aside", "entry_id", "next_at", "expires_at", "ended_at",
)  # fmt: skip


async def insert(session: AsyncSession, values: Mapping[str, Any]) -> None:
    """Write a top-up down; what is not given is null."""
    row = {name: values.get(name) for name in _COLUMNS} | {
        "kept_aside": values.get("kept_aside", False)
    }
    await session.execute(
        text(
            f"INSERT INTO topups ({', '.join(_COLUMNS)})"
            f" VALUES ({', '.join(':' + name for name in _COLUMNS)})"
        ),
        row,
    )


async def lock(session: AsyncSession, topup_id: str) -> RowMapping | None:
    """The row and the database's business time, locked until the commit."""
    row = await session.execute(
        text("SELECT *, bifold_now() AS now FROM topups WHERE id = :id FOR NO KEY UPDATE"),
        {"id": topup_id},
    )
    return row.mappings().one_or_none()


async def get(session: AsyncSession, *, principal_id: str, topup_id: str) -> RowMapping | None:
    """One of this principal's."""
    row = await session.execute(
        text("SELECT * FROM topups WHERE id = :id AND principal_id = :who"),
        {"id": topup_id, "who": principal_id},
    )
    return row.mappings().one_or_none()


async def page(
    session: AsyncSession, *, principal_id: str, limit: int, cursor: tuple[datetime, str] | None
) -> Sequence[RowMapping]:
    """At most `limit + 1`, newest first."""
    values: dict[str, Any] = {"who": principal_id, "limit": limit + 1}
    older = ""
    if cursor is not None:
        older = " AND (created_at, id) < (:at, :id)"
        values["at"], values["id"] = cursor
    rows = await session.execute(
        text(
            f"SELECT * FROM topups WHERE principal_id = :who{older}"
            " ORDER BY created_at DESC, id DESC LIMIT :limit"
        ),
        values,
    )
    return rows.mappings().all()


async def count_pending(session: AsyncSession, *, principal_id: str) -> int:
    """How many have not ended. One count at a time for one person, until the commit."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('topups/' || :who, 0))"),
        {"who": principal_id},
    )
    found = await session.scalar(
        text("SELECT count(*) FROM topups WHERE principal_id = :who AND status = 'pending'"),
        {"who": principal_id},
    )
    return int(found or 0)


async def mark_told(session: AsyncSession, topup_id: str) -> None:
    """The gateway is about to hear of it; ever after it is asked first."""
    await session.execute(
        text("UPDATE topups SET told_at = bifold_now() WHERE id = :id AND told_at IS NULL"),
        {"id": topup_id},
    )


async def wait(
    session: AsyncSession,
    topup_id: str,
    *,
    waiting_for: Waiting,
    again_in_seconds: int | None,
    action_url: str | None = None,
) -> None:
    """It is pending still: for what, and when it is looked at again (None: never by itself)."""
    await session.execute(
        text(
            "UPDATE topups SET waiting_for = :waiting, action_url = :url, next_at ="
            " bifold_now() + CAST(:again AS integer) * interval '1 second'"
            " WHERE id = :id AND status = 'pending'"
        ),
        {"id": topup_id, "waiting": waiting_for, "url": action_url, "again": again_in_seconds},
    )


async def end(
    session: AsyncSession,
    row: RowMapping,
    status: Status,
    *,
    reason: str | None = None,
    entry_id: str | None = None,
    charge_back_entry_id: str | None = None,
    kept_aside: bool = False,
) -> None:
    """Move to a state that ends it. Raises AssertionError for a move that is not in the table."""
    check_move(row["status"], status)
    await session.execute(
        text(
            "UPDATE topups SET status = :status, reason = :reason, kept_aside = :aside,"
            " entry_id = coalesce(entry_id, :entry),"
            " charge_back_entry_id = coalesce(charge_back_entry_id, :back),"
            " waiting_for = NULL, action_url = NULL, next_at = NULL, ended_at = bifold_now()"
            " WHERE id = :id"
        ),
        {
            "id": row["id"],
            "status": status,
            "reason": reason,
            "aside": kept_aside,
            "entry": entry_id,
            "back": charge_back_entry_id,
        },
    )


async def book_aside_back(session: AsyncSession, topup_id: str, *, entry_id: str) -> None:
    """What was kept aside was charged back: the state stays, the entry is named."""
    await session.execute(
        text("UPDATE topups SET charge_back_entry_id = :entry WHERE id = :id"),
        {"id": topup_id, "entry": entry_id},
    )


async def look_again(session: AsyncSession, topup_id: str, *, again_in_seconds: int) -> None:
    """One that has ended gets a time to be asked about while its gateway's list moved money for it
    that is not booked, and loses it once all of that is, or operators have resolved it."""
    await session.execute(
        text(
            "UPDATE topups t SET next_at = CASE WHEN EXISTS (SELECT FROM gateway_lines l"
            " WHERE l.reference = t.id AND l.entry_id IS NULL AND CASE l.kind WHEN 'charge'"
            "  THEN t.entry_id ELSE t.charge_back_entry_id END IS NULL)"
            " AND NOT EXISTS (SELECT FROM gateway_resolutions r WHERE r.reference = t.id"
            "  AND r.state = 'posted' AND r.deed = 'adjust')"
            " THEN bifold_now() + CAST(:again AS integer) * interval '1 second' END"
            " WHERE id = :id AND method = 'card' AND status <> 'pending'"
        ),
        {"id": topup_id, "again": again_in_seconds},
    )


async def take_due(session: AsyncSession, *, limit: int, again_in_seconds: int) -> Sequence[str]:
    """Top-ups whose time has come, put off a little so that one look promises one job."""
    rows = await session.execute(
        text(
            "UPDATE topups SET next_at = bifold_now() + CAST(:again AS integer) * interval"
            " '1 second' WHERE id IN (SELECT id FROM topups"
            f" WHERE {DUE} ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED)"
            " RETURNING id"
        ),
        {"limit": limit, "again": again_in_seconds},
    )
    return list(rows.scalars())


async def announced(
    session: AsyncSession, *, principal_id: str, asset: str, amount_minor: int
) -> RowMapping | None:
    """The oldest bank transfer that this person said would come, of exactly this amount, locked."""
    row = await session.execute(
        text(
            "SELECT * FROM topups WHERE principal_id = :who AND asset = :asset"
            " AND amount_minor = :amount AND status = 'pending' AND method = 'bank_transfer'"
            " ORDER BY created_at, id LIMIT 1 FOR NO KEY UPDATE"
        ),
        {"who": principal_id, "asset": asset, "amount": amount_minor},
    )
    return row.mappings().one_or_none()


# The gateway's own list


async def lock_list(session: AsyncSession, gateway: str) -> None:
    """One reader of a gateway's list at a time."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('gateway/' || :gateway, 0))"),
        {"gateway": gateway},
    )


async def last_line(session: AsyncSession, *, gateway: str, asset: str) -> int:
    """The highest line read so far; lines of one asset commit in the order of their ids."""
    found = await session.scalar(
        text(
            "SELECT coalesce(max(line_id), 0) FROM gateway_lines"
            " WHERE gateway = :gateway AND asset = :asset"
        ),
        {"gateway": gateway, "asset": asset},
    )
    return int(found or 0)


async def insert_line(
    session: AsyncSession, line: ListLine, *, gateway: str, entry_id: str | None
) -> None:
    """Keep a line as read. `entry_id`: it was booked for nobody known."""
    await session.execute(
        text(
            "INSERT INTO gateway_lines (gateway, line_id, asset, kind, reference, amount_minor,"
            " at, entry_id) VALUES (:gateway, :line, :asset, :kind, :reference, :amount, :at,"
            " :entry)"
        ),
        {
            "gateway": gateway,
            "line": line.line_id,
            "asset": line.asset,
            "kind": line.kind,
            "reference": line.reference,
            "amount": line.amount_minor,
            "at": line.at,
            "entry": entry_id,
        },
    )


async def resolved(session: AsyncSession, topup_id: str) -> set[str]:
    """What operators did about differences of it with the gateway's list. Ask with its row locked.

    Once they have booked a difference (`adjust`), its amount is no guide any more: the worker books
    nothing by itself for it, and what the list moves later is another difference.
    """
    rows = await session.execute(
        text("SELECT deed FROM gateway_resolutions WHERE reference = :id AND state = 'posted'"),
        {"id": topup_id},
    )
    return set(rows.scalars())


async def exists(session: AsyncSession, topup_id: str) -> bool:
    """Whether a card top-up of that reference was ever made here."""
    found = await session.scalar(
        text("SELECT 1 FROM topups WHERE id = :id AND method = 'card'"), {"id": topup_id}
    )
    return found is not None


async def known(session: AsyncSession, topup_id: str) -> bool:
    """Whether there is a top-up of this id, of either method."""
    found = await session.scalar(text("SELECT 1 FROM topups WHERE id = :id"), {"id": topup_id})
    return found is not None


async def keep_aside(session: AsyncSession, row: RowMapping, *, entry_id: str, reason: str) -> None:
    """The money came and could not be credited: failed for its owner, booked for nobody."""
    await session.execute(
        text(
            "UPDATE topups SET status = 'failed', reason = :reason, kept_aside = true,"
            " entry_id = :entry, waiting_for = NULL, action_url = NULL, next_at = NULL,"
            " ended_at = bifold_now() WHERE id = :id"
        ),
        {"id": row["id"], "entry": entry_id, "reason": reason},
    )
