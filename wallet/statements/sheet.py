"""A statement as CSV: UTF-8 without a mark, CRLF, one header line."""

from __future__ import annotations

import csv
import io

from wallet.clock import rfc3339
from wallet.statements.builder import Statement

COLUMNS = ("seq", "booked_at", "event_at", "entry", "kind", "reference", "amount", "asset",
           "balance")  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_csv(statement: Statement) -> bytes:
    """Opening and closing are lines of their own, with a balance and no amount."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    code = statement.asset.code
    writer.writerow(COLUMNS)
    writer.writerow(
        ("", rfc3339(statement.since), "", "", "opening", "", "", code, statement.opening.amount)
    )
    for line in statement.lines:
        writer.writerow(
            (
                line.seq, rfc3339(line.booked_at), rfc3339(line.event_at), _text(line.entry_id),
                _text(line.kind), _text(line.reference), line.money.amount, code,
                line.balance.amount,
            )
        )  # fmt: skip
    writer.writerow(
        ("", rfc3339(statement.until), "", "", "closing", "", "", code, statement.closing.amount)
    )
    return out.getvalue().encode("utf-8")


def _text(cell: str) -> str:
    """A cell a spreadsheet would take for a formula gets an apostrophe; amounts are left alone."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
