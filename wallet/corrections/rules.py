"""What a correction may touch.

Customers' balances, income and expenses, capital and the exchange position, and money that belongs
to nobody known yet. Accounts that a flow keeps in step with rows of its own are left to that flow.
What lies on a chain or at a bank is a fact of the outside: there a correction may only make an
unexplained difference smaller, one that two readings have shown. So nobody sets a balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.errors import InvalidField

READING_FRESH_SECONDS = 300.0
"""An outside account is judged by a reading of the last minutes (`wallet.reconcile`: each one)."""
FREE = ("customer:", "income:", "expense:gas:", "expense:correction:", "house:capital:",
        "house:fx_position:", "unattributed:")  # fmt: skip
OUTSIDE = ("chain:", "bank:")
OWNED = {
    "payments:": "payments keep it in step with their own rows",
    "payouts:": "payouts keep it in step with their own rows",
    "suspense:": "bifold deposits propose-bearer settles a loss",
    "expense:chain_loss:": "bifold deposits propose-bearer settles a loss",
    "receivable:": "it is collected as money comes in",
    "house:profit_taken:": "bifold treasury propose --kind profit takes profit",
}


@dataclass(frozen=True, slots=True)
class Touch:
    """What a whole correction does to one account: `minor` credits where positive."""

    account_id: str
    path: str
    minor: int


async def check(session: AsyncSession, touches: Sequence[Touch]) -> None:
    """Raises InvalidField, naming the account, where one of them may not be touched so."""
    for touch in touches:
        if touch.path.startswith(OUTSIDE):
            await _only_towards_the_outside(session, touch)
        elif not touch.path.startswith(FREE):
            why = next(
                (why for start, why in OWNED.items() if touch.path.startswith(start)),
                "it is no account that corrections may touch",
            )
            raise InvalidField(f"{touch.path} is not corrected by hand: {why}.")
        elif touch.path.startswith("unattributed:"):
            await _unattributed(session, touch)


async def _unattributed(session: AsyncSession, touch: Touch) -> None:
    """No more leaves than is there, beside the arrivals that wait for an owner by rows of their
    own."""
    scope = touch.path.split(":")[1]
    row = (
        await session.execute(
            text(
                "SELECT b.balance_minor, (SELECT coalesce(sum(u.amount_minor), 0)"
                "  FROM unattributed_arrivals u WHERE u.network = :scope AND u.asset = b.asset"
                "  AND u.deposit_id IS NULL) + (SELECT coalesce(sum(s.amount_minor), 0)"
                "  FROM bank_strays s WHERE s.bank = :scope AND s.asset = b.asset"
                "  AND s.topup_id IS NULL) AS waiting FROM account_balances b WHERE b.id = :id"
            ),
            {"id": touch.account_id, "scope": scope},
        )
    ).one()
    if touch.minor < 0 and int(row.balance_minor) - int(row.waiting) + touch.minor < 0:
        beside = (
            " (bifold deposits propose and bifold topups propose say whose an arrival is)"
            if row.waiting
            else ""
        )
        raise InvalidField(f"{touch.path} does not hold that much{beside}.")


async def _only_towards_the_outside(session: AsyncSession, touch: Touch) -> None:
    """The difference that two readings show, and no more than it: the books follow the outside.

    `difference = outside − books − in flight`; these accounts are of side D, so a credit of x makes
    the books smaller and the difference greater by x.
    """
    row = (
        await session.execute(
            text(
                "SELECT l.difference_minor, extract(epoch FROM clock_timestamp() - r.started_at)"
                " ::float8 AS age, EXISTS (SELECT FROM cases c WHERE c.kind = 'books_differ'"
                "  AND c.subject = l.account AND c.status = 'open') AS stands,"
                " EXISTS (SELECT FROM postings p JOIN entries e ON e.id = p.entry_id"
                "  WHERE p.account_id = :id AND e.kind IN ('correction', 'reversal')"
                "  AND p.created_at > r.started_at) AS corrected_since"
                " FROM reconcile_lines l JOIN reconcile_runs r ON r.id = l.run_id"
                " WHERE l.account = :path ORDER BY l.run_id DESC LIMIT 1"
            ),
            {"path": touch.path, "id": touch.account_id},
        )
    ).one_or_none()
    if row is None or row.age > READING_FRESH_SECONDS:
        raise InvalidField(
            f"{touch.path} was not read in the last {READING_FRESH_SECONDS:.0f} s: nobody knows"
            " whether it differs (bifold reconcile --history)."
        )
    if row.corrected_since:
        raise InvalidField(f"{touch.path} was corrected since its last reading; wait for the next.")
    difference = int(row.difference_minor)
    if not row.stands or difference == 0:
        raise InvalidField(
            f"{touch.path} agrees with the outside, or has not differed in two readings: an entry"
            " on it would make the books wrong."
        )
    if touch.minor * difference > 0 or abs(touch.minor) > abs(difference):
        raise InvalidField(
            f"{touch.path} differs by {difference} in the smallest unit: a correction may only make"
            " that smaller."
        )
