"""Opaque cursors: base64url of `created_at|id`. Strictly parsed, so that only our own are taken."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import Query

from api.errors import InvalidCursor

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
MAX_CURSOR_CHARS = 120
_ID = re.compile(r"[A-Za-z0-9_:.\-]{1,64}")
_STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"

Cursor = tuple[datetime, str]
Row = TypeVar("Row")

Limit = Annotated[
    int,
    Query(ge=1, le=MAX_LIMIT, description="How many rows at most.", examples=[DEFAULT_LIMIT]),
]
CursorText = Annotated[
    str | None,
    Query(
        description="`next_cursor` of the page before; absent for the newest rows.",
        examples=["MjAyNi0xMS0yMlQyMTowMDowMC4wMDAwMDBafGRlcF8wMUpEM1ZRNFQwWjhZNlg1VzRWM1QyUzFSMA"],
    ),
]


def encode(created_at: datetime, row_id: str) -> str:
    """The cursor that stands behind this row."""
    stamp = created_at.astimezone(UTC).strftime(_STAMP)
    return base64.urlsafe_b64encode(f"{stamp}|{row_id}".encode()).rstrip(b"=").decode()


def decode(cursor: str | None) -> Cursor | None:
    """What `encode` was given. Raises InvalidCursor for anything it never made."""
    if cursor is None:
        return None
    refusal = InvalidCursor("This cursor is not one of ours.", field="/query/cursor")
    if not cursor or len(cursor) > MAX_CURSOR_CHARS or not cursor.isascii():
        raise refusal
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        plain = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        stamp, _, row_id = plain.partition("|")
        at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except (binascii.Error, ValueError):
        raise refusal from None
    if not _ID.fullmatch(row_id) or encode(at, row_id) != cursor:
        raise refusal
    return at, row_id


def next_cursor(
    rows: Sequence[Row], limit: int, key: Callable[[Row], Cursor]
) -> tuple[Sequence[Row], str | None]:
    """The rows of this page and where the next begins, from a list that may hold one row more."""
    if len(rows) <= limit:
        return rows, None
    shown = rows[:limit]
    return shown, encode(*key(shown[-1]))
