"""Payments whose bank refuses, returns, keeps silent or contradicts itself."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from wallet import payments
from wallet.errors import InvalidState
from wallet.ledger import accounts
from wallet.payments import repository, tasks
from wallet.payouts.rails import BankAnswer
from wallet.risk import limits
from wallet.testing.payments import PaymentWorld


def reference_of(payment: payments.Payment) -> str:
    (leg,) = [leg for leg in payment.legs if leg.kind == "payout"]
    assert leg.reference is not None
    return leg.reference


def types_of(payment: payments.Payment) -> list[str]:
    return [event.type for event in payment.events]


async def used_limit(world: PaymentWorld, who: str) -> int:
    async with world.db.transaction() as session:
        return (await limits.usage(session, who)).used_minor


class TestFaults:
    async def test_rejected_comes_back_less_the_named_fee(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="100.00")
        await world.fault("payout_rejected", on=True)
        done = await world.finish(await world.pay(who, "40.00"))
        assert done.status == "returned" and done.quote.refund_rule == "original_rate"
        assert await world.balance(who, "EUR") == "99.01"
        assert done.legs[-1].kind == "refund" and done.legs[-1].money.amount == "39.01"
        assert done.legs[-2].status == "returned"
        amount = done.target.minor
        assert await world.bank_payouts(reference_of(done)) == [-amount, amount]
        assert await used_limit(world, who) == 0
        await world.assert_sound()

    async def test_refused_fails_and_everything_returns(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="100.00")
        await world.fault("payout_refused", on=True)
        done = await world.finish(await world.pay(who, "40.00"))
        assert done.status == "failed" and (done.reason or "").startswith("AC01")
        assert await world.balance(who, "EUR") == "100.00"
        assert await world.bank_payouts(reference_of(done)) == []
        for spec in (
            accounts.fee_income("payment", "EUR"),
            accounts.spread_income("EUR"),
            accounts.fx_position("EUR"),
            accounts.fx_position("MXN"),
        ):
            assert (await world.account(spec)).minor == 0
        assert await used_limit(world, who) == 0
        await world.assert_sound()

    async def test_a_bank_without_our_money_refuses_too(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="9000.00")
        payment = await world.pay(who, "9000.00")
        async with world.db.transaction() as session:
            await session.execute(
                text("UPDATE simbank.accounts SET balance_minor = 1 WHERE asset = 'MXN'")
            )
        await world.tasks.advance(payment.id)
        done = await world.see(payment)
        assert done.status == "failed" and (done.reason or "").startswith("AM04")
        assert await world.balance(who, "EUR") == "9000.00"

    async def test_silent_waits_in_sight_and_finishes_when_the_bank_speaks(
        self, world: PaymentWorld
    ) -> None:
        who = await world.person(EUR="100.00")
        await world.fault("payout_silent", on=True)
        payment = await world.pay(who, "40.00")
        for _ in range(3):
            await world.tasks.advance(payment.id)
            await world.advance(60)
        waiting = await world.see(payment)
        assert (waiting.status, waiting.waiting_for) == ("paying_out", "bank_answer")
        assert waiting.waiting_until is not None
        assert waiting.waiting_until > waiting.updated_at
        assert await world.balance(who, "EUR") == "60.00"
        # The bank took it and did not say so: in flight, and named so.
        assert await world.bank_payouts(reference_of(waiting)) == [-waiting.target.minor]
        assert await world.bank_is_off_by() == {}
        assert types_of(waiting).count("waiting.bank_answer") == 1
        with pytest.raises(InvalidState):
            await world.cancel(payment)
        await world.fault("payout_silent", on=False)
        done = await world.finish(payment)
        assert (done.status, done.waiting_for) == ("completed", None)
        assert await world.bank_payouts(reference_of(done)) == [-done.target.minor]
        await world.assert_sound()

    async def test_silence_beyond_the_rail_s_promise_is_told_once(
        self, world: PaymentWorld
    ) -> None:
        who = await world.person(EUR="100.00")
        await world.fault("payout_silent", on=True)
        payment = await world.pay(who, "40.00")
        await world.tasks.advance(payment.id)
        await world.advance(901)
        await world.tasks.advance(payment.id)
        await world.tasks.advance(payment.id)
        assert types_of(await world.see(payment)).count("payment.overdue") == 1

    async def test_silence_about_a_return_ends_as_a_return(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="100.00")
        await world.fault("payout_silent", on=True)
        await world.fault("payout_rejected", on=True)
        payment = await world.pay(who, "40.00")
        await world.tasks.advance(payment.id)
        await world.advance(10)
        await world.fault("payout_silent", on=False)
        assert (await world.finish(payment)).status == "returned"
        await world.assert_sound()


class TestLateAnswers:
    @pytest.mark.parametrize("fault", [None, "payout_rejected", "payout_refused"])
    @pytest.mark.parametrize("late", ["accepted", "settled", "refused", "returned"])
    async def test_no_answer_moves_a_payment_that_has_ended(
        self, world: PaymentWorld, fault: str | None, late: str
    ) -> None:
        who = await world.person(EUR="100.00")
        if fault is not None:
            await world.fault(fault, on=True)
        done = await world.finish(await world.pay(who, "40.00"))
        entries = await world.count("entries")
        for _ in range(3):
            assert done.ended_at is not None
            await world.tasks.hear(done.id, BankAnswer(late, done.ended_at))  # type: ignore[arg-type]
            await world.tasks.advance(done.id)
        assert await world.see(done) == done
        assert await world.count("entries") == entries
        await world.assert_sound()

    @pytest.mark.parametrize(
        ("fault", "status", "aside"),
        [
            (None, "completed", 1),  # it came back: the house owes it to somebody
            ("payout_rejected", "returned", -1),  # refunded and paid: the house is short
            ("payout_refused", "failed", -1),
        ],
    )
    async def test_a_bank_that_contradicts_itself_is_booked_aside_once(
        self, world: PaymentWorld, fault: str | None, status: str, aside: int
    ) -> None:
        who = await world.person(EUR="100.00")
        if fault is not None:
            await world.fault(fault, on=True)
        done = await world.finish(await world.pay(who, "40.00"))
        balance = await world.balance(who, "EUR")
        await world.bank.contradict(reference_of(done))
        for _ in range(3):
            await world.reader.tick()
            await world.tasks.tick()
            await world.tasks.advance(done.id)
        now = await world.see(done)
        assert now.status == status
        assert types_of(now).count("bank.contradicted") == 1
        assert await world.balance(who, "EUR") == balance
        kept = await world.account(accounts.unattributed("simbank", "MXN"))
        assert kept.minor == aside * done.target.minor
        await world.assert_sound()

    async def test_a_clock_set_back_puts_nothing_off(self, world: PaymentWorld) -> None:
        """What was to be asked for in a moment then was to be asked for in two hours."""
        who = await world.person(EUR="100.00")
        made = await world.pay(who, "40.00")
        await world.tasks.advance(made.id)
        async with world.db.transaction() as session:
            await session.execute(
                text("UPDATE payments SET next_try_at = next_try_at + interval '2 hours'")
            )
            assert await session.scalar(text(f"SELECT {tasks.DUE}"))
            assert await repository.take_due(session, limit=10) == [made.id]
            assert not await session.scalar(text(f"SELECT {tasks.DUE}"))
            assert await repository.take_due(session, limit=10) == []


class TestClosedPayer:
    async def test_a_refund_nobody_can_take_is_kept_aside(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="40.00")
        await world.fault("payout_refused", on=True)
        payment = await world.pay(who, "40.00")
        async with world.db.transaction() as session:
            await session.execute(
                text(
                    "SELECT ledger_set_status(id, 'closed') FROM accounts WHERE principal_id = :who"
                ),
                {"who": who},
            )
        assert (await world.finish(payment)).status == "failed"
        aside = await world.account(accounts.unattributed("payments", "EUR"))
        assert aside.amount == "40.00"
        await world.assert_sound()
