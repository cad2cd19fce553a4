"""Reads the `activity` view, newest first, by keyset.

A view over several tables cannot be read in order: PostgreSQL would gather a whole history and
sort it. So each table gives the ids of its own next lines, by the index it has for that, and the
view says what those few are. What is searched by words has no index and reads everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import NotFound
from wallet.money import AssetBook, Money

KINDS = ("transfer", "deposit", "withdrawal", "conversion", "payment", "topup", "hold")


@dataclass(frozen=True, slots=True)
class Activity:
    """One line of the timeline. `direction`: in, out or exchange."""

    id: str
    kind: str
    status: str
    direction: str
    money: Money
    fee: Money | None
    target: Money | None
    counterparty: str | None
    counterparty_name: str | None
    note: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ActivityFilter:
    """What to show; None means everything."""

    kind: str | None = None
    asset: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """A table of the view. `owner`: whose lines; `asset`: a condition on `:asset`."""

    kind: str
    table: str
    owner: str
    asset: str = "s.asset = :asset"


_QUOTED = "payments s JOIN quotes q ON q.id = s.quote_id"
_HELD = "payment_holds s JOIN holds h ON h.id = s.id"
_SOURCES = (
    _Source("transfer", "transfers s", "s.payer_id"),
    _Source("transfer", "transfers s", "s.payee_id"),
    _Source("deposit", "deposits s", "s.principal_id"),
    _Source("withdrawal", "withdrawals s", "s.principal_id"),
    _Source("conversion", "conversions s", "s.principal_id",
            asset=":asset IN (s.source_asset, s.target_asset)"),
    _Source("payment", _QUOTED, "s.principal_id",
            asset=":asset IN (q.source_asset, q.target_asset)"),
    _Source("topup", "topups s", "s.principal_id"),
    _Source("hold", _HELD, "s.payer_id", asset="h.asset = :asset"),
    _Source("hold", _HELD, "s.payee_id", asset="h.asset = :asset"),
)  # fmt: skip
_WORDS = "concat_ws(' ', id, counterparty, counterparty_name, note) ILIKE :words ESCAPE '\\'"


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
    assets: AssetBook,
    only: ActivityFilter | None = None,
) -> list[Activity]:
    """At most `limit + 1` lines, so that the caller sees whether there are more."""
    chosen = only or ActivityFilter()
    values: dict[str, Any] = {"principal": principal_id, "limit": limit + 1}
    for name in ("kind", "asset", "since", "until"):
        if (value := getattr(chosen, name)) is not None:
            values[name] = value
    if cursor is not None:
        values["at"], values["id"] = cursor
    if chosen.words is not None:
        values["words"] = _like(chosen.words)
        wanted = " AND ".join([_WORDS, *_bounds("created_at", "id", chosen, cursor)])
        if chosen.kind is not None:
            wanted += " AND kind = :kind"
        if chosen.asset is not None:
            wanted += " AND :asset IN (asset, target_asset)"
    else:
        values.pop("kind", None)
        wanted = f"id = ANY(ARRAY({_next_ids(chosen, cursor)}))"
    rows = await session.execute(
        text(
            f"SELECT * FROM activity WHERE principal_id = :principal AND {wanted}"
            " ORDER BY created_at DESC, id DESC LIMIT :limit"
        ),
        values,
    )
    return [_activity(row._mapping, assets) for row in rows]


def _next_ids(chosen: ActivityFilter, cursor: tuple[datetime, str] | None) -> str:
    """The ids of the page: each table's next ones, and of those the newest."""
    parts = []
    for source in _SOURCES:
        if chosen.kind not in (None, source.kind):
            continue
        conditions = [
            f"{source.owner} = :principal",
            *([source.asset] if chosen.asset is not None else ()),
            *_bounds("s.created_at", "s.id", chosen, cursor),
        ]
        parts.append(
            f"(SELECT s.id AS id, s.created_at FROM {source.table}"
            f" WHERE {' AND '.join(conditions)}"
            " ORDER BY s.created_at DESC, s.id DESC LIMIT :limit)"
        )
    every = " UNION ALL ".join(parts)
    return f"SELECT n.id FROM ({every}) n ORDER BY n.created_at DESC, n.id DESC LIMIT :limit"


def _bounds(
    created_at: str, id_: str, chosen: ActivityFilter, cursor: tuple[datetime, str] | None
) -> list[str]:
    bounds = []
    if chosen.since is not None:
        bounds.append(f"{created_at} >= :since")
    if chosen.until is not None:
        bounds.append(f"{created_at} < :until")
    if cursor is not None:
        bounds.append(f"({created_at}, {id_}) < (:at, :id)")
    return bounds


async def get(
    session: AsyncSession, *, principal_id: str, activity_id: str, assets: AssetBook
) -> Activity:
    """One line of this principal. Raises NotFound."""
    row = (
        await session.execute(
            text("SELECT * FROM activity WHERE principal_id = :principal AND id = :id"),
            {"principal": principal_id, "id": activity_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such activity.")
    return _activity(row._mapping, assets)


def _like(words: str) -> str:
    escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _activity(row: Any, assets: AssetBook) -> Activity:
    def money(asset: str | None, minor: Any) -> Money | None:
        return None if asset is None or minor is None else assets.money(asset, int(minor))

    return Activity(
        id=row["id"],
        kind=row["kind"],
        status=row["status"],
        direction=row["direction"],
        money=assets.money(row["asset"], int(row["amount_minor"])),
        fee=money(row["fee_asset"], row["fee_minor"]),
        target=money(row["target_asset"], row["target_minor"]),
        counterparty=row["counterparty"],
        counterparty_name=row["counterparty_name"],
        note=row["note"],
        created_at=row["created_at"],
    )
