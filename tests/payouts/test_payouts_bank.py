"""The simulated bank: once by reference, a statement that adds up, misbehaviour on demand."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from wallet.payouts.rails import BankSilent, PayoutOrder, ReferenceReused
from wallet.payouts.simbank import PROCESSING_SECONDS
from wallet.testing.payments import PaymentWorld


def order(world: PaymentWorld, reference: str = "leg_1", amount: str = "100.00") -> PayoutOrder:
    return PayoutOrder(
        reference, "spei", world.money(amount, "MXN"), {"name": "María", "clabe": "1"}, "x"
    )


async def balance(world: PaymentWorld) -> int:
    async with world.db.transaction() as session:
        found = await session.execute(
            text("SELECT balance_minor FROM simbank.accounts WHERE asset = 'MXN'")
        )
        return int(found.scalar_one())


class TestSubmit:
    async def test_accepts_debits_and_settles_some_seconds_later(self, world: PaymentWorld) -> None:
        before = await balance(world)
        assert (await world.bank.submit(order(world))).status == "accepted"
        assert await balance(world) == before - 100_00
        known = await world.bank.query("leg_1")
        assert known is not None and known.status == "accepted" and not known.final
        await world.advance(PROCESSING_SECONDS)
        known = await world.bank.query("leg_1")
        assert known is not None and known.status == "settled" and known.final
        assert await world.bank_payouts("leg_1") == [-100_00]

    async def test_settles_by_itself_too(self, world: PaymentWorld) -> None:
        await world.bank.submit(order(world))
        await world.advance(PROCESSING_SECONDS)
        await world.bank.tick()
        async with world.db.transaction() as session:
            status = await session.execute(text("SELECT status FROM simbank.orders"))
            assert status.scalars().all() == ["settled"]

    async def test_takes_one_reference_once_however_often_it_is_sent(
        self, world: PaymentWorld
    ) -> None:
        answers = await asyncio.gather(*(world.bank.submit(order(world)) for _ in range(12)))
        assert {answer.status for answer in answers} == {"accepted"}
        assert await world.bank_payouts("leg_1") == [-100_00]

    async def test_refuses_the_reference_for_another_order(self, world: PaymentWorld) -> None:
        await world.bank.submit(order(world))
        for other in (
            order(world, amount="100.01"),
            replace(order(world), rail="sepa"),
            replace(order(world), beneficiary={"name": "Somebody else"}),
        ):
            with pytest.raises(ReferenceReused):
                await world.bank.submit(other)
        assert await world.bank_payouts("leg_1") == [-100_00]

    async def test_knows_nothing_of_what_it_never_got(self, world: PaymentWorld) -> None:
        assert await world.bank.query("leg_1") is None

    async def test_never_pays_more_than_we_have(self, world: PaymentWorld) -> None:
        more = order(world, amount="100000000.01")
        assert (await world.bank.submit(more)).status == "refused"
        assert await world.bank_payouts("leg_1") == []


class TestFaults:
    async def test_silent_takes_the_order_and_says_nothing(self, world: PaymentWorld) -> None:
        await world.fault("payout_silent", on=True)
        with pytest.raises(BankSilent):
            await world.bank.submit(order(world))
        with pytest.raises(BankSilent):
            await world.bank.query("leg_1")
        assert await world.bank_payouts("leg_1") == [-100_00]
        await world.advance(PROCESSING_SECONDS)
        await world.fault("payout_silent", on=False)
        known = await world.bank.query("leg_1")
        assert known is not None and known.status == "settled"

    async def test_rejected_is_accepted_and_comes_back(self, world: PaymentWorld) -> None:
        before = await balance(world)
        await world.fault("payout_rejected", on=True)
        assert (await world.bank.submit(order(world))).status == "accepted"
        await world.fault("payout_rejected", on=False)  # decided at the door
        await world.advance(PROCESSING_SECONDS)
        known = await world.bank.query("leg_1")
        assert known is not None and known.status == "returned" and known.reason
        assert await world.bank_payouts("leg_1") == [-100_00, 100_00]
        assert await balance(world) == before

    async def test_refused_is_refused_at_the_door_for_good(self, world: PaymentWorld) -> None:
        await world.fault("payout_refused", on=True)
        assert (await world.bank.submit(order(world))).status == "refused"
        await world.fault("payout_refused", on=False)
        assert (await world.bank.submit(order(world))).status == "refused"
        assert await world.bank_payouts("leg_1") == []


class TestStatement:
    async def test_adds_up_line_by_line(self, world: PaymentWorld) -> None:
        for number in range(5):
            await world.bank.submit(order(world, f"leg_{number}", f"{number + 1}.00"))
        await world.bank.receive(
            reference="top_1", money=world.money("7.00", "MXN"), about="nobody"
        )
        lines = await world.bank.statement("MXN", after=0, limit=100)
        running = 0
        for line in lines:
            running += line.amount_minor
            assert line.balance_after_minor == running
        assert running == await balance(world)
        assert await world.bank.statement("MXN", after=lines[-1].line_id, limit=100) == []
        assert await world.bank.assets() == ["EUR", "MXN"]
