"""Reading rows one after another, and naming what is off with one: for checks that are not SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg

from wallet.auditor.check import Finding

ROWS_AT_ONCE = 2_000
Connection = psycopg.Connection[tuple[Any, ...]]


def stream(
    connection: Connection, query: str, values: Sequence[object] | None = None
) -> Iterator[tuple[Any, ...]]:
    """Its rows, a few of them in memory at a time."""
    with connection.cursor(name="audit") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        yield from cursor.execute(query, values)


def finding(
    means: Mapping[str, str], code: str, subject: object, network: str | None, asset: str | None,
    want: object, got: object, *, pauses: bool = True,
) -> Finding:  # fmt: skip
    """A break of the check `code`, which is one of `means`."""
    return Finding(code, means[code], str(subject), network, asset, str(want), str(got), pauses)
