"""Our books and the bank's statement: agree to the cent, and one cent is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import payouts, topups
from wallet.db import Database
from wallet.ledger import accounts
from wallet.ledger.errors import AccountClosed
from wallet.payouts.reconcile import bank_lines
from wallet.payouts.simbank import _move
from wallet.testing.databases import ScratchDatabase
from wallet.testing.payments import PaymentWorld


@pytest.fixture
async def tamperer(database: ScratchDatabase) -> AsyncIterator[Database]:
    """Somebody with more rights than the application has."""
    db = Database(database.owner_url)
    yield db
    await db.dispose()


async def lively(world: PaymentWorld) -> str:
    """A completed and a returned payment, and a credit; the completed one's reference."""
    who = await world.person(EUR="500.00", USDC="100")
    done = await world.finish(await world.pay(who, "40.00"))
    await world.fault("payout_rejected", on=True)
    await world.finish(await world.pay(who, "25", "USDC"))
    await world.fault("payout_rejected", on=False)
    await credit(world, who, "12.34", "EUR")
    (leg,) = [leg for leg in done.legs if leg.kind == "payout"]
    assert leg.reference is not None
    return leg.reference


async def credit(world: PaymentWorld, who: str, amount: str, code: str) -> topups.Topup:
    return await topups.bank_credit(
        world.db, world.bank, world.assets, principal_id=who, money=world.money(amount, code)
    )


class TestSeed:
    async def test_books_the_opening_once(self, world: PaymentWorld) -> None:
        entries = await world.count("entries")
        await asyncio.gather(
            *(
                payouts.seed_house(world.db, world.bank, world.assets, topups.IncomingTransfers())
                for _ in range(4)
            )
        )
        assert await world.count("entries") == entries == 2
        assert (await world.account(accounts.capital("EUR"))).amount == "5000000.00"
        assert (await world.account(accounts.bank("simbank", "EUR"))).amount == "5000000.00"
        await world.assert_sound()


class TestBankCredit:
    async def test_reaches_the_balance_and_both_statements(self, world: PaymentWorld) -> None:
        who = await world.person()
        made = await credit(world, who, "12.34", "EUR")
        assert await world.balance(who, "EUR") == "12.34"
        assert made.id.startswith("top_") and made.money.amount == "12.34"
        await credit(world, who, "500", "JPY")  # an account that was not open yet
        assert await world.balance(who, "JPY") == "500"
        await world.assert_sound()

    async def test_many_at_once_are_each_booked_once(self, world: PaymentWorld) -> None:
        who = await world.person()
        await asyncio.gather(*(credit(world, who, "1.00", "EUR") for _ in range(10)))
        assert await world.balance(who, "EUR") == "10.00"
        await world.assert_sound()

    async def test_a_closed_account_s_money_is_kept_aside(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="1.00")
        async with world.db.transaction() as session:
            await session.execute(
                text(
                    "SELECT ledger_set_status(id, 'closed') FROM accounts WHERE principal_id = :who"
                ),
                {"who": who},
            )
        with pytest.raises(AccountClosed):
            await credit(world, who, "5.00", "EUR")
        kept = await world.account(accounts.unattributed("simbank", "EUR"))
        assert kept.amount == "5.00"
        await world.assert_sound()

    async def test_money_for_nobody_is_kept_aside(self, world: PaymentWorld) -> None:
        for number, about in enumerate(("who knows", "prn_house")):
            money = world.money("5.00", "EUR")
            await world.bank.receive(reference=f"x{number}", money=money, about=about)
        await world.reader.tick()
        kept = await world.account(accounts.unattributed("simbank", "EUR"))
        assert kept.amount == "10.00"
        await world.assert_sound()


class TestBankLines:
    async def test_agree_after_a_lively_day(self, world: PaymentWorld) -> None:
        await lively(world)
        lines = {line.account: line for line in await bank_lines(world.db)}
        assert set(lines) == {"bank:simbank:EUR", "bank:simbank:MXN"}
        for line in lines.values():
            assert line.balanced and line.difference == 0 == line.in_flight_minor
            assert line.ledger_minor == line.outside_minor > 0

    async def test_show_what_is_on_its_way(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="100.00")
        await world.fault("payout_silent", on=True)
        payment = await world.pay(who, "40.00")
        await world.tasks.advance(payment.id)
        (line,) = [line for line in await bank_lines(world.db) if line.asset == "MXN"]
        assert line.in_flight_minor == -payment.target.minor
        assert line.balanced and line.ledger_minor != line.outside_minor

    @pytest.mark.parametrize("cent", [1, -1])
    async def test_find_one_cent_in_one_line(
        self, world: PaymentWorld, tamperer: Database, cent: int
    ) -> None:
        reference = await lively(world)
        async with tamperer.transaction() as session:
            await shift(session, reference, cent)
            await session.execute(
                text(
                    "UPDATE simbank.accounts SET balance_minor = balance_minor + :cent"
                    " WHERE asset = 'MXN'"
                ),
                {"cent": cent},
            )
        (off,) = [line for line in await bank_lines(world.db) if not line.balanced]
        assert (off.account, off.difference) == ("bank:simbank:MXN", cent)
        assert f"{reference} is off by {cent}" in off.note

    async def test_find_two_cents_that_hide_each_other(
        self, world: PaymentWorld, tamperer: Database
    ) -> None:
        first, second = await lively(world), await lively(world)
        async with tamperer.transaction() as session:
            await shift(session, first, 1)
            await shift(session, second, -1)
        (off,) = [line for line in await bank_lines(world.db) if not line.balanced]
        assert off.difference == 0 and off.problem
        assert f"{first} is off by 1" in off.note and f"{second} is off by -1" in off.note

    async def test_find_a_balance_that_is_not_the_lines_sum(
        self, world: PaymentWorld, tamperer: Database
    ) -> None:
        await lively(world)
        async with tamperer.transaction() as session:
            await session.execute(
                text("UPDATE simbank.accounts SET balance_minor = balance_minor + 1")
            )
        lines = await bank_lines(world.db)
        assert {line.difference for line in lines} == {1}
        assert not any(line.balanced for line in lines)

    async def test_a_wrong_amount_is_left_for_a_person(
        self, world: PaymentWorld, tamperer: Database
    ) -> None:
        who = await world.person(EUR="100.00")
        payment = await world.pay(who, "40.00")
        await world.tasks.advance(payment.id)
        (leg,) = [leg for leg in payment.legs if leg.kind == "payout"]
        async with tamperer.transaction() as session:
            await shift(session, leg.reference or "", -1)
        await world.finish(payment)
        async with world.db.transaction() as session:
            found = await session.execute(
                text("SELECT problem FROM bank_lines WHERE reference = :r"), {"r": leg.reference}
            )
            assert found.scalars().all() == ["the amount is not the payout's"]
        assert "bank:simbank:MXN" in await world.bank_is_off_by()


async def shift(session: AsyncSession, reference: str, cent: int) -> None:
    """Change one payout's line, and what follows from it, so that only the reference tells."""
    await session.execute(
        text(
            "UPDATE simbank.statement s SET balance_after_minor = s.balance_after_minor + :cent,"
            " amount_minor = s.amount_minor"
            "  + CASE WHEN s.reference = :reference THEN CAST(:cent AS numeric) ELSE 0 END"
            " FROM simbank.statement t WHERE t.reference = :reference AND s.asset = t.asset"
            " AND s.id >= t.id"
        ),
        {"reference": reference, "cent": cent},
    )


async def test_a_payout_that_leaves_twice_is_not_taken_for_one(
    world: PaymentWorld, tamperer: Database
) -> None:
    """A second movement by the same reference is nobody's, and named."""
    reference = await lively(world)
    async with tamperer.transaction() as session:
        await session.execute(text("DROP INDEX simbank.simbank_statement_once_idx"))
        minor = await session.scalar(
            text("SELECT amount_minor FROM simbank.statement WHERE reference = :r"),
            {"r": reference},
        )
        await _move(session, "MXN", int(minor), "payout", reference, "again")
    for _ in range(2):
        await world.reader.tick()
    aside = await world.account(accounts.unattributed("simbank", "MXN"))
    assert aside.minor == int(minor)  # negative: the bank owes it
    async with world.db.transaction() as session:
        contradicted = await session.scalar(
            text("SELECT contradicted_at IS NOT NULL FROM payouts WHERE reference = :r"),
            {"r": reference},
        )
    assert contradicted
    await world.assert_sound()
