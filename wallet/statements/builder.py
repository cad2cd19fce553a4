"""Builds a statement out of one account's posting chain, and proves it before it leaves.

A period is cut by `postings.created_at`, when the posting was written while its account was locked.
That clock is real time and can be set back, and postings written in one command may share or swap
a microsecond; so a moment only picks a place in the chain (`ledger.places`). All lines between two
places belong to the period, in the order of `account_seq`. The place of a moment is the same
whichever period asks, so one statement's closing is the next one's opening. A posting is written
a moment before it is committed: a period that ends within the last seconds may gain a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from wallet.db import Reader
from wallet.errors import InvalidField
from wallet.ledger import accounts
from wallet.money import Asset, Money

MAX_DAYS = 366
MAX_LINES = 10_000


class StatementDefect(RuntimeError):
    """The chain does not add up. Never shown as a statement; it is ours to mend."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One posting. `money` is signed: positive came in. `balance` is the balance after it."""

    seq: int
    entry_id: str
    kind: str
    reference: str
    money: Money
    balance: Money
    event_at: datetime
    booked_at: datetime


@dataclass(frozen=True, slots=True)
class Statement:
    """One account from `since` (included) until `until` (not included)."""

    asset: Asset
    since: datetime
    until: datetime
    opening: Money
    closing: Money
    lines: tuple[StatementLine, ...]


_PERIOD = """
WITH account AS (SELECT id FROM accounts WHERE path = %(path)s),
period AS MATERIALIZED (
    SELECT a.id, f.seq AS first, f.balance_minor AS opening, l.seq AS last,
           l.balance_minor AS closing
      FROM account a, ledger_place(a.id, %(since)s) f, ledger_place(a.id, %(until)s) l)
SELECT d.first, d.opening, d.last, d.closing, p.account_seq, p.entry_id, e.kind, e.ref,
       p.amount_minor, p.balance_after_minor, e.event_at, p.created_at
  FROM period d
  LEFT JOIN (postings p JOIN entries e ON e.id = p.entry_id)
    ON p.account_id = d.id AND p.account_seq > d.first AND p.account_seq <= d.last
       AND d.last - d.first <= %(most)s
 ORDER BY p.account_seq"""
"""Both places and the lines between them, in one statement: all of it is of one moment."""


async def build(
    reader: Reader,
    *,
    principal_id: str,
    asset: Asset,
    since: datetime,
    until: datetime | None,
    max_lines: int | None = None,
) -> Statement:
    """Read at one moment; without `until`, up to now by the database's real clock.

    More than `max_lines` lines are refused. Raises InvalidField, and StatementDefect where the
    books are broken.
    """
    if until is None:
        until = await _now(reader)
    if until <= since:
        raise InvalidField("`to` must be later than `from`.", field="/query/to")
    if until - since > timedelta(days=MAX_DAYS):
        raise InvalidField(f"A period has at most {MAX_DAYS} days.", field="/query/from")
    account = accounts.customer(principal_id, asset.code)
    most = MAX_LINES if max_lines is None else min(max_lines, MAX_LINES)
    found = await reader.execute(
        _PERIOD, {"path": account.path, "since": since, "until": until, "most": most}
    )
    rows = await found.fetchall()
    # No account was ever opened: nothing, and nothing between.
    first, opening, last, closing = map(int, rows[0][:4]) if rows else (0, 0, 0, 0)
    if last - first > most:
        raise InvalidField(
            f"This period has {last - first} lines, at most {most} are given.",
            field="/query/from",
        )
    lines = tuple(_line(row[4:], asset) for row in rows if row[4] is not None)
    prove(first, opening, last, closing, lines)
    return Statement(asset, since, until, Money(opening, asset), Money(closing, asset), lines)


async def _now(reader: Reader) -> datetime:
    found = await reader.execute("SELECT clock_timestamp()")
    (now,) = await found.fetchone() or (None,)
    assert isinstance(now, datetime)
    return now


def _line(row: Sequence[Any], asset: Asset) -> StatementLine:
    seq, entry_id, kind, reference, minor, balance, event_at, booked_at = row
    return StatementLine(
        int(seq),
        entry_id,
        kind,
        reference,
        Money(int(minor), asset),
        Money(int(balance), asset),
        event_at,
        booked_at,
    )


def prove(
    first_seq: int, opening: int, last_seq: int, closing: int, lines: Sequence[StatementLine]
) -> None:
    """Opening + lines = closing, every balance on the way, no number missing. Else a defect."""
    seq, balance = first_seq, opening
    for line in lines:
        seq, balance = seq + 1, balance + line.money.minor
        if line.seq != seq:
            raise StatementDefect(f"posting {seq} of an account is missing, {line.seq} follows")
        if line.balance.minor != balance:
            raise StatementDefect(f"the balance after {line.entry_id} is not what its lines make")
    if (seq, balance) != (last_seq, closing):
        raise StatementDefect("opening and lines do not make the closing balance")
    if first_seq == 0 and opening != 0:
        raise StatementDefect("an account opens with money before its first posting")
