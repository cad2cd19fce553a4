"""Entries, holds, reversals and reads through the public functions of the ledger."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from wallet import ledger
from wallet.db import Database, Session
from wallet.errors import NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.errors import (
    AccountClosed,
    AccountFrozen,
    AlreadyReversed,
    AssetMismatch,
    HoldClosed,
    HoldExceeded,
    InsufficientFunds,
    LedgerError,
    Unbalanced,
)
from wallet.money import MAX_SCALE, Asset, Money
from wallet.testing.books import ASSETS, ETH, EUR, fund, move, new_principal


async def available(session: Session, principal: str, asset: str = "EUR") -> tuple[int, int]:
    """(available, held)"""
    for balance in await ledger.balances(session, principal_id=principal):
        if balance.asset == asset:
            return balance.available_minor, balance.held_minor
    return 0, 0


async def open_hold(session: Session, principal: str, minor: int) -> str:
    hold_id = new_id("hld")
    await ledger.hold(
        session,
        ledger.HoldOpening(
            accounts.customer(principal, "EUR"), Money(minor, EUR), "test", "ref", hold_id
        ),
    )
    return hold_id


async def capture(session: Session, hold_id: str, principal: str, minor: int, back: int = 0) -> str:
    """Spend `minor` of the hold into the house, give `back` back."""
    entry = await ledger.post(
        session,
        ledger.Command(
            kind="capture",
            ref=hold_id,
            lines=[
                ledger.Line(accounts.customer(principal, "EUR"), Money(-minor, EUR)),
                ledger.Line(accounts.fee_income("test", "EUR"), Money(minor, EUR)),
            ],
            close=[ledger.HoldClosing(hold_id, minor, back)],
        ),
    )
    assert entry is not None
    return entry


async def set_status(session: Session, principal: str, status: str) -> None:
    account = await ledger.account_id(session, accounts.customer(principal, "EUR"))
    await session.execute(
        text("SELECT ledger_set_status(:account, :status)"), {"account": account, "status": status}
    )


class TestHolds:
    async def test_a_hold_lowers_what_is_available_and_not_the_total(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 1000)
            await open_hold(session, who, 400)
            assert await available(session, who) == (600, 400)
            assert await ledger.balance_of(session, accounts.customer(who, "EUR")) == 1000

    async def test_what_is_held_cannot_be_spent_or_held_again(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 1000)
            await open_hold(session, who, 400)
            with pytest.raises(InsufficientFunds):
                await move(session, accounts.customer(who, "EUR"), accounts.capital("EUR"), 601)
            with pytest.raises(InsufficientFunds):
                await open_hold(session, who, 601)
            await move(session, accounts.customer(who, "EUR"), accounts.capital("EUR"), 600)
            assert await available(session, who) == (0, 400)

    async def test_capture_may_be_partial_and_repeated(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 1000)
            hold_id = await open_hold(session, who, 400)
            await capture(session, hold_id, who, 100)
            await capture(session, hold_id, who, 50)
            assert await ledger.open_amount(session, hold_id=hold_id) == 250
            assert await available(session, who) == (600, 250)
            with pytest.raises(HoldExceeded):
                await capture(session, hold_id, who, 251)
            with pytest.raises(HoldExceeded):
                await capture(session, hold_id, who, 200, back=51)
            await capture(session, hold_id, who, 200, back=50)
            assert await available(session, who) == (650, 0)
            with pytest.raises(HoldClosed):
                await capture(session, hold_id, who, 1)

    async def test_who_reads_what_is_left_has_its_account_until_the_end(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 1000)
            hold_id = await open_hold(session, who, 400)
        async with db.transaction() as first:
            assert await ledger.open_amount(first, hold_id=hold_id) == 400
            with pytest.raises(DBAPIError, match="lock"):
                async with db.transaction() as second:
                    await second.execute(text("SET LOCAL lock_timeout = '200ms'"))
                    await ledger.release(second, hold_id=hold_id)
            await ledger.release(first, hold_id=hold_id)

    async def test_release_gives_back_the_rest_once(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 1000)
            hold_id = await open_hold(session, who, 400)
            await capture(session, hold_id, who, 100)
            await ledger.release(session, hold_id=hold_id)
            assert await available(session, who) == (900, 0)
            with pytest.raises(HoldClosed):
                await ledger.release(session, hold_id=hold_id)

    async def test_a_negative_part_is_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 1000)
            hold_id = await open_hold(session, who, 400)
            for parts in ((-1, 0), (0, -1), (500, -200)):
                with pytest.raises(HoldExceeded):
                    await ledger.post(
                        session, ledger.Command(close=[ledger.HoldClosing(hold_id, *parts)])
                    )

    async def test_a_hold_of_nothing_is_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 1000)
            for minor in (0, -1):
                with pytest.raises(LedgerError):
                    await open_hold(session, who, minor)
            assert await available(session, who) == (1000, 0)

    async def test_a_hold_named_twice_in_one_command_is_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 1000)
            hold_id = await open_hold(session, who, 400)
            with pytest.raises(LedgerError, match="hold_named_twice"):
                await ledger.post(
                    session, ledger.Command(close=[ledger.HoldClosing(hold_id, 0, 300)] * 2)
                )

    async def test_a_hold_that_is_not_there_is_not_found(self, db: Database) -> None:
        async with db.transaction() as session:
            with pytest.raises(NotFound):
                await ledger.release(session, hold_id=new_id("hld"))

    async def test_a_hold_on_the_house_is_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            with pytest.raises(LedgerError, match="hold_on_system"):
                await ledger.hold(
                    session,
                    ledger.HoldOpening(
                        accounts.capital("EUR"), Money(1, EUR), "test", "ref", new_id("hld")
                    ),
                )

    async def test_an_entry_may_pay_for_the_hold_it_comes_with(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            spec = accounts.customer(who, "EUR")
            lines = [
                ledger.Line(spec, Money(70, EUR)),
                ledger.Line(accounts.capital("EUR"), Money(-70, EUR)),
            ]
            for minor, fits in ((71, False), (70, True)):
                opening = ledger.HoldOpening(spec, Money(minor, EUR), "test", "r", new_id("hld"))
                command = ledger.Command(kind="test", ref="r", lines=lines, open=opening)
                if fits:
                    await ledger.post(session, command)
                else:
                    with pytest.raises(InsufficientFunds):
                        await ledger.post(session, command)
            assert await available(session, who) == (0, 70)

    async def test_one_command_may_close_a_hold_and_open_another(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 100)
            first = await open_hold(session, who, 100)
            second = new_id("hld")
            await ledger.post(
                session,
                ledger.Command(
                    close=[ledger.HoldClosing(first, 0, 100)],
                    open=ledger.HoldOpening(
                        accounts.customer(who, "EUR"), Money(90, EUR), "test", "r", second
                    ),
                ),
            )
            assert await available(session, who) == (10, 90)
            assert await ledger.open_amount(session, hold_id=second) == 90


class TestAccounts:
    async def test_frozen_receives_and_pays_nothing(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 100)
            await set_status(session, who, "frozen")
            await fund(session, who, 5)
            with pytest.raises(AccountFrozen):
                await move(session, accounts.customer(who, "EUR"), accounts.capital("EUR"), 1)
            with pytest.raises(AccountFrozen):
                await open_hold(session, who, 1)
            assert await available(session, who) == (105, 0)

    async def test_frozen_lets_go_what_was_held_before_and_no_more(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 100)
            held = await open_hold(session, who, 60)
            await set_status(session, who, "frozen")
            with pytest.raises(LedgerError) as refused:
                await ledger.post(
                    session,
                    ledger.Command(
                        kind="capture",
                        ref=held,
                        lines=[
                            ledger.Line(accounts.customer(who, "EUR"), Money(-61, EUR)),
                            ledger.Line(accounts.fee_income("test", "EUR"), Money(61, EUR)),
                        ],
                        close=[ledger.HoldClosing(held, 60, 0)],
                    ),
                )
            assert "capture_not_posted" in refused.value.detail
            await capture(session, held, who, 50, back=10)
            assert await available(session, who) == (50, 0)
            spent = await session.execute(
                text("SELECT amount_minor FROM hold_captures WHERE hold_id = :id"), {"id": held}
            )
            assert [int(row.amount_minor) for row in spent] == [50]

    async def test_closed_takes_part_in_nothing(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 100)
            await set_status(session, who, "closed")
            with pytest.raises(AccountClosed):
                await fund(session, who, 5)
            with pytest.raises(AccountClosed):
                await move(session, accounts.customer(who, "EUR"), accounts.capital("EUR"), 1)
            with pytest.raises(AccountClosed):
                await open_hold(session, who, 1)

    async def test_both_sides_on_one_account_are_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 100)
            mine = accounts.customer(who, "EUR")
            with pytest.raises(LedgerError, match="account_named_twice"):
                await move(session, mine, mine, 10)
            assert await available(session, who) == (100, 0)

    async def test_money_of_another_asset_is_refused(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 100)
            usd = ASSETS.get("USD")
            with pytest.raises(AssetMismatch):
                await ledger.post(
                    session,
                    ledger.Command(
                        kind="test",
                        ref="r",
                        lines=[
                            ledger.Line(accounts.customer(who, "EUR"), Money(-1, usd)),
                            ledger.Line(accounts.capital("EUR"), Money(1, usd)),
                        ],
                    ),
                )

    async def test_assets_do_not_make_up_for_each_other(self, db: Database) -> None:
        async with db.transaction() as session:
            with pytest.raises(Unbalanced):
                await ledger.post(
                    session,
                    ledger.Command(
                        kind="test",
                        ref="r",
                        lines=[
                            ledger.Line(accounts.capital("EUR"), Money(-1, EUR)),
                            ledger.Line(accounts.capital("ETH"), Money(1, ETH)),
                        ],
                    ),
                )

    async def test_an_entry_of_several_assets_balances_in_each(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            await fund(session, who, 1000)
            await ledger.post(
                session,
                ledger.Command(
                    kind="conversion",
                    ref="r",
                    lines=[
                        ledger.Line(accounts.customer(who, "EUR"), Money(-1000, EUR)),
                        ledger.Line(accounts.fx_position("EUR"), Money(990, EUR)),
                        ledger.Line(accounts.spread_income("EUR"), Money(10, EUR)),
                        ledger.Line(accounts.fx_position("ETH"), Money(-(10**15), ETH)),
                        ledger.Line(accounts.customer(who, "ETH"), Money(10**15, ETH)),
                    ],
                ),
            )
            assert await available(session, who, "ETH") == (10**15, 0)
            assert set((await ledger.trial_balance(session)).values()) == {0}

    async def test_one_path_is_one_account(self, db: Database) -> None:
        async with db.transaction() as session:
            first = await ledger.account_id(session, accounts.capital("EUR"))
            assert await ledger.account_id(session, accounts.capital("EUR")) == first

    async def test_what_the_house_owns_reads_positive(self, db: Database) -> None:
        async with db.transaction() as session:
            await move(session, accounts.bank("main", "EUR"), accounts.capital("EUR"), 500)
            assert await ledger.balance_of(session, accounts.bank("main", "EUR")) == 500
            assert await ledger.balance_of(session, accounts.capital("EUR")) == 500
            assert await ledger.balance_of(session, accounts.bank("never", "EUR")) == 0


class TestReversal:
    async def test_undoes_an_entry_once(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            entry = await fund(session, who, 100)
            reversal = await ledger.reverse(session, entry_id=entry, reason="wrong person")
            assert await available(session, who) == (0, 0)
            assert await ledger.balance_of(session, accounts.capital("EUR")) == 0
            with pytest.raises(AlreadyReversed):
                await ledger.reverse(session, entry_id=entry, reason="again")
            meta = await session.scalar(
                text("SELECT meta FROM entries WHERE id = :id"), {"id": reversal}
            )
            assert meta == {"reason": "wrong person", "of": "test"}

    async def test_never_takes_a_customer_below_zero(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            entry = await fund(session, who, 100)
            await move(session, accounts.customer(who, "EUR"), accounts.capital("EUR"), 1)
            with pytest.raises(InsufficientFunds):
                await ledger.reverse(session, entry_id=entry, reason="too late")

    async def test_of_an_unknown_entry_is_not_found(self, db: Database) -> None:
        async with db.transaction() as session:
            with pytest.raises(NotFound):
                await ledger.reverse(session, entry_id=new_id("ent"), reason="none")


class TestLargeAmounts:
    @pytest.mark.parametrize("bits", [31, 32, 53, 63, 64, 96, 127, 128, 255, 256])
    async def test_stay_exact_around_a_power_of_two(self, db: Database, bits: int) -> None:
        wide = Asset("ETH", "native", MAX_SCALE, "Ether", 2**300)
        async with db.transaction() as session:
            who = await new_principal(session)
            source, target = accounts.capital("ETH"), accounts.customer(who, "ETH")
            for minor in (2**bits - 1, 1, 1):
                await ledger.post(
                    session,
                    ledger.Command(
                        kind="test",
                        ref="r",
                        lines=[
                            ledger.Line(source, Money(-minor, wide)),
                            ledger.Line(target, Money(minor, wide)),
                        ],
                    ),
                )
            assert await available(session, who, "ETH") == (2**bits + 1, 0)
            assert await ledger.balance_of(session, source) == -(2**bits + 1)

    async def test_beyond_the_columns_width_are_refused(self, db: Database) -> None:
        wide = Asset("ETH", "native", MAX_SCALE, "Ether", 10**90)
        async with db.transaction() as session:
            who = await new_principal(session)
            lines = [
                ledger.Line(accounts.capital("ETH"), Money(-(10**78), wide)),
                ledger.Line(accounts.customer(who, "ETH"), Money(10**78, wide)),
            ]
            with pytest.raises(LedgerError, match="amount_malformed"):
                await ledger.post(session, ledger.Command(kind="test", ref="r", lines=lines))


class TestFold:
    async def test_changes_no_balance(self, db: Database) -> None:
        async with db.transaction() as session:
            who = await new_principal(session)
            for minor in range(1, 8):
                await fund(session, who, minor)
            assert await ledger.balance_of(session, accounts.capital("EUR")) == -28
            assert await session.scalar(text("SELECT ledger_fold(3)")) == 3
            assert await ledger.balance_of(session, accounts.capital("EUR")) == -28
            assert await session.scalar(text("SELECT ledger_fold(100)")) == 4
            assert await session.scalar(text("SELECT ledger_fold(100)")) == 0
            assert await ledger.balance_of(session, accounts.capital("EUR")) == -28
            folded = await session.execute(
                text("SELECT balance_minor, posting_count FROM accounts WHERE kind = 'system'")
            )
            assert tuple(folded.one()) == (-28, 7)
