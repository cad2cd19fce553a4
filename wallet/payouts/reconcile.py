"""Our bank accounts against the bank's own statement, reference by reference."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.db import Database
from wallet.ledger import balance_of
from wallet.ledger.accounts import bank as bank_account
from wallet.ledger.reconcile_line import ReconcileLine
from wallet.payouts.lines import kept_aside, name_of
from wallet.payouts.repository import NEVER_TOLD
from wallet.payouts.simbank import BANK, account_balances, read_statement

NAMED_LIMIT = 5  # references spelled out in a note; the rest are counted


async def bank_lines(db: Database) -> list[ReconcileLine]:
    """One line per bank account of the house, all as of one moment.

    Every difference is traced to its reference. In flight is what the bank has moved for payouts
    whose last answer we have not booked, and what we have not read of its statement yet. A line
    kept aside goes by its own name, so that the entry which settles it is told from all others.
    """
    async with db.snapshot() as session:
        outside = await account_balances(session)
        ours = await _our_assets(session)
        return [await _line(session, asset, outside) for asset in sorted({*outside, *ours})]


async def _line(session: AsyncSession, asset: str, outside: dict[str, int]) -> ReconcileLine:
    statement: dict[str, int] = defaultdict(int)
    balance, problems = 0, []
    lines = await read_statement(session, asset)
    aside = await kept_aside(session, bank=BANK, account=asset)
    for line in lines:
        reference = name_of(line.line_id) if line.line_id in aside else line.reference
        statement[reference] += line.amount_minor
        balance += line.amount_minor
        if line.balance_after_minor != balance:
            problems.append(f"line {line.line_id} does not add up")
            balance = line.balance_after_minor
    closing = outside.get(asset, 0)
    if balance != closing:
        problems.append("the statement does not end at the balance")
    booked = await _booked(session, asset)
    open_now = await _in_flight(session, asset)
    in_flight = 0
    for reference in sorted({*statement, *booked}):
        off = statement.get(reference, 0) - booked.get(reference, 0)
        if off and reference in open_now:
            in_flight += off
        elif off:
            problems.append(f"{reference} is off by {off}")
    return ReconcileLine(
        account=bank_account(BANK, asset).path,
        asset=asset,
        ledger_minor=await balance_of(session, bank_account(BANK, asset)),
        outside_minor=closing,
        in_flight_minor=in_flight,
        note=_note(len(lines), problems),
        problem=bool(problems),
    )


def _note(lines: int, problems: list[str]) -> str:
    if not problems:
        return f"by reference, {lines} on the statement"
    named = "; ".join(problems[:NAMED_LIMIT])
    more = len(problems) - NAMED_LIMIT
    return named + (f"; and {more} more" if more > 0 else "")


async def _our_assets(session: AsyncSession) -> set[str]:
    rows = await session.execute(
        text("SELECT asset FROM accounts WHERE path LIKE :pattern"), {"pattern": f"bank:{BANK}:%"}
    )
    return set(rows.scalars())


async def _booked(session: AsyncSession, asset: str) -> dict[str, int]:
    """What our books moved on the account, by the bank's reference."""
    rows = await session.execute(
        text(
            "SELECT coalesce(o.reference, c.bank_reference, e.ref) AS reference,"
            " -sum(p.amount_minor) AS amount"
            " FROM postings p JOIN accounts a ON a.id = p.account_id"
            " JOIN entries e ON e.id = p.entry_id"
            # What is kept aside goes by its sender's own words, which may be an id of ours.
            " LEFT JOIN payouts o ON o.ref = e.ref AND e.kind <> 'bank.unattributed'"
            " LEFT JOIN bank_credits c ON c.entry_id = e.id"
            " WHERE a.path = :path GROUP BY 1"
        ),
        {"path": bank_account(BANK, asset).path},
    )
    return {row.reference: int(row.amount) for row in rows}


async def _in_flight(session: AsyncSession, asset: str) -> set[str]:
    """References that may differ now: payouts without a last answer, lines not read or matched.
    What is kept aside is read."""
    rows = await session.execute(
        text(
            "SELECT p.reference FROM payouts p WHERE p.asset = :asset"
            f" AND (p.answer IS NULL OR p.answer = 'accepted') AND NOT {NEVER_TOLD}"
            " UNION SELECT s.reference FROM simbank.statement s WHERE s.asset = :asset"
            "  AND NOT EXISTS (SELECT FROM bank_lines l WHERE l.bank = :bank AND l.line_id = s.id)"
            "  AND NOT EXISTS (SELECT FROM bank_lines_aside k WHERE k.bank = :bank"
            "   AND k.account = s.asset AND k.line_id = s.id)"
            " UNION SELECT l.reference FROM bank_lines l WHERE l.bank = :bank AND l.asset = :asset"
            "  AND l.matched_at IS NULL AND l.problem IS NULL"
        ),
        {"asset": asset, "bank": BANK},
    )
    return set(rows.scalars())
