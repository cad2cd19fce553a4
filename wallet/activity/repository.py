"""Reads the `activity` view, newest first, by keyset.

A view over several tables cannot be read in order: PostgreSQL would gather a whole history and
sort it. So each table gives the ids of its own next lines, by the index it has for that, and the
view says what those few are. What is searched by words has no index and reads everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wallet.db import Reader
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
    """A table of the view. `owner`: whose lines; `asset`: a condition on `%(asset)s`."""

    kind: str
    table: str
    owner: str
    asset: str = "s.asset = %(asset)s"


_QUOTED = "payments s JOIN quotes q ON q.id = s.quote_id"
_HELD = "payment_holds s JOIN holds h ON h.id = s.id"
_SOURCES = (
    _Source("transfer", "transfers s", "s.payer_id"),
    _Source("transfer", "transfers s", "s.payee_id"),
    _Source("deposit", "deposits s", "s.principal_id"),
    _Source("withdrawal", "withdrawals s", "s.principal_id"),
    _Source("conversion", "conversions s", "s.principal_id",
            asset="%(asset)s IN (s.source_asset, s.target_asset)"),
    _Source("payment", _QUOTED, "s.principal_id",
            asset="%(asset)s IN (q.source_asset, q.target_asset)"),
    _Source("topup", "topups s", "s.principal_id"),
    _Source("hold", _HELD, "s.payer_id", asset="h.asset = %(asset)s"),
    _Source("hold", _HELD, "s.payee_id", asset="h.asset = %(asset)s"),
)  # fmt: skip
_COLUMNS = (
    "id, kind, status, direction, asset, amount_minor, fee_asset, fee_minor, target_asset,"
    " target_minor, counterparty, counterparty_name, note, created_at"
)
_WORDS = "concat_ws(' ', id, counterparty, counterparty_name, note) ILIKE %(words)s ESCAPE '\\'"


async def page(
    reader: Reader,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
    assets: AssetBook,
    only: ActivityFilter | None = None,
) -> list[Activity]:
    """At most `limit + 1` lines, so that the caller sees whether there are more. One statement, on
    the driver's own connection: people look at this more often than at anything else."""
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
            wanted += " AND kind = %(kind)s"
        if chosen.asset is not None:
            wanted += " AND %(asset)s IN (asset, target_asset)"
    else:
        values.pop("kind", None)
        wanted = f"id = ANY(ARRAY({_next_ids(chosen, cursor)}))"
    rows = await reader.execute(
        f"SELECT {_COLUMNS} FROM activity WHERE principal_id = %(principal)s AND {wanted}"
        " ORDER BY created_at DESC, id DESC LIMIT %(limit)s",
        values,
    )
    return [_activity(row, assets) for row in await rows.fetchall()]


def _next_ids(chosen: ActivityFilter, cursor: tuple[datetime, str] | None) -> str:
    """The ids of the page: each table's next ones, and of those the newest."""
    parts = []
    for source in _SOURCES:
        if chosen.kind not in (None, source.kind):
            continue
        conditions = [
            f"{source.owner} = %(principal)s",
            *([source.asset] if chosen.asset is not None else ()),
            *_bounds("s.created_at", "s.id", chosen, cursor),
        ]
        parts.append(
            f"(SELECT s.id AS id, s.created_at FROM {source.table}"
            f" WHERE {' AND '.join(conditions)}"
            " ORDER BY s.created_at DESC, s.id DESC LIMIT %(limit)s)"
        )
    every = " UNION ALL ".join(parts)
    return f"SELECT n.id FROM ({every}) n ORDER BY n.created_at DESC, n.id DESC LIMIT %(limit)s"


def _bounds(
    created_at: str, id_: str, chosen: ActivityFilter, cursor: tuple[datetime, str] | None
) -> list[str]:
    bounds = []
    if chosen.since is not None:
        bounds.append(f"{created_at} >= %(since)s")
    if chosen.until is not None:
        bounds.append(f"{created_at} < %(until)s")
    if cursor is not None:
        bounds.append(f"({created_at}, {id_}) < (%(at)s, %(id)s)")
    return bounds


async def get(
    reader: Reader, *, principal_id: str, activity_id: str, assets: AssetBook
) -> Activity:
    """One line of this principal. Raises NotFound."""
    rows = await reader.execute(
        f"SELECT {_COLUMNS} FROM activity WHERE principal_id = %(principal)s AND id = %(id)s",
        {"principal": principal_id, "id": activity_id},
    )
    row = await rows.fetchone()
    if row is None:
        raise NotFound("There is no such activity.")
    return _activity(row, assets)


def _like(words: str) -> str:
    escaped = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _activity(row: tuple[Any, ...], assets: AssetBook) -> Activity:
    """A row of `_COLUMNS`."""
    (
        id_, kind, status, direction, asset, minor, fee_asset, fee_minor, target_asset,
        target_minor, counterparty, counterparty_name, note, created_at,
    ) = row  # fmt: skip

    def money(asset: str | None, minor: Any) -> Money | None:
        return None if asset is None or minor is None else assets.money(asset, int(minor))

    return Activity(
        id_,
        kind,
        status,
        direction,
        assets.money(asset, int(minor)),
        money(fee_asset, fee_minor),
        money(target_asset, target_minor),
        counterparty,
        counterparty_name,
        note,
        created_at,
    )
