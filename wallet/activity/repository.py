"""Reads the `activity` view, newest first, by keyset."""

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


_CONDITIONS = (
    ("kind", "kind = :kind"),
    ("asset", ":asset IN (asset, target_asset)"),
    ("since", "created_at >= :since"),
    ("until", "created_at < :until"),
    (
        "words",
        "concat_ws(' ', id, counterparty, counterparty_name, note) ILIKE :words ESCAPE '\\'",
    ),
)


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
    conditions = ["principal_id = :principal"]
    for name, condition in _CONDITIONS:
        value = getattr(chosen, name)
        if value is not None:
            conditions.append(condition)
            values[name] = _like(value) if name == "words" else value
    if cursor is not None:
        conditions.append("(created_at, id) < (:at, :id)")
        values["at"], values["id"] = cursor
    rows = await session.execute(
        text(
            f"SELECT * FROM activity WHERE {' AND '.join(conditions)}"
            " ORDER BY created_at DESC, id DESC LIMIT :limit"
        ),
        values,
    )
    return [_activity(row._mapping, assets) for row in rows]


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
