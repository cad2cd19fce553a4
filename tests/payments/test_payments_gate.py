"""What no bank has heard of stays: its owner owes the house, or the auditor holds an asset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import crashpoints, payments, receivables
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.fx.errors import LiquidityUnavailable
from wallet.fx.quotes import LIFE_SECONDS
from wallet.ledger import accounts, balance_of
from wallet.payments import reading, repository, tasks
from wallet.payments.gate import LATE_AFTER_SECONDS
from wallet.testing.databases import ScratchDatabase
from wallet.testing.payments import PaymentWorld


async def charge(world: PaymentWorld, who: str, amount: str) -> None:
    """A charge-back of so much."""
    async with world.db.transaction() as session:
        await _charge(session, world, who, amount)


async def _charge(session: AsyncSession, world: PaymentWorld, who: str, amount: str) -> None:
    await receivables.charge(
        session, principal_id=who, money=world.money(amount, "EUR"),
        against=accounts.gateway("simgate", "EUR"), kind="topup_charged_back", ref="test", meta={},
    )  # fmt: skip


async def collect(world: PaymentWorld) -> None:
    await receivables.Collector(world.db, world.assets).tick()


async def at(world: PaymentWorld, who: str, steps: int) -> payments.Payment:
    """A payment of 40.00 EUR that has made so many steps."""
    made = await world.pay(who, "40.00")
    for _ in range(steps):
        async with world.db.transaction() as session:
            row = await repository.lock(session, made.id)
            assert row is not None and await world.tasks._step(session, row)
    return await world.see(made)


Pause = Callable[[str, bool], Awaitable[None]]


@pytest.fixture
async def pause(database: ScratchDatabase) -> AsyncIterator[Pause]:
    """`await pause("EUR", True)`, as a report of the auditor does; False lifts it."""
    owner = Database(database.owner_url)

    async def turn(asset: str, on: bool) -> None:
        statement = (
            "WITH run AS (INSERT INTO audit_runs (started_at, ended_at, after_posting, postings,"
            " findings, seconds, chains) VALUES (now(), now(), 0, 0, 0, 0, '[]') RETURNING id)"
            " INSERT INTO audit_pauses (asset, run_id, reason) SELECT :asset, id, 'test' FROM run"
            if on
            else "DELETE FROM audit_pauses WHERE asset = :asset"
        )
        async with owner.transaction() as session:
            await session.execute(text(statement), {"asset": asset})

    yield turn
    await owner.dispose()


async def owed(world: PaymentWorld, who: str) -> str:
    return (await world.account(accounts.receivable(who, "EUR"))).amount


class TestOwing:
    """A charge-back comes while a payment is on its way."""

    @pytest.mark.parametrize(
        ("steps", "status", "ends"),
        [
            (0, "funded", "cancelled"),
            (1, "converted", "cancelled"),
            (2, "settling", "cancelled"),
            (3, "paying_out", "failed"),
        ],
    )
    async def test_what_no_bank_has_heard_of_returns_and_repays(
        self, world: PaymentWorld, steps: int, status: str, ends: str
    ) -> None:
        who = await world.person(EUR="50.00")
        made = await at(world, who, steps)
        assert made.status == status
        await charge(world, who, "30.00")
        assert await owed(world, who) == "20.00"
        await world.tasks.advance(made.id)
        ended = await world.see(made)
        assert (ended.status, ended.reason) == (ends, "money_owed")
        assert ended.refund == world.money("40.00", "EUR")
        await collect(world)
        assert (await owed(world, who), await world.balance(who, "EUR")) == ("0.00", "20.00")
        leg = next(leg for leg in made.legs if leg.kind == "payout")
        assert leg.reference is not None and await world.bank_payouts(leg.reference) == []
        await world.assert_sound()

    async def test_what_the_bank_may_have_heard_of_goes_on(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="50.00")
        made = await world.pay(who, "40.00")
        await world.tasks.advance(made.id)
        await charge(world, who, "30.00")
        assert (await world.finish(made)).status == "completed"
        await collect(world)
        assert await owed(world, who) == "20.00"
        await world.assert_sound()

    async def test_a_charge_about_to_be_committed_is_waited_for(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="50.00")
        made = await at(world, who, 3)
        async with world.db.transaction() as session:
            await _charge(session, world, who, "30.00")
            going_on = asyncio.create_task(world.tasks.advance(made.id))
            await asyncio.wait([going_on], timeout=0.5)
            assert not going_on.done()
        await going_on
        assert (await world.see(made)).status == "failed"
        await world.assert_sound()

    async def test_a_charge_waits_for_the_telling_that_was_first(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="50.00")
        made = await at(world, who, 3)
        async with world.db.transaction() as session:
            assert not await receivables.owes(session, who)
            charging = asyncio.create_task(charge(world, who, "30.00"))
            await asyncio.wait([charging], timeout=0.5)
            assert not charging.done()
            await session.execute(text("UPDATE payouts SET told_at = bifold_now()"))
        await charging
        assert (await world.finish(made)).status == "completed"


async def test_a_death_before_it_ends_returns_it_once(world: PaymentWorld) -> None:
    who = await world.person(EUR="50.00")
    made = await at(world, who, 3)
    await charge(world, who, "30.00")

    class Death(BaseException):
        pass

    def die(name: str) -> None:
        if name == "payment.before_commit_owed":
            raise Death

    crashpoints.install(die)
    try:
        with pytest.raises(Death):
            await world.tasks.advance(made.id)
    finally:
        crashpoints.install(None)
    assert (await world.see(made)).status == "paying_out"
    for _ in range(2):
        await world.new_tasks().advance(made.id)
    await collect(world)
    assert (await world.see(made)).status == "failed"
    assert (await owed(world, who), await world.balance(who, "EUR")) == ("0.00", "20.00")
    await world.assert_sound()


class TestPaused:
    """The auditor holds an asset back."""

    @pytest.mark.parametrize(
        ("source", "asset"), [("EUR", "EUR"), ("EUR", "MXN"), ("USDC", "EUR"), ("EUR", "*")]
    )
    async def test_none_is_taken_on_at_a_rate_that_would_wait(
        self, world: PaymentWorld, pause: Pause, source: str, asset: str
    ) -> None:
        who = await world.person(**{source: "50.00"})
        to = await world.recipient(who, "clabe" if source == "EUR" else "iban")
        quote = await world.quote(who, "40.00", source)
        await pause(asset, True)
        with pytest.raises(LiquidityUnavailable):
            await world.send(who, quote.id, to.id)
        assert await world.count("payments") == 0
        await pause(asset, False)
        assert (await world.finish(await world.send(who, quote.id, to.id))).status == "completed"

    async def test_another_asset_is_no_reason(self, world: PaymentWorld, pause: Pause) -> None:
        await pause("USDC", True)
        who = await world.person(EUR="50.00")
        assert (await world.pay(who, "40.00")).status == "funded"

    @pytest.mark.parametrize("asset", ["EUR", "MXN", "*"])
    async def test_it_waits_and_goes_on_when_that_ends(
        self, world: PaymentWorld, pause: Pause, asset: str
    ) -> None:
        who = await world.person(EUR="50.00")
        made = await world.pay(who, "40.00")
        await pause(asset, True)
        for _ in range(3):
            await world.tasks.advance(made.id)
        waits = await world.see(made)
        assert (waits.status, waits.waiting_for, waits.ended_at) == ("settling", "review", None)
        assert [event.type for event in waits.events].count("waiting.review") == 1
        async with world.db.transaction() as session:
            assert await session.scalar(text("SELECT count(*) FROM payouts")) == 0
        await pause(asset, False)
        await world.advance(3)
        async with world.db.transaction() as session:
            assert await repository.take_due(session, limit=10) == [made.id]
        assert (await world.finish(made)).status == "completed"
        await world.assert_sound()

    async def test_a_pause_before_the_bank_is_told_is_in_time(
        self, world: PaymentWorld, pause: Pause
    ) -> None:
        who = await world.person(EUR="50.00")
        made = await at(world, who, 3)
        await pause("MXN", True)
        await world.tasks.advance(made.id)
        waits = await world.see(made)
        assert (waits.status, waits.waiting_for) == ("paying_out", "review")
        await pause("MXN", False)
        assert (await world.finish(made)).status == "completed"
        await world.assert_sound()

    async def test_what_the_bank_was_told_and_another_asset_go_on(
        self, world: PaymentWorld, pause: Pause
    ) -> None:
        who = await world.person(EUR="100.00")
        told = await world.pay(who, "40.00")
        await world.tasks.advance(told.id)
        await pause("EUR", True)
        assert (await world.finish(told)).status == "completed"
        await pause("EUR", False)
        await pause("USDC", True)
        assert (await world.finish(await world.pay(who, "40.00"))).status == "completed"

    async def test_it_can_be_taken_back_while_it_waits(
        self, world: PaymentWorld, pause: Pause
    ) -> None:
        who = await world.person(EUR="50.00")
        made = await world.pay(who, "40.00")
        await pause("EUR", True)
        await world.tasks.advance(made.id)
        assert (await world.cancel(made)).status == "cancelled"
        assert await world.balance(who, "EUR") == "50.00"
        await world.assert_sound()

    async def test_who_owes_gets_it_back_while_it_waits(
        self, world: PaymentWorld, pause: Pause
    ) -> None:
        who = await world.person(EUR="50.00")
        made = await world.pay(who, "40.00")
        await pause("EUR", True)
        await world.tasks.advance(made.id)
        await charge(world, who, "30.00")
        await world.tasks.advance(made.id)
        assert (await world.see(made)).status == "cancelled"
        await world.assert_sound()


class TestLate:
    """Its rate was promised for a time."""

    @pytest.mark.parametrize("steps", [0, 1, 2])
    async def test_what_was_held_back_for_too_long_returns_whole(
        self, world: PaymentWorld, pause: Pause, steps: int
    ) -> None:
        who = await world.person(EUR="50.00")
        made = await at(world, who, steps)
        await pause("MXN", True)
        await world.advance(LIFE_SECONDS["payment"] + LATE_AFTER_SECONDS - 60)
        await world.tasks.advance(made.id)
        assert (await world.see(made)).waiting_for == "review"
        await world.advance(120)
        await world.table_rates(MXN="0.1")
        await world.tasks.advance(made.id)
        ended = await world.see(made)
        assert (ended.status, ended.reason) == ("cancelled", "quote_expired")
        assert ended.refund == ended.source
        assert await world.balance(who, "EUR") == "50.00"
        await world.assert_sound()

    async def test_what_stood_still_for_too_long_returns_whole(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="50.00")
        made = await at(world, who, 3)
        await world.advance(LIFE_SECONDS["payment"] + LATE_AFTER_SECONDS + 1)
        await world.tasks.advance(made.id)
        ended = await world.see(made)
        assert (ended.status, ended.reason) == ("failed", "quote_expired")
        assert await world.balance(who, "EUR") == "50.00"
        leg = next(leg for leg in made.legs if leg.kind == "payout")
        assert leg.reference is not None and await world.bank_payouts(leg.reference) == []
        await world.assert_sound()

    async def test_a_bank_that_pays_it_all_the_same_is_named(self, world: PaymentWorld) -> None:
        """As after a restored database: the bank was told, and this copy of the books was not. Its
        line waited for an answer that never came, as in flight, for ever."""
        who = await world.person(EUR="50.00")
        made = await at(world, who, 3)
        await world.advance(LIFE_SECONDS["payment"] + LATE_AFTER_SECONDS + 1)
        await world.tasks.advance(made.id)
        async with world.db.transaction() as session:
            row = await repository.lock(session, made.id)
            assert row is not None
            (payment,) = await reading.whole(session, [row], world.assets)
        await world.bank.submit(tasks._order(payment))
        await world.reader.tick()
        await world.tasks.tick()
        assert await world.bank_is_off_by() == {}
        told = [event.type for event in (await world.see(made)).events]
        assert told[-2:] == ["payment.failed", "bank.contradicted"]
        async with world.db.transaction() as session:
            aside = await balance_of(session, accounts.unattributed("simbank", "MXN"))
        assert aside == -payment.target.minor

    @pytest.mark.parametrize("steps", [0, 2, 3])
    async def test_what_it_paid_for_a_payment_that_goes_on_is_booked_once(
        self, world: PaymentWorld, steps: int
    ) -> None:
        """As after a restored database that had the payment and not yet its order: the line was
        booked aside as of no order of ours, and the payment then booked the same money again."""
        who = await world.person(EUR="50.00")
        made = await at(world, who, steps)
        await world.bank.submit(tasks._order(made))
        await world.reader.tick()
        assert await world.bank_is_off_by() == {}
        assert (await world.finish(made)).status == "completed"
        async with world.db.transaction() as session:
            aside = await balance_of(session, accounts.unattributed("simbank", "MXN"))
        assert aside == 0
        await world.assert_sound()

    async def test_what_its_line_shows_as_paid_is_not_given_back(self, world: PaymentWorld) -> None:
        """It was taken back by its payer all the same: theirs, and paid."""
        who = await world.person(EUR="50.00")
        made = await at(world, who, 2)
        await world.bank.submit(tasks._order(made))
        await world.reader.tick()
        with pytest.raises(InvalidState):
            await world.cancel(made)
        assert (await world.finish(made)).status == "completed"
        assert await world.balance(who, "EUR") == "10.00"
        await world.assert_sound()

    @pytest.mark.parametrize("reason", ["late", "owes"])
    @pytest.mark.parametrize("steps", [0, 1, 2, 3])
    async def test_what_it_knows_of_is_not_called_off(
        self, world: PaymentWorld, steps: int, reason: str
    ) -> None:
        """As after a restored database, whose quotes are over: whatever had been on its way was
        given back, and had been paid. The bank is asked first."""
        who = await world.person(EUR="50.00")
        made = await at(world, who, steps)
        await world.bank.submit(tasks._order(made))
        if reason == "late":
            await world.advance(LIFE_SECONDS["payment"] + LATE_AFTER_SECONDS + 1)
        else:
            await charge(world, who, "30.00")
        await world.tasks.advance(made.id)
        assert (await world.finish(made)).status == "completed"
        await world.reader.tick()
        assert await world.bank_is_off_by() == {}
        async with world.db.transaction() as session:
            aside = await balance_of(session, accounts.unattributed("simbank", "MXN"))
        assert aside == 0
        await world.assert_sound()

    async def test_silence_is_no_reason_to_call_it_off(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="50.00")
        made = await at(world, who, 2)
        await world.advance(LIFE_SECONDS["payment"] + LATE_AFTER_SECONDS + 1)
        await world.fault("payout_silent", on=True)
        await world.tasks.advance(made.id)
        assert (await world.see(made)).status == "settling"
        await world.fault("payout_silent", on=False)
        await world.tasks.advance(made.id)
        assert (await world.see(made)).status == "cancelled"
        await world.assert_sound()

    async def test_what_the_bank_was_told_is_never_late(self, world: PaymentWorld) -> None:
        who = await world.person(EUR="50.00")
        made = await world.pay(who, "40.00")
        await world.tasks.advance(made.id)
        await world.advance(86_400)
        assert (await world.finish(made)).status == "completed"
        await world.assert_sound()
