"""Payments: the good way, from every kind of money, and how they are listed."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from wallet import payments
from wallet.errors import InvalidState
from wallet.ledger import accounts
from wallet.payments import recipients
from wallet.payments.states import TERMINAL, TRANSITIONS, check_move
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
