"""Payments that never begin, are taken back, or are asked for twice."""

from __future__ import annotations

import asyncio

import pytest

from wallet import payments
from wallet.errors import InvalidField, InvalidState, LimitExceeded, NotFound, WalletError
from wallet.fx.errors import QuoteExpired, QuoteUsed
from wallet.ledger.errors import InsufficientFunds
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
