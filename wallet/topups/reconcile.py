"""What the gateway owes us, in the books against its own list, reference by reference."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.db import Database
from wallet.ledger import balance_of
from wallet.ledger.accounts import gateway as gateway_account
from wallet.ledger.reconcile_line import ReconcileLine
from wallet.topups.simgate import GATEWAY, gateway_balances, read_list

NAMED_LIMIT = 5  # references spelled out in a note; the rest are counted
SETTLING_SECONDS = 600  # how long the list may be ahead of the books before that is a finding


async def gateway_lines(db: Database) -> list[ReconcileLine]:
    """One line per asset, all as of one moment. Every difference is traced to its reference.

    In flight is what the gateway has listed and we have not heard of yet, for ten minutes at most.
    """
    async with db.snapshot() as session:
        outside = await gateway_balances(session)
        rows = await session.execute(
            text("SELECT asset FROM accounts WHERE path LIKE :pattern"),
            {"pattern": f"gateway:{GATEWAY}:%"},
        )
        ours = set(rows.scalars())
        return [await _line(session, asset, outside) for asset in sorted({*outside, *ours})]


async def _line(session: AsyncSession, asset: str, outside: dict[str, int]) -> ReconcileLine:
    listed: dict[str, int] = defaultdict(int)
    balance, problems = 0, []
    lines = await read_list(session, asset)
    fresh = await _fresh(session, asset)
    for line in lines:
        listed[line.reference] += line.amount_minor
        balance += line.amount_minor
        if line.balance_after_minor != balance:
            problems.append(f"line {line.line_id} does not add up")
            balance = line.balance_after_minor
    closing = outside.get(asset, 0)
    if balance != closing:
        problems.append("the list does not end at the balance")
    booked = await _booked(session, asset)
    in_flight = 0
    for reference in sorted({*listed, *booked}):
        off = listed.get(reference, 0) - booked.get(reference, 0)
        if off and reference in fresh and off == fresh[reference]:
            in_flight += off
        elif off:
            problems.append(f"{reference} is off by {off}")
    note = f"by reference, {len(lines)} on the gateway's list"
    if problems:
        more = len(problems) - NAMED_LIMIT
        note = "; ".join(problems[:NAMED_LIMIT]) + (f"; and {more} more" if more > 0 else "")
    return ReconcileLine(
        account=gateway_account(GATEWAY, asset).path,
        asset=asset,
        ledger_minor=await balance_of(session, gateway_account(GATEWAY, asset)),
        outside_minor=closing,
        in_flight_minor=in_flight,
        note=note,
        problem=bool(problems),
    )


async def _fresh(session: AsyncSession, asset: str) -> dict[str, int]:
    """What lines that are young, and whose entry is not written, add to each reference."""
    rows = await session.execute(
        text(
            "SELECT l.reference, sum(l.amount_minor) AS amount FROM simgate.list l"
            " LEFT JOIN topups t ON t.id = l.reference"
            " LEFT JOIN gateway_lines g ON g.gateway = :gateway AND g.line_id = l.id"
            " WHERE l.asset = :asset AND g.entry_id IS NULL"
            " AND CASE l.kind WHEN 'charge' THEN t.entry_id ELSE t.charge_back_entry_id END IS NULL"
            " AND l.at > bifold_now() - CAST(:settling AS integer) * interval '1 second'"
            " GROUP BY 1"
        ),
        {"asset": asset, "gateway": GATEWAY, "settling": SETTLING_SECONDS},
    )
    return {row.reference: int(row.amount) for row in rows}


async def _booked(session: AsyncSession, asset: str) -> dict[str, int]:
    """What our books moved on the account, by the reference of the entry."""
    rows = await session.execute(
        text(
            "SELECT e.ref AS reference, -sum(p.amount_minor) AS amount FROM postings p"
            " JOIN accounts a ON a.id = p.account_id JOIN entries e ON e.id = p.entry_id"
            " WHERE a.path = :path GROUP BY 1"
        ),
        {"path": gateway_account(GATEWAY, asset).path},
    )
    return {row.reference: int(row.amount) for row in rows}
