"""Many at once: overdrafts, freezes, reversals, folding and a long random run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import text

from wallet import ledger
from wallet.db import Database, Session
from wallet.errors import NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.errors import AccountFrozen, AlreadyReversed, InsufficientFunds, LedgerError
from wallet.money import Money
from wallet.testing.books import EUR, fund, move, new_principal
from wallet.testing.databases import ScratchDatabase

RIVALS = 64
OPERATIONS = 10_000
WORKERS = 8


async def spend(db: Database, payer: str, payee: str, minor: int) -> bool:
    """Whether the spend was booked; any refusal but InsufficientFunds is an error."""
    try:
        async with db.transaction() as session:
            await move(
                session, accounts.customer(payer, "EUR"), accounts.customer(payee, "EUR"), minor
            )
    except InsufficientFunds:
        return False
    return True


async def total(db: Database, principal: str) -> int:
    async with db.transaction() as session:
        return await ledger.balance_of(session, accounts.customer(principal, "EUR"))


async def test_parallel_spends_of_one_balance_never_overdraw(db: Database) -> None:
    for _ in range(3):
        async with db.transaction() as session:
            payer, payee = await new_principal(session), await new_principal(session)
            await fund(session, payer, 1000)
        booked = await asyncio.gather(*(spend(db, payer, payee, 77) for _ in range(RIVALS)))
        assert sum(booked) == 1000 // 77
        assert await total(db, payer) == 1000 - 77 * sum(booked)
        assert await total(db, payee) == 77 * sum(booked)


async def test_spends_and_holds_together_never_overdraw(db: Database) -> None:
    async with db.transaction() as session:
        payer, payee = await new_principal(session), await new_principal(session)
        await fund(session, payer, 1000)

    async def hold() -> bool:
        try:
            async with db.transaction() as session:
                await ledger.hold(
                    session,
                    ledger.HoldOpening(
                        accounts.customer(payer, "EUR"), Money(90, EUR), "t", "r", new_id("hld")
                    ),
                )
        except InsufficientFunds:
            return False
        return True

    jobs = [spend(db, payer, payee, 70) if n % 2 else hold() for n in range(RIVALS)]
    results = await asyncio.gather(*jobs)
    spent = 70 * sum(results[1::2])
    held = 90 * sum(results[0::2])
    assert 1000 - 90 < spent + held <= 1000
    async with db.transaction() as session:
        (balance,) = await ledger.balances(session, principal_id=payer)
    assert (balance.total_minor, balance.held_minor) == (1000 - spent, held)


async def test_money_that_circles_never_deadlocks(db: Database) -> None:
    async with db.transaction() as session:
        ring = [await new_principal(session) for _ in range(6)]
        for who in ring:
            await fund(session, who, 100)
    moves = [random.Random(seed).sample(ring, 2) for seed in range(300)]
    limit = asyncio.Semaphore(RIVALS)

    async def one(payer: str, payee: str) -> None:
        async with limit:
            await spend(db, payer, payee, 30)

    await asyncio.gather(*(one(payer, payee) for payer, payee in moves))
    assert sum([await total(db, who) for who in ring]) == 600


async def test_new_accounts_opened_in_opposite_orders_do_not_deadlock(db: Database) -> None:
    async def open_both(there: bool, round_: int) -> None:
        a, b = accounts.bank(f"a{round_}", "EUR"), accounts.bank(f"b{round_}", "EUR")
        async with db.transaction() as session:
            await move(session, *((a, b) if there else (b, a)), 5)

    for round_ in range(20):
        await asyncio.gather(*(open_both(n % 2 == 0, round_) for n in range(4)))
    async with db.transaction() as session:
        assert await ledger.trial_balance(session) == {"EUR": 0}


class TestFreezeAgainstSpend:
    """L13: the status is read under the lock that the posting holds."""

    async def test_a_spend_behind_an_uncommitted_freeze_is_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            payer, payee = await new_principal(session), await new_principal(session)
            await fund(session, payer, 1000)
            account = await ledger.account_id(session, accounts.customer(payer, "EUR"))
        async with db.transaction() as session:
            await session.execute(text("SELECT ledger_set_status(:id, 'frozen')"), {"id": account})
            spending = asyncio.create_task(spend(db, payer, payee, 1))
            done, _ = await asyncio.wait([spending], timeout=0.3)
            assert not done
        with pytest.raises(AccountFrozen):
            await spending
        assert await total(db, payer) == 1000

    async def test_a_freeze_waits_for_the_spend_before_it(self, db: Database) -> None:
        async with db.transaction() as session:
            payer, payee = await new_principal(session), await new_principal(session)
            await fund(session, payer, 1000)
            account = await ledger.account_id(session, accounts.customer(payer, "EUR"))

        async def freeze() -> None:
            async with db.transaction() as session:
                await session.execute(
                    text("SELECT ledger_set_status(:id, 'frozen')"), {"id": account}
                )

        async with db.transaction() as session:
            await move(session, accounts.customer(payer, "EUR"), accounts.customer(payee, "EUR"), 7)
            freezing = asyncio.create_task(freeze())
            done, _ = await asyncio.wait([freezing], timeout=0.3)
            assert not done
        await freezing
        assert await total(db, payer) == 993


@pytest.mark.parametrize("between", ["customers", "house"])
async def test_two_reversals_at_once_succeed_exactly_once(db: Database, between: str) -> None:
    async def reverse(entry: str) -> bool:
        try:
            async with db.transaction() as session:
                await ledger.reverse(session, entry_id=entry, reason="race")
        except AlreadyReversed:
            return False
        return True

    for _ in range(40):
        async with db.transaction() as session:
            if between == "customers":
                entry = await fund(session, await new_principal(session), 100)
            else:
                entry = await move(
                    session, accounts.bank("main", "EUR"), accounts.capital("EUR"), 100
                )
        assert sorted(await asyncio.gather(reverse(entry), reverse(entry))) == [False, True]


async def test_two_releases_at_once_give_back_once(db: Database) -> None:
    async with db.transaction() as session:
        who = await new_principal(session)
        await fund(session, who, 1000)

    async def release(hold_id: str) -> bool:
        try:
            async with db.transaction() as session:
                await ledger.release(session, hold_id=hold_id)
        except LedgerError:
            return False
        return True

    for _ in range(20):
        hold_id = new_id("hld")
        async with db.transaction() as session:
            opening = ledger.HoldOpening(
                accounts.customer(who, "EUR"), Money(300, EUR), "t", "r", hold_id
            )
            await ledger.hold(session, opening)
        assert sum(await asyncio.gather(*(release(hold_id) for _ in range(4)))) == 1
    async with db.transaction() as session:
        (balance,) = await ledger.balances(session, principal_id=who)
    assert (balance.available_minor, balance.held_minor) == (1000, 0)


class RandomRun:
    """Every kind of command by several workers over a few people, while deltas are folded."""

    def __init__(self, db: Database, people: list[str], seed: int) -> None:
        self.db = db
        self.people = people
        self.chance = random.Random(seed)
        self.holds: list[tuple[str, str, int]] = []
        self.entries: list[str] = []
        self.done = 0
        self.refused = 0

    async def work(self, operations: int) -> None:
        for _ in range(operations):
            try:
                async with self.db.transaction() as session:
                    after = await self.one(session)
            except (LedgerError, NotFound):
                self.refused += 1
            else:
                after()
                self.done += 1

    async def one(self, session: Session) -> Callable[[], None]:
        kind = self.chance.choices(
            ("transfer", "fund", "spend", "hold", "capture", "release", "reverse", "fold"),
            (40, 8, 8, 12, 12, 8, 8, 4),
        )[0]
        who, other = self.chance.sample(self.people, 2)
        minor = self.chance.randint(1, 10 ** self.chance.randint(1, 7))
        mine = accounts.customer(who, "EUR")
        if kind == "transfer":
            entry = await move(session, mine, accounts.customer(other, "EUR"), minor)
            return lambda: self.entries.append(entry)
        if kind == "fund":
            entry = await fund(session, who, minor)
            return lambda: self.entries.append(entry)
        if kind == "spend":
            await move(session, mine, accounts.fee_income("test", "EUR"), minor)
        elif kind == "hold":
            hold_id = new_id("hld")
            await ledger.hold(
                session, ledger.HoldOpening(mine, Money(minor, EUR), "t", "r", hold_id)
            )
            return lambda: self.holds.append((hold_id, who, minor))
        elif kind == "fold":
            await session.execute(text("SELECT ledger_fold(200)"))
        elif kind == "reverse" and self.entries:
            await ledger.reverse(session, entry_id=self.chance.choice(self.entries), reason="r")
        elif self.holds:
            hold_id, owner, held = self.chance.choice(self.holds)
            if kind == "release":
                await ledger.release(session, hold_id=hold_id)
            else:
                part = self.chance.randint(1, held)
                await ledger.post(
                    session,
                    ledger.Command(
                        kind="capture",
                        ref=hold_id,
                        lines=[
                            ledger.Line(accounts.customer(owner, "EUR"), Money(-part, EUR)),
                            ledger.Line(accounts.customer(other, "EUR"), Money(part, EUR)),
                        ]
                        if owner != other
                        else [],
                        close=[ledger.HoldClosing(hold_id, part, 0)],
                    ),
                )
        return lambda: None


# Each names what must have no row in healthy books.
UNHEALTHY = {
    "trial balance off": "SELECT asset FROM account_balances"
    " GROUP BY asset HAVING sum(balance_minor) <> 0",
    "balance is not the sum of postings": "SELECT b.id FROM account_balances b"
    " LEFT JOIN postings p ON p.account_id = b.id GROUP BY b.id, b.balance_minor"
    " HAVING b.balance_minor <> coalesce(sum(p.amount_minor), 0)",
    "held is not the sum of open holds": "SELECT a.id FROM accounts a"
    " LEFT JOIN holds h ON h.account_id = a.id GROUP BY a.id HAVING a.held_minor <>"
    " coalesce(sum(h.amount_minor - h.captured_minor - h.released_minor), 0)",
    "account_seq has a gap": "SELECT p.account_id FROM postings p"
    " JOIN accounts a ON a.id = p.account_id AND a.kind = 'customer'"
    " GROUP BY p.account_id, a.posting_count HAVING min(account_seq) <> 1"
    " OR max(account_seq) <> count(*) OR count(*) <> a.posting_count"
    " OR count(account_seq) <> count(*)",
    "balance_after does not follow": "SELECT id FROM (SELECT id, balance_after_minor,"
    " sum(amount_minor) OVER (PARTITION BY account_id ORDER BY account_seq) AS running"
    " FROM postings WHERE account_seq IS NOT NULL) x WHERE running <> balance_after_minor",
    "an entry is off": "SELECT entry_id FROM postings"
    " GROUP BY entry_id, asset HAVING sum(amount_minor) <> 0",
    "an entry is empty": "SELECT e.id FROM entries e"
    " WHERE NOT EXISTS (SELECT FROM postings p WHERE p.entry_id = e.id)",
    "below zero": "SELECT id FROM accounts WHERE kind = 'customer' AND balance_minor < held_minor",
}


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_the_books_are_whole_after_a_long_random_run(
    db: Database, database: ScratchDatabase
) -> None:
    async with db.transaction() as session:
        people = [await new_principal(session) for _ in range(12)]
        for who in people:
            await fund(session, who, 10**6)
    run = RandomRun(db, people, seed=20_261_122)
    await asyncio.gather(*(run.work(OPERATIONS // WORKERS) for _ in range(WORKERS)))
    assert run.done + run.refused == OPERATIONS
    assert run.done > OPERATIONS // 2
    assert run.refused > OPERATIONS // 100
    with psycopg.connect(database.conninfo("bifold_audit"), autocommit=True) as audit:
        for complaint, query in UNHEALTHY.items():
            assert audit.execute(query).fetchall() == [], complaint
    async with db.transaction() as session:
        before = await ledger.trial_balance(session)
        while await session.scalar(text("SELECT ledger_fold(500)")):
            continue
        assert await ledger.trial_balance(session) == before == {"EUR": 0}
    with psycopg.connect(database.conninfo("bifold_audit"), autocommit=True) as audit:
        assert audit.execute("SELECT count(*) FROM account_deltas").fetchone() == (0,)
        for complaint, query in UNHEALTHY.items():
            assert audit.execute(query).fetchall() == [], complaint
