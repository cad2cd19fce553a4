"""Reading the books: balances, trial balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.ledger.accounts import AccountSpec


@dataclass(frozen=True, slots=True)
class Balance:
    """One customer account in minor units: `total = available + held`."""

    asset: str
    total_minor: int
    held_minor: int
    status: str

    @property
    def available_minor(self) -> int:
        """What can be spent now."""
        return self.total_minor - self.held_minor


async def balances(session: AsyncSession, *, principal_id: str) -> list[Balance]:
    """Every account of one principal, by asset code."""
    rows = await session.execute(
        text(
            "SELECT asset, balance_minor, held_minor, status FROM accounts"
            " WHERE principal_id = :principal AND kind = 'customer' ORDER BY asset"
        ),
        {"principal": principal_id},
    )
    return [Balance(r.asset, int(r.balance_minor), int(r.held_minor), r.status) for r in rows]


async def balance_of(session: AsyncSession, spec: AccountSpec) -> int:
    """One account as people read it: positive where its side expects it. 0 when never opened."""
    row = (
        await session.execute(
            text("SELECT balance_minor, side FROM account_balances WHERE path = :path"),
            {"path": spec.path},
        )
    ).one_or_none()
    if row is None:
        return 0
    return int(row.balance_minor) * (1 if row.side == "C" else -1)


@dataclass(frozen=True, slots=True)
class Place:
    """Behind which posting of an account a moment stands, and its balance there, as stored.

    `seq` 0: before the first.
    """

    seq: int
    balance_minor: int


async def places(
    session: AsyncSession, spec: AccountSpec, moments: Sequence[datetime]
) -> list[Place]:
    """Where each of `moments` stands in the chain of a customer's account, in their order.

    The posting there was written before the moment, the one behind it was not, and a later moment
    has no earlier place. Found by halving (`ledger_place`): old moments cost what new ones do.
    `created_at` is when a posting was written, not committed: a moment of the last seconds may
    still gain a posting.
    """
    if spec.principal_id is None:
        raise ValueError("only customers' accounts have a chain")
    rows = await session.execute(
        text(
            "SELECT f.seq, f.balance_minor FROM accounts a, unnest(CAST(:moments AS timestamptz[]))"
            " WITH ORDINALITY m(moment, n), ledger_place(a.id, m.moment) f WHERE a.path = :path"
            " ORDER BY m.n"
        ),
        {"path": spec.path, "moments": list(moments)},
    )
    found = [Place(int(row.seq), int(row.balance_minor)) for row in rows]
    return found or [Place(0, 0) for _ in moments]


async def balance_at(session: AsyncSession, spec: AccountSpec, moment: datetime) -> int:
    """One account as people read it, by what was posted before `moment`. 0 where nothing was.

    A customer's account answers by its chain (`places`). System accounts have no chain; theirs is
    the sum of all postings before, which grows with them.
    """
    if spec.principal_id is not None:
        (there,) = await places(session, spec, [moment])
        found = there.balance_minor
    else:
        found = await session.scalar(
            text(
                "SELECT sum(p.amount_minor) FROM postings p JOIN accounts a"
                " ON a.id = p.account_id WHERE a.path = :path AND p.created_at < :moment"
            ),
            {"path": spec.path, "moment": moment},
        )
    return int(found or 0) * (1 if spec.side == "C" else -1)


async def trial_balance(session: AsyncSession) -> dict[str, int]:
    """Sum of all balances for each asset. Every value is zero in healthy books."""
    rows = await session.execute(
        text("SELECT asset, sum(balance_minor) AS total FROM account_balances GROUP BY asset")
    )
    return {row.asset: int(row.total) for row in rows}


FOLD_DUE = "EXISTS (SELECT FROM account_deltas)"


async def fold(session: AsyncSession, *, max_rows: int) -> int:
    """Add open deltas of system accounts to their folded balance; returns how many."""
    folded = await session.scalar(text("SELECT ledger_fold(:rows)"), {"rows": max_rows})
    return int(folded or 0)
