"""Payments: the good way, the bad ways, and what is left when each has ended."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from wallet import payments
from wallet.errors import InvalidField, InvalidState, LimitExceeded, NotFound, WalletError
from wallet.fx.errors import QuoteExpired, QuoteUsed
from wallet.ledger import accounts
from wallet.ledger.errors import InsufficientFunds
from wallet.payments import recipients
from wallet.payments.states import TERMINAL, TRANSITIONS, check_move
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


class TestStates:
    def test_every_move_leads_to_a_known_state_and_all_can_end(self) -> None:
        assert {after for moves in TRANSITIONS.values() for after in moves} <= set(TRANSITIONS)
        for state in TRANSITIONS:
            reached, todo = set(), [state]
            while todo:
                here = todo.pop()
                reached.add(here)
                todo += [after for after in TRANSITIONS[here] if after not in reached]
            assert reached & TERMINAL
        assert {"completed", "returned", "failed", "cancelled"} == TERMINAL

    def test_after_submission_nothing_cancels(self) -> None:
        with pytest.raises(InvalidState) as refused:
            check_move("paying_out", "cancelled")
        assert refused.value.extra == {"state": "paying_out"}


class TestToMexico:
    async def test_goes_through_every_state_and_leaves_nothing_behind(
        self, world: PaymentWorld
    ) -> None:
        who = await world.person(EUR="100.00")
        payment = await world.pay(who, "40.00")
        assert payment.status == "funded"
        assert await world.balance(who, "EUR") == "60.00"
        done = await world.finish(payment)
        assert done.status == "completed" and done.refund is None
        assert types_of(done) == [
            "payment.created",
            "payment.funded",
            "payment.converted",
            "payment.settling",
            "payment.paying_out",
            "waiting.bank_settlement",
            "payment.completed",
        ]
        assert [(leg.kind, leg.status) for leg in done.legs] == [
            ("funding", "done"),
            ("conversion", "done"),
            ("settlement", "skipped"),
            ("payout", "done"),
        ]
        assert await world.balance(who, "EUR") == "60.00"
        # 39.01 EUR x (1 / 0.04672) x 0.996
        assert done.target.amount == "831.63"
        assert await world.bank_payouts(reference_of(done)) == [-83163]
        held = await world.account(accounts.bank("simbank", "MXN"))
        assert held.minor == 100_000_000_00 - 83163
        assert (await world.account(accounts.fee_income("payment", "EUR"))).amount == "0.99"
        spread = await world.account(accounts.spread_income("EUR"))
        assert spread == done.quote.spread_money
        await world.assert_sound()

    async def test_tells_each_move_once(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="100.00")
        payment = await world.finish(await world.pay(who, "40.00"))
        async with world.db.transaction() as session:
            rows = await session.execute(
                text("SELECT type FROM outbox WHERE ref = :id ORDER BY id"), {"id": payment.id}
            )
            assert rows.scalars().all() == [
                "payment.created",
                "payment.funded",
                "payment.converted",
                "payment.settling",
                "payment.paying_out",
                "payment.waiting",
                "payment.completed",
            ]


class TestFromCrypto:
    async def test_converts_at_creation_in_one_entry(self, world: PaymentWorld) -> None:
        who = await world.person(USDC="25")
        payment = await world.pay(who, "25", "USDC")
        assert payment.status == "converted"
        assert await world.balance(who, "USDC") == "0.000000"
        async with world.db.transaction() as session:
            entries = await session.execute(
                text("SELECT kind FROM entries WHERE ref = :id"), {"id": payment.id}
            )
            assert entries.scalars().all() == ["payment.converted"]
        done = await world.finish(payment)
        assert (done.status, done.target.asset.code) == ("completed", "EUR")
        assert (await world.account(accounts.fx_position("EUR"))).minor == -done.target.minor
        await world.assert_sound()

    async def test_a_return_reverses_at_the_same_rate(self, world: PaymentWorld) -> None:
        who = await world.person(USDC="25")
        await world.fault("payout_rejected", on=True)
        payment = await world.pay(who, "25", "USDC")
        await world.table_rates(USDC="1.2000", USD="1.2000")  # the house bears it
        done = await world.finish(payment)
        assert (done.status, done.reason) == ("returned", "AC04 The account abroad is closed.")
        assert done.refund == world.money("24.5", "USDC")
        assert await world.balance(who, "USDC") == "24.500000"
        for code in ("USDC", "EUR"):
            assert (await world.account(accounts.fx_position(code))).minor == 0
        assert (await world.account(accounts.spread_income("USDC"))).minor == 0
        assert (await world.account(accounts.fee_income("payment", "USDC"))).amount == "0.500000"
        await world.assert_sound()


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


class TestCancel:
    @pytest.mark.parametrize(("source", "amount"), [("EUR", "40.00"), ("USDC", "25")])
    async def test_before_submission_everything_returns(
        self, world: PaymentWorld, source: str, amount: str
    ) -> None:
        who = await world.person(**{source: "100"})
        before = await world.balance(who, source)
        payment = await world.pay(who, amount, source)
        ended = await world.cancel(payment)
        assert ended.status == "cancelled" and ended.refund == payment.source
        assert await world.balance(who, source) == before
        assert await used_limit(world, who) == 0
        await world.tasks.advance(payment.id)
        with pytest.raises(InvalidState) as refused:
            await world.cancel(payment)
        assert refused.value.extra == {"state": "cancelled"}
        assert await world.count("payouts") == 0
        await world.assert_sound()

    async def test_never_somebody_else_s(self, world: PaymentWorld) -> None:
        who, other = await world.person(EUR="100.00"), await world.person()
        payment = await world.pay(who, "40.00")
        async with world.db.transaction() as session:
            with pytest.raises(NotFound):
                await payments.cancel(
                    session, assets=world.assets, principal_id=other, payment_id=payment.id
                )
            with pytest.raises(NotFound):
                await payments.get(
                    session, assets=world.assets, principal_id=other, payment_id=payment.id
                )

    async def test_races_with_the_job_to_one_end(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="1000.00")
        ends = set()
        for _ in range(12):
            payment = await world.pay(who, "40.00")

            async def cancel(payment: payments.Payment = payment) -> str:
                try:
                    return (await world.cancel(payment)).status
                except InvalidState:
                    return "too late"

            answer, _ = await asyncio.gather(cancel(), world.tasks.advance(payment.id))
            done = await world.finish(payment)
            assert (answer, done.status) in {
                ("cancelled", "cancelled"),
                ("too late", "completed"),
            }
            ends.add(done.status)
            expected = [-done.target.minor] if done.status == "completed" else []
            assert await world.bank_payouts(reference_of(payment)) == expected
        assert ends
        await world.assert_sound()


class TestRefusals:
    async def test_each_names_its_field_and_moves_nothing(self, world: PaymentWorld) -> None:
        who, other = await world.person(EUR="100.00"), await world.person(EUR="100.00")
        quote = await world.quote(who, "40.00")
        mexican, german = await world.recipient(who), await world.recipient(who, "iban")
        foreign = await world.recipient(other)
        for recipient, purpose, field, error in (
            (german, "goods", "/recipient_id", InvalidField),
            (foreign, "goods", "/recipient_id", NotFound),
            (mexican, "bribes", "/purpose", InvalidField),
        ):
            with pytest.raises(error) as refused:
                await world.send(who, quote.id, recipient.id, purpose=purpose)
            assert refused.value.field == field
        with pytest.raises(NotFound) as not_theirs:
            await world.send(other, quote.id, foreign.id)
        assert not_theirs.value.field == "/quote_id"
        assert await world.count("payments") == 0
        assert await world.balance(who, "EUR") == "100.00"
        payment = await world.send(who, quote.id, mexican.id)
        with pytest.raises(QuoteUsed):
            await world.send(who, quote.id, mexican.id)
        await world.finish(payment)

    async def test_an_expired_quote_and_a_short_balance(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="39.99")
        quote = await world.quote(who, "40.00")
        to = await world.recipient(who)
        with pytest.raises(InsufficientFunds):
            await world.send(who, quote.id, to.id)
        await world.give(who, "10.00", "EUR")
        await world.advance(30 * 60)
        with pytest.raises(QuoteExpired):
            await world.send(who, quote.id, to.id)
        assert await used_limit(world, who) == 0

    async def test_the_day_s_limit_counts_the_quoted_value(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="20000.00")
        await world.finish(await world.pay(who, "9990.00"))
        assert await used_limit(world, who) == 9990_00
        with pytest.raises(LimitExceeded):
            await world.pay(who, "10.01")
        await world.finish(await world.pay(who, "10.00"))
        await world.advance(86_401)
        await world.table_rates()
        await world.pay(who, "10.01")

    async def test_a_long_or_invisible_reference(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="100.00")
        quote, to = await world.quote(who, "40.00"), await world.recipient(who)
        for reference in ("x" * 41, "a\u202eb", "a\x00b"):
            draft = payments.PaymentDraft(quote.id, to.id, "goods", reference=reference)
            with pytest.raises(InvalidField) as refused:
                async with world.db.transaction() as session:
                    await payments.create(
                        session, assets=world.assets, principal_id=who, draft=draft
                    )
            assert refused.value.field == "/reference"


class TestRivals:
    async def test_one_quote_makes_one_payment(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="1000.00")
        quote, to = await world.quote(who, "40.00"), await world.recipient(who)

        async def attempt() -> str:
            try:
                return (await world.send(who, quote.id, to.id)).status
            except WalletError as error:
                return error.code

        answers = await asyncio.gather(*(attempt() for _ in range(12)))
        assert sorted(answers) == ["funded"] + ["quote_used"] * 11
        assert await world.balance(who, "EUR") == "960.00"

    async def test_many_workers_on_one_payment_pay_once(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="100.00")
        payment = await world.pay(who, "40.00")
        for _ in range(3):
            await asyncio.gather(*(world.new_tasks().advance(payment.id) for _ in range(6)))
            await world.advance(2)
        done = await world.finish(payment)
        assert done.status == "completed"
        assert await world.bank_payouts(reference_of(done)) == [-done.target.minor]
        assert len(types_of(done)) == len(set(types_of(done)))
        await world.assert_sound()


class TestSweep:
    async def test_takes_up_what_has_not_moved(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="100.00")
        payment = await world.pay(who, "40.00")

        async def waiting_jobs() -> list[str]:
            async with world.db.transaction() as session:
                rows = await session.execute(
                    text(
                        "SELECT args->>'payment_id' FROM jobs.procrastinate_jobs"
                        " WHERE task_name = 'payments.advance' AND status = 'todo'"
                    )
                )
                return list(rows.scalars())

        assert await waiting_jobs() == [payment.id]
        async with world.db.transaction() as session:  # a worker took the job and died of it
            await session.execute(text("DELETE FROM jobs.procrastinate_jobs"))
        await world.tasks.tick()
        assert await waiting_jobs() == []
        await world.advance(15)
        await world.tasks.tick()
        await world.tasks.tick()
        assert await waiting_jobs() == [payment.id]

    async def test_leaves_ended_payments_alone(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="100.00")
        await world.finish(await world.pay(who, "40.00"))
        async with world.db.transaction() as session:
            await session.execute(text("DELETE FROM jobs.procrastinate_jobs"))
        await world.advance(1000)
        await world.tasks.tick()
        assert await world.count("jobs.procrastinate_jobs") == 0


class TestPage:
    async def test_newest_first_with_a_cursor(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="500.00")
        made = [await world.pay(who, "40.00") for _ in range(3)]
        async with world.db.transaction() as session:
            first = await payments.page(
                session, assets=world.assets, principal_id=who, limit=2, cursor=None
            )
            assert [one.id for one in first] == [one.id for one in made[::-1]]
            rest = await payments.page(
                session,
                assets=world.assets,
                principal_id=who,
                limit=2,
                cursor=(first[1].created_at, first[1].id),
            )
            assert [one.id for one in rest] == [made[0].id]
            known = await recipients.page(session, principal_id=who, limit=2, cursor=None)
            assert len(known) == 3


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
