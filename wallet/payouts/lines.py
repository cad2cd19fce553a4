"""Which lines of a bank's statement make sense, and what is kept of one that makes none.

An adapter parses another company's file: a line may hold anything. One that cannot be booked as it
stands is kept aside under the name `line <number>`, with a case, and nothing is credited for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases
from wallet.money import AssetBook
from wallet.payouts.rails import StatementLine

LAST_LINE_ID = 2**63 - 1
REFERENCE_CHARS = 200
SAID_CHARS = 300  # of each field of a line that is kept aside
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=2)  # a bank's day may have begun where ours has not
# Which way money may move by a line of each kind: 1 in, -1 out.
SIGNS: Mapping[str, frozenset[int]] = {
    "opening": frozenset({1}),
    "credit": frozenset({1, -1}),  # a bank takes back what it had credited
    "payout": frozenset({-1}),
    "return": frozenset({1}),
    "correction": frozenset({1, -1}),
}


def name_of(line_id: int) -> str:
    """What a line kept aside is called, in cases, in the comparison with the books, and in the
    reference of the entry that settles it (`bifold ledger post`)."""
    return f"line {line_id}"


def is_line_id(value: object) -> bool:
    """Whether a line can be found again by this number."""
    return type(value) is int and 0 < value <= LAST_LINE_ID


def problem_of(
    line: StatementLine, *, account: str, assets: AssetBook, now: datetime
) -> str | None:
    """Why a line cannot be booked, None where it can. `account`: the asset that was asked for."""
    if line.kind not in list(SIGNS):
        return "its kind is none that we know"
    if line.asset not in [asset.code for asset in assets]:
        return "its asset is none that this house knows"
    if line.asset != account:
        return "its asset is not its account's"
    return (
        _amount(line, assets.get(line.asset).max_minor)
        or _reference(line.reference)
        or _moment(line.at, now)
    )


def printable(line: StatementLine) -> StatementLine:
    """The line with its sender's words as they can be kept: a stranger's text stops nothing."""
    words = str(line.about or "").encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return replace(line, about=words)


async def keep_aside(
    session: AsyncSession, line: StatementLine, *, bank: str, account: str, problem: str
) -> None:
    """Keep a line whose number is its own, with its case."""
    said = _said(line)
    await session.execute(
        text(
            "INSERT INTO bank_lines_aside (bank, account, line_id, said, problem)"
            " VALUES (:bank, :account, :line, CAST(:said AS jsonb), :problem)"
        ),
        {
            "bank": bank, "account": account, "line": line.line_id, "problem": problem,
            "said": orjson.dumps(said).decode(),
        },
    )  # fmt: skip
    await open_case(
        session, line, bank=bank, account=account, name=name_of(line.line_id), problem=problem
    )


async def open_case(
    session: AsyncSession, line: StatementLine, *, bank: str, account: str, name: str, problem: str
) -> None:
    """A person has to look at this line."""
    await cases.open_case(
        session,
        kind="statement_line_aside",
        subject=f"{bank} {account} {name}",
        asset=account,
        what=f"The statement of {bank} in {account} has a line that is not booked: {problem}.",
        evidence=_said(line),
    )


async def kept_aside(session: AsyncSession, *, bank: str, account: str) -> set[int]:
    """Numbers of the lines kept aside."""
    rows = await session.execute(
        text("SELECT line_id FROM bank_lines_aside WHERE bank = :bank AND account = :account"),
        {"bank": bank, "account": account},
    )
    return set(rows.scalars())


def _amount(line: StatementLine, most: int) -> str | None:
    amount: Any = line.amount_minor
    if type(amount) is not int:
        return "its amount is no whole number"
    if amount == 0:
        return "its amount is zero"
    if abs(amount) > most:
        return "its amount is beyond the asset's limit"
    if (1 if amount > 0 else -1) not in SIGNS[line.kind]:
        return f"its amount has a sign that no {line.kind} has"
    return None


def _reference(reference: Any) -> str | None:
    if not isinstance(reference, str) or not reference.strip():
        return "it has no reference"
    if len(reference) > REFERENCE_CHARS or not reference.isprintable():
        return "its reference cannot be kept"
    return None


def _moment(at: Any, now: datetime) -> str | None:
    if not isinstance(at, datetime) or at.tzinfo is None or not EARLIEST <= at <= now + AHEAD:
        return "its date cannot be"
    return None


def _said(line: StatementLine) -> dict[str, str]:
    """Each field in print: whatever it is, it can be stored and shown."""
    return {field.name: _print(getattr(line, field.name)) for field in fields(line)}


def _print(value: object) -> str:
    try:
        return ascii(value)[:SAID_CHARS]
    except ValueError:  # Python prints no number of more than 4,300 digits
        return "a number too long to print"
