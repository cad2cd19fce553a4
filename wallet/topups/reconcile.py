"""What the gateway owes us, in the books against its own list, reference by reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.db import Database
from wallet.ledger import balance_of
from wallet.ledger.accounts import gateway as gateway_account
from wallet.ledger.reconcile_line import ReconcileLine
from wallet.topups.gateway import ListLine
from wallet.topups.simgate import GATEWAY, gateway_balances, read_list

NAMED_LIMIT = 5  # references spelled out in a note; the rest are counted
SETTLING_SECONDS = 600  # how long the list may be ahead of the books before that is a finding


@dataclass(frozen=True, slots=True)
class Off:
    """A reference whose sum in the books is not its sum on the list, in minor units.

    `through_line`: the newest of its lines, 0 where it has none. `taken_back`: one of them is a
    charge-back.
    """

    reference: str
    asset: str
    listed_minor: int
    booked_minor: int
    through_line: int
    taken_back: bool


async def gateway_lines(db: Database) -> list[ReconcileLine]:
    """One line per asset, all as of one moment. Every difference is traced to its reference.

    In flight is what the gateway has listed and we have not heard of yet, for ten minutes at most.
    """
    async with db.snapshot() as session:
        outside = await gateway_balances(session)
        assets = await _assets(session, outside)
        return [await _line(session, asset, outside) for asset in assets]


async def differences(session: AsyncSession) -> list[Off]:
    """Every reference that `bifold reconcile` names: what is in flight is not among them."""
    found = []
    for asset in await _assets(session, await gateway_balances(session)):
        off, _ = await _compare(session, asset, await read_list(session, asset))
        found += off
    return found


async def _assets(session: AsyncSession, outside: dict[str, int]) -> list[str]:
    rows = await session.execute(
        text("SELECT asset FROM accounts WHERE path LIKE :pattern"),
        {"pattern": f"gateway:{GATEWAY}:%"},
    )
    return sorted({*outside, *rows.scalars()})


async def _line(session: AsyncSession, asset: str, outside: dict[str, int]) -> ReconcileLine:
    balance, problems = 0, []
    lines = await read_list(session, asset)
    for line in lines:
        balance += line.amount_minor
        if line.balance_after_minor != balance:
            problems.append(f"line {line.line_id} does not add up")
            balance = line.balance_after_minor
    closing = outside.get(asset, 0)
    if balance != closing:
        problems.append("the list does not end at the balance")
    found, in_flight = await _compare(session, asset, lines)
    problems += [
        f"{off.reference} is off by {off.listed_minor - off.booked_minor}" for off in found
    ]
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


async def _compare(
    session: AsyncSession, asset: str, lines: Sequence[ListLine]
) -> tuple[list[Off], int]:
    """What differs and is not in flight, and the sum of what is."""
    listed: dict[str, int] = defaultdict(int)
    newest: dict[str, int] = {}
    for line in lines:
        listed[line.reference] += line.amount_minor
        newest[line.reference] = line.line_id
    taken_back = {line.reference for line in lines if line.kind == "charge_back"}
    fresh, booked = await _fresh(session, asset), await _booked(session, asset)
    found, in_flight = [], 0
    for reference in sorted({*listed, *booked}):
        ours, theirs = booked.get(reference, 0), listed.get(reference, 0)
        if ours == theirs:
            continue
        if reference in fresh and theirs - ours == fresh[reference]:
            in_flight += theirs - ours
        else:
            through = newest.get(reference, 0)
            found.append(Off(reference, asset, theirs, ours, through, reference in taken_back))
    return found, in_flight


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
