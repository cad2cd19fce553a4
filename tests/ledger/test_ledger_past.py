"""What an account held at a past moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from wallet import ledger
from wallet.db import Database
from wallet.ledger import accounts
from wallet.money import Money
from wallet.testing.books import EUR, move, new_principal


async def test_every_moment_between_postings_has_its_balance(db: Database) -> None:
    async with db.transaction() as session:
        ada = await new_principal(session)
    spec, capital = accounts.customer(ada, "EUR"), accounts.capital("EUR")
    for minor in (500, -120, 7):
        async with db.transaction() as session:
            await ledger.post(
                session,
                ledger.Command(
                    kind="test.moved",
                    ref=ada,
                    lines=[
                        ledger.Line(capital, Money(-minor, EUR)),
                        ledger.Line(spec, Money(minor, EUR)),
                    ],
                ),
            )
    async with db.transaction() as session:
        rows = await session.execute(
            text(
                "SELECT p.created_at FROM postings p JOIN accounts a ON a.id = p.account_id"
                " WHERE a.path = :path ORDER BY p.account_seq"
            ),
            {"path": spec.path},
        )
        written = [row.created_at for row in rows]
        at = [await ledger.balance_at(session, spec, moment) for moment in written]
        assert at == [0, 500, 380]  # a posting counts after its own moment, not at it
        later = datetime.now(UTC) + timedelta(minutes=1)
        assert await ledger.balance_at(session, spec, later) == 387
        assert await ledger.balance_at(session, capital, later) == -387
        assert await ledger.balance_at(session, capital, written[0] - timedelta(hours=1)) == 0
        assert await ledger.balance_of(session, spec) == 387


async def test_an_account_never_opened_held_nothing(db: Database) -> None:
    async with db.transaction() as session:
        ada = await new_principal(session)
        spec = accounts.customer(ada, "EUR")
        assert await ledger.balance_at(session, spec, datetime.now(UTC)) == 0
        later = [datetime.now(UTC), datetime.now(UTC) + timedelta(days=1)]
        assert await ledger.places(session, spec, later) == [ledger.Place(0, 0)] * 2


async def test_what_the_house_owned_was_positive_too(db: Database) -> None:
    bank = accounts.bank("past", "EUR")
    async with db.transaction() as session:
        await move(session, bank, accounts.capital("EUR"), 500)
        later = datetime.now(UTC) + timedelta(minutes=1)
        assert await ledger.balance_at(session, bank, later) == 500
