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

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import ledger
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


async def build(
    session: AsyncSession,
    *,
    principal_id: str,
    asset: Asset,
    since: datetime,
    until: datetime | None,
    max_lines: int | None = None,
) -> Statement:
    """Read in one snapshot; without `until`, up to now by the database's real clock.

    More than `max_lines` lines are refused. Raises InvalidField, and StatementDefect where the
    books are broken.
    """
    if until is None:
        until = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
    if until <= since:
        raise InvalidField("`to` must be later than `from`.", field="/query/to")
    if until - since > timedelta(days=MAX_DAYS):
        raise InvalidField(f"A period has at most {MAX_DAYS} days.", field="/query/from")
    account = accounts.customer(principal_id, asset.code)
    first, last = await ledger.places(session, account, [since, until])
    most = MAX_LINES if max_lines is None else min(max_lines, MAX_LINES)
    if last.seq - first.seq > most:
        raise InvalidField(
            f"This period has {last.seq - first.seq} lines, at most {most} are given.",
            field="/query/from",
        )
    rows = await session.execute(
        text(
            "SELECT p.account_seq, p.entry_id, e.kind, e.ref, p.amount_minor,"
            " p.balance_after_minor, e.event_at, p.created_at FROM postings p"
            " JOIN accounts a ON a.id = p.account_id JOIN entries e ON e.id = p.entry_id"
            " WHERE a.path = :path AND p.account_seq > :first AND p.account_seq <= :last"
            " ORDER BY p.account_seq"
        ),
        {"path": account.path, "first": first.seq, "last": last.seq},
    )
    lines = tuple(
        StatementLine(
            int(row.account_seq),
            row.entry_id,
            row.kind,
            row.ref,
            Money(int(row.amount_minor), asset),
            Money(int(row.balance_after_minor), asset),
            row.event_at,
            row.created_at,
        )
        for row in rows
    )
    prove(first.seq, first.balance_minor, last.seq, last.balance_minor, lines)
    return Statement(
        asset,
        since,
        until,
        Money(first.balance_minor, asset),
        Money(last.balance_minor, asset),
        lines,
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
