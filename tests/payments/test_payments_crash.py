"""Death at every point of a payment: a new worker goes on, and the bank pays exactly once."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wallet import crashpoints, payments, topups
from wallet.fx.errors import QuoteUsed
from wallet.ledger import accounts
from wallet.payouts.simbank import PROCESSING_SECONDS
from wallet.testing.payments import ROUNDS_LIMIT, PaymentWorld

SAMPLE = 5
SCENES = {
    "paid": ("completed", []),
    "rejected": ("returned", ["payout_rejected"]),
    "refused": ("failed", ["payout_refused"]),
    "silent": ("completed", ["payout_silent"]),
}


class Death(BaseException):
    """The process ends here; nothing after this line runs."""


class Reaper:
    """Counts the points of the work it is wrapped around, and kills at the chosen one, once."""

    def __init__(self, at: int | None = None) -> None:
        self.passed: list[str] = []
        self._at = at

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if self._at is not None and len(self.passed) - 1 == self._at:
            raise Death(name)

    @contextmanager
    def watching(self) -> Iterator[None]:
        crashpoints.install(self)
        try:
            yield
        finally:
            crashpoints.install(None)


def chosen(points: int) -> list[int]:
    """Every point in a campaign; in CI a sample by the run's seed."""
    if os.environ.get("BIFOLD_CAMPAIGN"):
        return list(range(points))
    return sorted(random.sample(range(points), min(SAMPLE, points)))


async def live(
    world: PaymentWorld, reaper: Reaper, who: str, quote_id: str, recipient_id: str
) -> str:
    """Client, worker and bank go on through any number of deaths; returns the last status."""
    payment: payments.Payment | None = None
    for _ in range(ROUNDS_LIMIT):
        try:
            with reaper.watching():
                if payment is None:
                    payment = await create_again(world, who, quote_id, recipient_id)
                await world.new_tasks().advance(payment.id)
                await world.new_tasks().tick()
                await world.reader.tick()
        except Death:
            continue
        seen = await world.see(payment)
        if seen.ended_at is not None:
            return seen.status
        await world.fault("payout_silent", on=False)
        await world.advance(PROCESSING_SECONDS)
    raise AssertionError("the payment never ended")


async def create_again(
    world: PaymentWorld, who: str, quote_id: str, recipient_id: str
) -> payments.Payment:
    """What a client does that got no answer: the same request again."""
    try:
        return await world.send(who, quote_id, recipient_id)
    except QuoteUsed:
        async with world.db.transaction() as session:
            (known,) = await payments.page(
                session, assets=world.assets, principal_id=who, limit=1, cursor=None
            )
            return known


async def stage(world: PaymentWorld, faults: list[str], source: str) -> tuple[str, str, str]:
    """A new person with a quote and a recipient; the scene's faults switched on."""
    for name in ("payout_rejected", "payout_refused", "payout_silent"):
        await world.fault(name, on=name in faults)
    await world.table_rates()
    who = await world.person(**{source: "100"})
    quote = await world.quote(who, "40", source)
    recipient = await world.recipient(who, "clabe" if source == "EUR" else "iban")
    return who, quote.id, recipient.id


@pytest.mark.crash
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("source", ["EUR", "USDC"])
@pytest.mark.parametrize("scene", list(SCENES))
async def test_a_death_anywhere_loses_and_doubles_nothing(
    world: PaymentWorld, scene: str, source: str
) -> None:
    expected, faults = SCENES[scene]
    whole = Reaper()
    assert await live(world, whole, *await stage(world, faults, source)) == expected
    spoken = "payment.after_query" if scene == "silent" else "payment.after_submit"
    assert {"payment.before_submit", spoken, "db.before_commit"} <= {*whole.passed}
    for at in chosen(len(whole.passed)):
        who, quote_id, recipient_id = await stage(world, faults, source)
        reaper = Reaper(at)
        status = await live(world, reaper, who, quote_id, recipient_id)
        where = f"{at}: {whole.passed[at]}"
        assert len(reaper.passed) > at and status == expected, where
        await assert_paid_once(world, who, source, status, where)
        await world.assert_sound()


async def assert_paid_once(
    world: PaymentWorld, who: str, source: str, status: str, where: str
) -> None:
    """One payment, one payout at the bank, and exactly its cost gone."""
    async with world.db.transaction() as session:
        (payment,) = await payments.page(
            session, assets=world.assets, principal_id=who, limit=5, cursor=None
        )
    (payout,) = [leg for leg in payment.legs if leg.kind == "payout"]
    amount = payment.target.minor
    moved, gone = {
        "completed": ([-amount], payment.source.minor),
        "returned": ([-amount, amount], payment.quote.fee_minor),
        "failed": ([], 0),
    }[status]
    assert await world.bank_payouts(payout.reference or "") == moved, where
    left = await world.account(accounts.customer(who, source))
    assert left.minor == world.money("100", source).minor - gone, where


@pytest.mark.crash
async def test_a_death_around_a_bank_credit_books_what_the_bank_has(world: PaymentWorld) -> None:
    who = await world.person()
    money = world.money("12.34", "EUR")

    async def credit(reaper: Reaper) -> None:
        with reaper.watching():
            await topups.bank_credit(
                world.db, world.bank, world.assets, principal_id=who, money=money
            )

    whole = Reaper()
    await credit(whole)
    arrived = 1
    for at, name in enumerate(whole.passed):
        with pytest.raises(Death):
            await credit(Reaper(at))
        await world.reader.tick()
        await world.reader.tick()
        there = await world.bank_credits()
        assert there - arrived in (0, 1), name
        arrived = there
        mine = await world.account(accounts.customer(who, "EUR"))
        assert mine.minor == arrived * money.minor, name
        await world.assert_sound()
    assert 1 < arrived < 1 + len(whole.passed)
