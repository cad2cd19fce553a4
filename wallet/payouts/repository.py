"""Queries about payouts and the lines of bank statements."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.payouts.rails import BankAnswer, PayoutOrder, StatementLine


async def insert(session: AsyncSession, order: PayoutOrder, *, ref: str) -> None:
    """Write the order down before any bank hears of it. `ref` is what it serves: a payment."""
    await session.execute(
        text(
            "INSERT INTO payouts (reference, ref, rail, asset, amount_minor, beneficiary,"
            " remittance) VALUES (:reference, :ref, :rail, :asset, :amount,"
            " CAST(:beneficiary AS jsonb), :remittance)"
        ),
        {
            "reference": order.reference,
            "ref": ref,
            "rail": order.rail,
            "asset": order.money.asset.code,
            "amount": order.money.minor,
            "beneficiary": orjson.dumps(dict(order.beneficiary)).decode(),
            "remittance": order.remittance,
        },
    )


async def of(session: AsyncSession, *, ref: str) -> RowMapping | None:
    """The payout made for `ref`."""
    row = await session.execute(text("SELECT * FROM payouts WHERE ref = :ref"), {"ref": ref})
    return row.mappings().one_or_none()


async def is_told(session: AsyncSession, *, reference: str) -> bool:
    """Whether the bank may have heard of it."""
    told = await session.scalar(
        text("SELECT told_at IS NOT NULL FROM payouts WHERE reference = :reference"),
        {"reference": reference},
    )
    return bool(told)


async def mark_told(session: AsyncSession, *, reference: str) -> bool:
    """Note that the bank is about to be told. False when it may have been told before."""
    row = await session.execute(
        text(
            "UPDATE payouts SET told_at = bifold_now()"
            " WHERE reference = :reference AND told_at IS NULL RETURNING reference"
        ),
        {"reference": reference},
    )
    return row.scalar_one_or_none() is not None


async def record_answer(session: AsyncSession, *, reference: str, answer: BankAnswer) -> None:
    """Keep what the bank said. A final answer stays what it is."""
    await session.execute(
        text(
            "UPDATE payouts SET answer = :answer, reason = :reason, answered_at = :at"
            " WHERE reference = :reference"
            " AND (answer IS NULL OR answer = 'accepted')"
        ),
        {
            "reference": reference,
            "answer": answer.status,
            "reason": answer.reason,
            "at": answer.at,
        },
    )


async def lock_statement(session: AsyncSession, bank: str) -> None:
    """One reader of a bank's statement at a time."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('statement/' || :bank, 0))"),
        {"bank": bank},
    )


async def last_line(session: AsyncSession, *, bank: str, asset: str) -> int:
    """The highest line read so far, kept aside or not; lines of one account commit in the order of
    their ids."""
    found = await session.execute(
        text(
            "SELECT greatest(0, (SELECT max(line_id) FROM bank_lines WHERE bank = :bank"
            " AND asset = :asset), (SELECT max(line_id) FROM bank_lines_aside WHERE bank = :bank"
            " AND account = :asset))"
        ),
        {"bank": bank, "asset": asset},
    )
    return int(found.scalar_one())


async def insert_line(
    session: AsyncSession, line: StatementLine, *, bank: str, matched: bool
) -> None:
    """Keep a line as read."""
    await session.execute(
        text(
            "INSERT INTO bank_lines (bank, line_id, asset, kind, reference, amount_minor, at,"
            " matched_at) VALUES (:bank, :line, :asset, :kind, :reference, :amount, :at,"
            " CASE WHEN :matched THEN bifold_now() END)"
        ),
        {
            "bank": bank,
            "line": line.line_id,
            "asset": line.asset,
            "kind": line.kind,
            "reference": line.reference,
            "amount": line.amount_minor,
            "at": line.at,
            "matched": matched,
        },
    )


NEVER_TOLD = (
    "(p.told_at IS NULL AND EXISTS"
    " (SELECT FROM payments y WHERE y.id = p.ref AND y.ended_at IS NOT NULL))"
)
"""A payout whose payment ended before any bank was told: no answer comes, and no line may."""
HAS_ITS_WORD = (
    "(p.answer IN ('settled', 'refused', 'returned')"
    f" OR {NEVER_TOLD} OR (p.reference IS NULL AND NOT EXISTS"
    " (SELECT FROM payment_legs g JOIN payments y ON y.id = g.payment_id"
    "  WHERE g.id = l.reference AND g.kind = 'payout' AND y.ended_at IS NULL)))"
)
"""Of a line `l` and its payout `p`, if any: nothing more is to come that would explain the line. A
payment that goes on will give its order, by its leg's id: only a restored database has not."""


async def unmatched(session: AsyncSession, *, bank: str, limit: int) -> Sequence[RowMapping]:
    """Lines still open that wait for nothing: their payout has had its last word or was never told,
    or no payment knows them."""
    rows = await session.execute(
        text(
            "SELECT l.*, p.ref, p.amount_minor AS payout_minor, p.answer FROM bank_lines l"
            " LEFT JOIN payouts p ON p.reference = l.reference"
            " WHERE l.bank = :bank AND l.matched_at IS NULL AND l.problem IS NULL"
            f" AND {HAS_ITS_WORD} ORDER BY l.line_id LIMIT :limit"
        ),
        {"bank": bank, "limit": limit},
    )
    return rows.mappings().all()


async def is_listed(session: AsyncSession, *, bank: str, reference: str) -> bool:
    """Whether the bank's statement, as far as it was read, shows the order of this reference."""
    found = await session.scalar(
        text(
            "SELECT 1 FROM bank_lines WHERE bank = :bank AND reference = :reference"
            " AND kind = 'payout' LIMIT 1"
        ),
        {"bank": bank, "reference": reference},
    )
    return found is not None


async def moved_before(session: AsyncSession, line: RowMapping) -> bool:
    """Whether an earlier line says the same of the same payout: the bank did it twice."""
    found = await session.scalar(
        text(
            "SELECT 1 FROM bank_lines WHERE bank = :bank AND reference = :reference"
            " AND kind = :kind AND line_id < :line LIMIT 1"
        ),
        {
            "bank": line["bank"],
            "reference": line["reference"],
            "kind": line["kind"],
            "line": line["line_id"],
        },
    )
    return found is not None


async def close_line(
    session: AsyncSession, *, bank: str, line_id: int, problem: str | None = None
) -> None:
    """The line agrees with the books; or, with a problem, waits for a person."""
    await session.execute(
        text(
            "UPDATE bank_lines SET problem = :problem,"
            " matched_at = CASE WHEN CAST(:problem AS text) IS NULL THEN bifold_now() END"
            " WHERE bank = :bank AND line_id = :line"
        ),
        {"bank": bank, "line": line_id, "problem": problem},
    )


async def mark_contradicted(session: AsyncSession, *, reference: str) -> None:
    """The bank did otherwise than it had said."""
    await session.execute(
        text(
            "UPDATE payouts SET contradicted_at = coalesce(contradicted_at, bifold_now())"
            " WHERE reference = :reference"
        ),
        {"reference": reference},
    )


async def insert_credit(
    session: AsyncSession,
    line: StatementLine,
    *,
    bank: str,
    principal_id: str,
    entry_id: str,
    topup_id: str,
) -> None:
    """An incoming transfer that was booked to somebody, and the top-up it is."""
    await session.execute(
        text(
            "INSERT INTO bank_credits (bank, line_id, bank_reference, principal_id, asset,"
            " amount_minor, entry_id, topup_id) VALUES (:bank, :line, :reference, :principal,"
            " :asset, :amount, :entry, :topup)"
        ),
        {
            "bank": bank,
            "line": line.line_id,
            "reference": line.reference,
            "principal": principal_id,
            "asset": line.asset,
            "amount": line.amount_minor,
            "entry": entry_id,
            "topup": topup_id,
        },
    )


async def credit(session: AsyncSession, *, reference: str) -> RowMapping | None:
    """The booked incoming transfer of that bank reference; of several, the newest."""
    row = await session.execute(
        text(
            "SELECT * FROM bank_credits WHERE bank_reference = :reference"
            " ORDER BY line_id DESC LIMIT 1"
        ),
        {"reference": reference},
    )
    return row.mappings().one_or_none()
