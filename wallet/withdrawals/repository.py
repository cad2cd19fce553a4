"""Queries of withdrawals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.withdrawals.states import Status


@dataclass(frozen=True, slots=True)
class Row:
    """One withdrawal as stored. `_minor` of `asset`; `fee_minor` None until it is due."""

    id: str
    principal_id: str
    network: str
    asset: str
    amount_minor: int
    to_address: str
    status: Status
    failure_code: str | None
    gas_rate: Decimal
    fee_bound_minor: int
    fee_expected_minor: int
    fee_minor: int | None
    hold_id: str
    intent_id: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Joined:
    """A withdrawal with what its intent says now."""

    row: Row
    waiting_for: str | None
    mined_tx_hash: str | None
    mined_block: int | None
    cancel_requested: bool
    head_number: int | None
    batch_id: str | None = None


async def insert(session: AsyncSession, values: Mapping[str, Any]) -> Row:
    """A new withdrawal. Columns are named by our own code."""
    columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    row = (
        await session.execute(
            text(f"INSERT INTO withdrawals ({columns}) VALUES ({places}) RETURNING *"),
            dict(values),
        )
    ).one()
    return _row(row)


async def lock_by_intent(session: AsyncSession, intent_id: str) -> Row | None:
    """The withdrawal of an intent, locked until the commit."""
    row = (
        await session.execute(
            text("SELECT * FROM withdrawals WHERE intent_id = :id FOR UPDATE"), {"id": intent_id}
        )
    ).one_or_none()
    return None if row is None else _row(row)


async def is_backed(session: AsyncSession, *, intent_id: str, ref: str) -> bool:
    """Whether intent, withdrawal and hold say the same, and the money is its owner's. A withdrawal
    calls nothing: what a call moves is in none of these figures."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM chain_intents i JOIN withdrawals w"
                "  ON w.intent_id = i.id AND w.network = i.network AND w.asset = i.asset"
                "  AND w.amount_minor = i.amount_minor AND w.to_address = i.to_address"
                "  AND i.data IS NULL AND i.authorizations IS NULL"
                " JOIN holds h ON h.id = w.hold_id AND h.ref = w.id AND h.status = 'open'"
                "  AND h.captured_minor = 0 AND h.released_minor = 0"
                "  AND h.amount_minor = w.amount_minor + w.fee_bound_minor"
                " JOIN accounts a ON a.id = h.account_id AND a.asset = w.asset"
                "  AND a.principal_id = w.principal_id"
                " WHERE i.id = :intent AND w.id = :ref AND w.status = 'held')"
            ),
            {"intent": intent_id, "ref": ref},
        )
    )


async def queued_of(session: AsyncSession, principal_id: str, *, limit: int) -> list[str]:
    """The intents of somebody's withdrawals that have no nonce, nor a batch that has; oldest
    first."""
    rows = await session.execute(
        text(
            "SELECT i.id FROM withdrawals w JOIN chain_intents i ON i.id = w.intent_id"
            " WHERE w.principal_id = :who AND w.status = 'held' AND i.state = 'queued'"
            " ORDER BY w.created_at, w.id LIMIT :limit"
        ),
        {"who": principal_id, "limit": limit},
    )
    return list(rows.scalars())


async def owner_of(session: AsyncSession, intent_id: str) -> str | None:
    """Whose withdrawal an intent pays."""
    return await session.scalar(  # type: ignore[no-any-return]
        text("SELECT principal_id FROM withdrawals WHERE intent_id = :id"), {"id": intent_id}
    )


async def network_of(session: AsyncSession, withdrawal_id: str) -> str | None:
    """The network a withdrawal leaves on."""
    return await session.scalar(  # type: ignore[no-any-return]
        text("SELECT network FROM withdrawals WHERE id = :id"), {"id": withdrawal_id}
    )


async def update(session: AsyncSession, withdrawal_id: str, changes: Mapping[str, Any]) -> Row:
    """Write `changes` (columns named by our own code) and return the row."""
    sets = ", ".join(f"{name} = :{name}" for name in changes)
    row = (
        await session.execute(
            text(
                f"UPDATE withdrawals SET {sets}, updated_at = bifold_now()"
                " WHERE id = :withdrawal_id RETURNING *"
            ),
            {**changes, "withdrawal_id": withdrawal_id},
        )
    ).one()
    return _row(row)


async def add_event(
    session: AsyncSession, withdrawal_id: str, event: str, detail: Mapping[str, Any]
) -> None:
    """One more line of its history."""
    await session.execute(
        text(
            "INSERT INTO withdrawal_events (withdrawal_id, type, detail)"
            " VALUES (:id, :type, CAST(:detail AS jsonb))"
        ),
        {"id": withdrawal_id, "type": event, "detail": orjson.dumps(dict(detail)).decode()},
    )


async def events(session: AsyncSession, withdrawal_ids: list[str]) -> dict[str, list[Any]]:
    """History by withdrawal, oldest first."""
    rows = await session.execute(
        text(
            "SELECT withdrawal_id, type, detail, at FROM withdrawal_events"
            " WHERE withdrawal_id = ANY(:ids) ORDER BY id"
        ),
        {"ids": withdrawal_ids},
    )
    found: dict[str, list[Any]] = {withdrawal_id: [] for withdrawal_id in withdrawal_ids}
    for row in rows:
        found[row.withdrawal_id].append(row)
    return found


async def find(session: AsyncSession, *, principal_id: str, withdrawal_id: str) -> Joined | None:
    """One withdrawal of this principal."""
    row = (
        await session.execute(
            text(_SELECT + " WHERE w.id = :id AND w.principal_id = :principal"),
            {"id": withdrawal_id, "principal": principal_id},
        )
    ).one_or_none()
    return None if row is None else _joined(row)


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
) -> list[Joined]:
    """Newest first, `limit` rows at most."""
    rows = await session.execute(
        text(
            _SELECT + " WHERE w.principal_id = :principal"
            " AND (CAST(:at AS timestamptz) IS NULL OR (w.created_at, w.id) < (:at, :id))"
            " ORDER BY w.created_at DESC, w.id DESC LIMIT :limit"
        ),
        {
            "principal": principal_id,
            "limit": limit,
            "at": cursor[0] if cursor else None,
            "id": cursor[1] if cursor else None,
        },
    )
    return [_joined(row) for row in rows]


_SELECT = (
    "SELECT w.*, i.waiting_for, i.mined_tx_hash, i.mined_block,"
    " i.cancel_requested_at IS NOT NULL AS cancel_requested, n.head_number, i.batch_id"
    " FROM withdrawals w"
    " JOIN chain_intents i ON i.id = w.intent_id"
    " LEFT JOIN network_state n ON n.network = w.network"
)


def _joined(row: Any) -> Joined:
    return Joined(
        _row(row),
        row.waiting_for,
        row.mined_tx_hash,
        row.mined_block,
        row.cancel_requested,
        row.head_number,
        row.batch_id,
    )


def _row(row: Any) -> Row:
    return Row(
        id=row.id,
        principal_id=row.principal_id,
        network=row.network,
        asset=row.asset,
        amount_minor=int(row.amount_minor),
        to_address=row.to_address,
        status=Status(row.status),
        failure_code=row.failure_code,
        gas_rate=row.gas_rate,
        fee_bound_minor=int(row.fee_bound_minor),
        fee_expected_minor=int(row.fee_expected_minor),
        fee_minor=None if row.fee_minor is None else int(row.fee_minor),
        hold_id=row.hold_id,
        intent_id=row.intent_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
