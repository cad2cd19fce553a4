"""What a gateway has listed is asked about until it is booked; who owes again stays closed."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from wallet import receivables
from wallet.ledger import accounts
from wallet.money import AssetBook, UnknownAsset
from wallet.testing.topups import TopupWorld
from wallet.topups.simgate import GATEWAY
from wallet.topups.tasks import ASK_SELDOM_SECONDS


class TestSilenceAfterTheList:
    """The gateway's list is read once a line; whoever could not be asked then is asked again."""

    async def rounds(self, world: TopupWorld, many: int = 4) -> None:
        """What a worker does: the list, the sweep, and the jobs they promise. Nothing else asks."""
        for _ in range(many):
            await world.gateway.tick()
            await world.tasks.tick()
            for topup_id in await world.jobs():
                await world.tasks.advance(topup_id)
            await world.advance(ASK_SELDOM_SECONDS)

    async def test_a_charge_back_heard_in_silence_is_booked_later(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00")
        await self.rounds(world)
        assert await world.balance(who, "EUR") == "25.00"
        await world.gateway.charge_back(made.id)
        await world.fault("card_silent", on=True)
        await self.rounds(world)
        assert await world.balance(who, "EUR") == "25.00"
        await world.fault("card_silent", on=False)
        await self.rounds(world)
        assert (await world.see(made)).status == "charged_back"
        assert await world.balance(who, "EUR") == "0.00"
        await world.assert_sound()

    async def test_a_late_success_heard_in_silence_is_credited_later(
        self, world: TopupWorld
    ) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00", "visa_declined")
        await self.rounds(world)
        assert (await world.see(made)).status == "failed"
        await world.gateway.change_mind(made.id)
        await world.fault("card_silent", on=True)
        await self.rounds(world)
        await world.fault("card_silent", on=False)
        await self.rounds(world)
        assert (await world.see(made)).status == "succeeded"
        assert await world.balance(who, "EUR") == "25.00"
        await world.assert_sound()

    async def test_once_it_is_booked_nobody_asks_any_more(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00")
        await self.rounds(world)
        await world.gateway.charge_back(made.id)
        await self.rounds(world)
        assert (await world.see(made)).status == "charged_back"
        await world.advance(86_400)
        await world.tasks.tick()
        assert await world.jobs() == []


async def test_the_last_of_an_old_debt_does_not_open_what_a_new_one_closes(
    world: TopupWorld,
) -> None:
    """A charge that is about to be committed while the collector takes the last of another."""
    who = await world.person(EUR="1.00")
    card = await world.card(who)
    made = await world.finish(await world.begin(who, "25.00", "MXN", source=card.id))
    await world.spend(who, "25.00", "MXN")
    await world.gateway.charge_back(made.id)
    await world.work()
    await world.transfer((await world.details(who)).reference, "25.00", "MXN")
    five = world.money("5.00", "EUR")
    async with world.db.transaction() as session:
        charged = await receivables.charge(
            session, principal_id=who, money=five, against=accounts.gateway(GATEWAY, "EUR"),
            kind="topup_charged_back", ref="test", meta={},
        )  # fmt: skip
        collecting = asyncio.create_task(receivables.Collector(world.db, world.assets).tick())
        await asyncio.wait([collecting], timeout=0.5)
    await collecting
    assert (charged.taken_minor, charged.owed_minor) == (100, 400)
    async with world.db.transaction() as session:
        states = await session.execute(
            text("SELECT DISTINCT status FROM accounts WHERE principal_id = :who"), {"who": who}
        )
        assert list(states.scalars()) == ["frozen"]


async def test_a_debt_in_an_asset_that_is_listed_no_more_holds_up_nobody_s(
    world: TopupWorld,
) -> None:
    first, second = await world.person(), await world.person()
    for who, code in ((first, "USD"), (second, "EUR")):
        async with world.db.transaction() as session:
            await receivables.charge(
                session, principal_id=who, money=world.money("5.00", code), ref=who, meta={},
                against=accounts.gateway(GATEWAY, code), kind="test.charged",
            )  # fmt: skip
        await world.give(who, "5.00", code)
    listed = AssetBook(one for one in world.assets if one.code != "USD")
    await receivables.Collector(world.db, listed).tick()
    assert await world.balance(second, "EUR") == "0.00"
    assert await world.balance(first, "USD") == "5.00"
    await receivables.Collector(world.db, world.assets).tick()
    assert await world.balance(first, "USD") == "0.00"


async def test_what_cannot_be_taken_back_of_one_holds_up_nobody_else(world: TopupWorld) -> None:
    first, second = await world.person(), await world.person()
    for who in (first, second):
        async with world.db.transaction() as session:
            await receivables.charge(
                session, principal_id=who, money=world.money("5.00", "EUR"), ref=who, meta={},
                against=accounts.gateway(GATEWAY, "EUR"), kind="test.charged",
            )  # fmt: skip
        await world.give(who, "5.00", "EUR")

    class Outgoing:
        """A withdrawal of the first one's in an asset that is listed no more."""

        async def take_back(self, principal_id: str) -> None:
            if principal_id == first:
                raise UnknownAsset("This asset is not listed here.")

    await receivables.Collector(world.db, world.assets, [Outgoing()]).tick()
    assert await world.balance(first, "EUR") == "5.00"
    assert await world.balance(second, "EUR") == "0.00"


async def test_many_who_owe_and_have_nothing_hold_up_nobody_behind_them(
    world: TopupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many are looked at in one pass: always the same ones, so that whoever came behind them
    stayed frozen with the money in hand."""
    monkeypatch.setattr(receivables, "COLLECT_AT_ONCE", 2)
    people = [await world.person() for _ in range(5)]
    for who in people:
        async with world.db.transaction() as session:
            await receivables.charge(
                session, principal_id=who, money=world.money("5.00", "EUR"), ref=who, meta={},
                against=accounts.gateway(GATEWAY, "EUR"), kind="test.charged",
            )  # fmt: skip
    last = sorted(people)[-1]
    await world.give(last, "5.00", "EUR")
    collector = receivables.Collector(world.db, world.assets)
    for _ in range(3):
        await collector.tick()
    assert await world.balance(last, "EUR") == "0.00"
    await world.give(first := sorted(people)[0], "5.00", "EUR")  # and they have their turn again
    await collector.tick()
    assert await world.balance(first, "EUR") == "0.00"
