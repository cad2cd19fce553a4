"""What stops an account, the database keeps: code running as the API neither opens what somebody
froze or closed, nor spends what is frozen for a debt, nor moves a clock of production."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, NoDataFound
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import ledger, migrate, receivables
from wallet.db import Database
from wallet.ledger import accounts
from wallet.ledger.errors import AccountFrozen
from wallet.money import Money
from wallet.sandbox.schema import let_the_clock_move
from wallet.testing.books import ASSETS, EUR, fund, move, new_principal
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.operators import as_operator
from wallet.testing.revisions import take_back

SET = "SELECT ledger_set_status(%s, %s)"
STOP = "SELECT ledger_stop(%s)"
REMEMBER = "INSERT INTO receivable_freezes (account_id, principal_id) VALUES (%s, %s)"
USD = ASSETS.get("USD")


@pytest.fixture
async def db(database: ScratchDatabase) -> AsyncIterator[Database]:
    db = Database(database.app_url)
    yield db
    await db.dispose()


@pytest.fixture
def app(database: ScratchDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo("bifold_app"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def operator(database: ScratchDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo("bifold_operator"), autocommit=True) as connection:
        yield connection


async def person(db: Database, minor: int = 100) -> tuple[str, str]:
    """Their id, and that of their EUR account with so much on it."""
    async with db.transaction() as session:
        who = await new_principal(session)
        await fund(session, who, minor)
        return who, await ledger.account_id(session, accounts.customer(who, "EUR"))


async def charge(session: AsyncSession, who: str, minor: int, ref: str = "one") -> None:
    await receivables.charge(
        session, principal_id=who, money=Money(minor, EUR),
        against=accounts.gateway("simgate", "EUR"), kind="topup_charged_back", ref=ref, meta={},
    )  # fmt: skip


async def collect(db: Database) -> None:
    await receivables.Collector(db, ASSETS).tick()


async def balance(db: Database, who: str) -> int:
    async with db.transaction() as session:
        return await ledger.balance_of(session, accounts.customer(who, "EUR"))


def status(connection: psycopg.Connection, account: str) -> str:
    found = connection.execute("SELECT status FROM accounts WHERE id = %s", (account,)).fetchone()
    assert found is not None
    return str(found[0])


class TestStatus:
    async def test_who_may_stop_may_not_let_go_on(
        self, db: Database, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        _, account = await person(db)
        for stop in ("frozen", "closed"):
            app.execute(SET, (account, stop))
            for other in {"open", "frozen"} - {stop}:
                with pytest.raises(InsufficientPrivilege, match="only operators"):
                    app.execute(SET, (account, other))
            assert status(app, account) == stop
            operator.execute(SET, (account, "open"))
            assert status(app, account) == "open"

    async def test_an_account_of_the_house_is_never_stopped(
        self, db: Database, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        await person(db)
        async with db.transaction() as session:
            capital = await ledger.account_id(session, accounts.capital("EUR"))
        for connection in (app, operator):
            with pytest.raises(InsufficientPrivilege, match="of the house"):
                connection.execute(SET, (capital, "frozen"))


class TestDebt:
    async def test_what_an_operator_stops_stays_when_the_debt_is_repaid(
        self, db: Database, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        """Setting the status that it has does nothing, and the debt's end would open it."""
        who, account = await person(db)
        async with db.transaction() as session:
            await charge(session, who, 150)
        operator.execute(STOP, (account,))
        async with db.transaction() as session:
            await fund(session, who, 80)
        await collect(db)
        assert await balance(db, who) == 80  # nor does it pay the debt
        assert status(app, account) == "frozen"
        for deed in (SET, REMEMBER):
            with pytest.raises(InsufficientPrivilege):
                app.execute(deed, (account, "open" if deed == SET else who))
        with pytest.raises(InsufficientPrivilege):
            app.execute(STOP, (account,))

    async def test_a_stop_of_nothing_is_told_and_a_closed_account_stays_closed(
        self, db: Database, operator: psycopg.Connection
    ) -> None:
        _, account = await person(db)
        operator.execute(SET, (account, "closed"))
        for one in (account, "acc_mistyped"):
            with pytest.raises(NoDataFound, match="not closed"):
                operator.execute(STOP, (one,))
        assert status(operator, account) == "closed"

    async def test_a_note_from_before_opens_nothing_that_an_operator_stopped(
        self, db: Database, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        who, account = await person(db)
        async with db.transaction() as session:
            await charge(session, who, 150)
        operator.execute(SET, (account, "open"))
        operator.execute(STOP, (account,))
        with pytest.raises(InsufficientPrivilege, match="only operators"):
            app.execute(SET, (account, "open"))
        assert status(app, account) == "frozen"

    async def test_an_account_frozen_for_a_debt_pays_the_debt_and_nothing_else(
        self, db: Database, app: psycopg.Connection
    ) -> None:
        who, account = await person(db)
        friend, _ = await person(db)
        async with db.transaction() as session:
            await charge(session, who, 150)
            await fund(session, who, 80)
            with pytest.raises(AccountFrozen):
                await move(session, *two(who, friend), 1)
        with pytest.raises(InsufficientPrivilege, match="only operators"):
            app.execute(SET, (account, "open"))
        with pytest.raises(InsufficientPrivilege, match="for a debt"):
            app.execute("DELETE FROM receivable_freezes")
        async with db.transaction() as session:
            await charge(session, who, 10, "two")  # of what is there, frozen as it is
            assert await ledger.balance_of(session, accounts.customer(who, "EUR")) == 70
            with pytest.raises(AccountFrozen):  # … also in the transaction that charges
                await move(session, *two(who, friend), 1)
        await collect(db)
        async with db.transaction() as session:
            assert await ledger.balance_of(session, accounts.customer(who, "EUR")) == 20
            assert await ledger.balance_of(session, accounts.receivable(who, "EUR")) == 0
            await move(session, *two(who, friend), 20)
        assert app.execute("SELECT count(*) FROM receivable_freezes").fetchone() == (0,)

    async def test_a_charge_is_no_way_to_somebody_elses_account(self, db: Database) -> None:
        who, _ = await person(db)
        friend, _ = await person(db)
        async with db.transaction() as session:
            await charge(session, who, 150)
            await fund(session, who, 80)
        lines = [
            ledger.Line(accounts.customer(who, "EUR"), Money(-3, EUR)),
            ledger.Line(accounts.receivable(who, "EUR"), Money(1, EUR)),
            ledger.Line(accounts.customer(friend, "EUR"), Money(2, EUR)),
        ]
        for credited in (lines[2], ledger.Line(accounts.receivable(friend, "EUR"), Money(2, EUR)),
                         ledger.Line(accounts.capital("EUR"), Money(2, EUR))):  # fmt: skip
            one = ledger.Command(kind="receivable_collected", ref="x", lines=[*lines[:2], credited])
            async with db.transaction() as session:
                with pytest.raises(AccountFrozen):
                    await ledger.post(session, one)

    async def test_the_trigger_refuses_what_the_poster_would_let_through(
        self, db: Database, database: ScratchDatabase
    ) -> None:
        """Rows of the books themselves, as whoever replaced the poster would write them."""
        who, account = await person(db)
        friend, theirs = await person(db)
        async with db.transaction() as session:
            await charge(session, who, 150)
            await fund(session, who, 80)
            debt = await ledger.account_id(session, accounts.receivable(who, "EUR"))
        with psycopg.connect(database.conninfo("bifold_owner")) as owner:
            for credited, code in ((theirs, "BF006"), (debt, None)):
                owner.execute(
                    "INSERT INTO entries (id, kind, ref, event_at) VALUES (%s, 'x', 'x', now())",
                    (f"ent_{credited}",),
                )
                rows = "INSERT INTO postings (entry_id, account_id, asset, amount_minor," \
                       " account_seq, balance_after_minor) VALUES (%s, %s, 'EUR', -1, 99, 0)," \
                       " (%s, %s, 'EUR', 1, NULL, NULL)"  # fmt: skip
                given = (f"ent_{credited}", account, f"ent_{credited}", credited)
                if code is None:
                    owner.execute(rows, given)
                    continue
                with pytest.raises(psycopg.Error) as refused, owner.transaction():
                    owner.execute(rows, given)
                assert refused.value.sqlstate == code
            owner.rollback()
        assert friend != who

    async def test_a_freeze_of_somebody_else_is_not_made_one_for_a_debt(
        self, db: Database, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        who, account = await person(db)
        other, _ = await person(db)
        with pytest.raises(InsufficientPrivilege, match="owes nothing"):
            app.execute(REMEMBER, (account, who))
        operator.execute(SET, (account, "frozen"))
        async with db.transaction() as session:
            await charge(session, who, 30)
            await charge(session, other, 130)
        for owner in (who, other):
            with pytest.raises(InsufficientPrivilege, match="not open"):
                app.execute(REMEMBER, (account, owner))
        async with db.transaction() as session:  # the debt is repaid from elsewhere
            await move(session, accounts.capital("EUR"), accounts.receivable(who, "EUR"), 30)
        await collect(db)
        assert status(app, account) == "frozen"

    async def test_what_was_closed_meanwhile_stays_closed(
        self, db: Database, app: psycopg.Connection, operator: psycopg.Connection
    ) -> None:
        who, account = await person(db)
        async with db.transaction() as session:
            await fund(session, who, 5, USD)
            await charge(session, who, 150)
            dollars = await ledger.account_id(session, accounts.customer(who, "USD"))
            await fund(session, who, 50)
        operator.execute(SET, (dollars, "closed"))
        await collect(db)
        assert (status(app, account), status(app, dollars)) == ("open", "closed")
        assert app.execute("SELECT count(*) FROM receivable_freezes").fetchone() == (0,)


def two(payer: str, payee: str) -> tuple[ledger.AccountSpec, ledger.AccountSpec]:
    return accounts.customer(payer, "EUR"), accounts.customer(payee, "EUR")


MOVE_CLOCK = "UPDATE sandbox_clock SET offset_seconds = offset_seconds + 60"


def test_the_clock_moves_where_a_sandbox_was_started_only(cluster: ScratchCluster) -> None:
    house = cluster.create(bare=True)
    migrate.upgrade(house.owner_url)
    for role in ("bifold_app", "bifold_operator"):
        for deed in (MOVE_CLOCK, "DELETE FROM sandbox_clock", "TRUNCATE sandbox_clock"):
            with (
                psycopg.connect(house.conninfo(role)) as connection,
                pytest.raises(InsufficientPrivilege),
            ):
                connection.execute(deed.encode())
    let_the_clock_move(house.owner_url)
    with psycopg.connect(house.conninfo("bifold_app")) as app:
        assert app.execute(MOVE_CLOCK).rowcount == 1


async def test_the_revision_can_be_taken_back(cluster: ScratchCluster) -> None:
    """Down and up again, over somebody who owes."""
    database = cluster.create()
    db = Database(database.app_url)
    who, account = await person(db)
    async with db.transaction() as session:
        await charge(session, who, 150)
    take_back(database, "r0040-1")
    with psycopg.connect(database.conninfo("bifold_app")) as app:
        app.execute(SET, (account, "open"))
        app.execute(MOVE_CLOCK)
        app.execute("UPDATE users SET frozen_at = now()")
        app.rollback()
    migrate.upgrade(database.owner_url)
    with psycopg.connect(database.conninfo("bifold_app")) as app:
        for deed in (MOVE_CLOCK, f"SELECT ledger_set_status('{account}', 'open')"):
            with pytest.raises(InsufficientPrivilege):
                app.execute(deed.encode())
            app.rollback()
    async with as_operator(db) as session:
        await session.execute(text("SELECT ledger_set_status(:id, 'open')"), {"id": account})
    await db.dispose()
