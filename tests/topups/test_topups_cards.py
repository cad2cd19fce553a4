"""Card top-ups: the gateway's word is booked once, whatever comes twice, late or never."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from wallet import cases
from wallet.errors import InvalidField, NotFound
from wallet.ledger import accounts
from wallet.ledger.errors import AccountFrozen
from wallet.testing.books import move
from wallet.testing.operators import as_operator
from wallet.testing.topups import TopupWorld
from wallet.topups import cards, repository, tasks
from wallet.topups.errors import CardNotUsable, CardNumberRefused, TooManyPending
from wallet.topups.gateway import ChargeAnswer
from wallet.topups.service import CARD_SECONDS, PENDING_LIMIT
from wallet.topups.simgate import CHARGE_BACK_SECONDS, GATEWAY, LATE_SECONDS


async def owes(world: TopupWorld, who: str) -> str:
    """What somebody owes, as people read it."""
    return (await world.account(accounts.receivable(who, "EUR"))).amount


class TestSucceeding:
    async def test_it_is_credited_once(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00")
        assert (made.status, made.waiting_for) == ("pending", "gateway_answer")
        assert await world.balance(who, "EUR") == "0.00"
        assert await world.jobs() == [made.id]
        for _ in range(3):
            await world.tasks.advance(made.id)
            await world.work()
        seen = await world.see(made)
        assert (seen.status, seen.card and seen.card.last4) == ("succeeded", "4242")
        assert await world.balance(who, "EUR") == "25.00"
        assert (await world.account(accounts.gateway(GATEWAY, "EUR"))).amount == "25.00"
        assert await world.told(made.id) == ["topup.pending", "topup.succeeded"]
        assert await world.listed(made.id) == [2500]
        await world.assert_sound()

    async def test_many_workers_at_once_credit_it_once(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00")
        await asyncio.gather(*(world.new_tasks().advance(made.id) for _ in range(8)))
        await asyncio.gather(*(world.new_tasks().tick() for _ in range(4)))
        assert (await world.see(made)).status == "succeeded"
        assert await world.balance(who, "EUR") == "25.00"
        assert await world.listed(made.id) == [2500]
        await world.assert_sound()

    async def test_callbacks_twice_and_about_nothing_change_nothing(
        self, world: TopupWorld
    ) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00"))
        await world.jobs()
        for _ in range(2):
            await world.tasks.called_back(made.id)
        await world.tasks.called_back("top_nobody")
        assert await world.jobs() == sorted([made.id, "top_nobody"])
        await world.tasks.advance("top_nobody")
        await world.tasks.advance(made.id)
        assert await world.balance(who, "EUR") == "25.00"
        await world.assert_sound()

    async def test_a_closed_account_s_money_is_kept_aside(self, world: TopupWorld) -> None:
        who = await world.person(EUR="1.00")
        made = await world.pay(who, "25.00")
        await set_status(world, who, "closed")
        seen = await world.finish(made)
        assert (seen.status, seen.kept_aside) == ("failed", True)
        aside = accounts.unattributed(GATEWAY, "EUR")
        assert (await world.account(aside)).amount == "25.00"
        await world.assert_sound()
        await world.gateway.charge_back(made.id)
        await world.work()
        assert (await world.account(aside)).amount == "0.00"
        await world.assert_sound()

    async def test_what_was_given_away_and_is_taken_back_is_a_case(self, world: TopupWorld) -> None:
        who, other = await world.person(EUR="1.00"), await world.person()
        made = await world.pay(who, "25.00")
        await set_status(world, who, "closed")
        await world.finish(made)
        aside = accounts.unattributed(GATEWAY, "EUR")
        async with as_operator(world.db) as session:
            await move(session, aside, accounts.customer(other, "EUR"), 2500)
        await world.gateway.charge_back(made.id)
        await world.work()
        assert (await world.account(aside)).amount == "-25.00"
        async with world.db.transaction() as session:
            [case] = [
                one
                for one in await cases.listed(session)
                if (one.kind, one.subject) == ("topup_in_doubt", made.id)
            ]
        assert "below zero" in case.what and case.evidence["balance_minor"] == "-2500"


class TestFailing:
    async def test_declined_moves_nothing(self, world: TopupWorld) -> None:
        who = await world.person()
        seen = await world.finish(await world.pay(who, "25.00", "visa_declined"))
        assert (seen.status, seen.reason) == ("failed", "The card's bank declined it.")
        assert await world.balance(who, "EUR") == "0.00"
        assert await world.listed(seen.id) == []
        assert await world.told(seen.id) == ["topup.pending", "topup.failed"]
        await world.assert_sound()

    async def test_what_is_never_sent_in_time_is_not_sent_later(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00")
        await world.advance(CARD_SECONDS)
        await world.tasks.advance(made.id)
        assert (await world.see(made)).status == "failed"
        assert await world.gateway.query(made.id) is None

    async def test_silence_is_not_failure(self, world: TopupWorld) -> None:
        """The gateway took it and says nothing, for days; then it is asked, and credited once."""
        who = await world.person()
        made = await world.pay(who, "25.00")
        await world.fault("card_silent", on=True)
        for seconds in (2, CARD_SECONDS, 5 * 86_400):
            await world.tasks.advance(made.id)
            await world.advance(seconds)
        await world.work()
        seen = await world.see(made)
        assert (seen.status, seen.waiting_for) == ("pending", "gateway_answer")
        await world.fault("card_silent", on=False)
        await world.work()
        assert (await world.see(made)).status == "succeeded"
        assert await world.balance(who, "EUR") == "25.00"
        assert await world.listed(made.id) == [2500]
        await world.assert_sound()

    async def test_a_success_after_a_refusal_is_credited_once(self, world: TopupWorld) -> None:
        """The gateway's list says so; nobody calls back."""
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00", "visa_declined"))
        assert made.status == "failed"
        await world.gateway.change_mind(made.id)
        for _ in range(3):
            await world.work()
        seen = await world.see(made)
        assert (seen.status, seen.reason) == ("succeeded", None)
        assert await world.balance(who, "EUR") == "25.00"
        await world.assert_sound()

    async def test_a_clock_set_back_puts_nothing_off(self, world: TopupWorld) -> None:
        """What was to be asked for in a moment then was to be asked for in two hours."""
        who = await world.person()
        await world.fault("card_silent", on=True)
        made = await world.pay(who, "25.00")
        await world.tasks.advance(made.id)
        async with world.db.transaction() as session:
            await session.execute(text("UPDATE topups SET next_at = next_at + interval '2 hours'"))
            assert await session.scalar(text(f"SELECT {tasks.DUE}"))
            took = [await repository.take_due(session, limit=9, again_in_seconds=2) for _ in "12"]
            assert took == [[made.id], []]


class TestLate:
    async def test_it_is_asked_until_it_ends(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00", "amex_late")
        await world.tasks.advance(made.id)
        seen = await world.see(made)
        assert (seen.status, seen.waiting_for) == ("pending", "gateway_settlement")
        await world.jobs()
        await world.advance(LATE_SECONDS)
        await world.tasks.tick()
        assert await world.jobs() == [made.id]
        await world.tasks.advance(made.id)
        assert (await world.see(made)).status == "succeeded"
        await world.assert_sound()


class TestThreeDSecure:
    @pytest.mark.parametrize(("agreed", "status"), [(True, "succeeded"), (False, "failed")])
    async def test_the_holder_decides(self, world: TopupWorld, agreed: bool, status: str) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00", "mastercard_three_d_secure")
        for _ in range(2):
            await world.tasks.advance(made.id)
        seen = await world.see(made)
        assert (seen.status, seen.waiting_for) == ("pending", "three_d_secure")
        assert seen.action_url == f"http://sim/top-up/{made.id}/check"
        await world.gateway.confirm(made.id, agreed=agreed)
        await world.work()
        seen = await world.see(made)
        assert (seen.status, seen.action_url) == (status, None)
        assert await world.balance(who, "EUR") == ("25.00" if agreed else "0.00")
        assert await world.told(made.id) == [
            "topup.pending", "topup.action_needed", f"topup.{status}",
        ]  # fmt: skip
        await world.assert_sound()

    async def test_unanswered_it_is_stopped_at_the_gateway_first(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00", "mastercard_three_d_secure")
        await world.tasks.advance(made.id)
        await world.advance(CARD_SECONDS)
        await world.work()
        assert (await world.see(made)).status == "failed"
        answer = await world.gateway.query(made.id)
        assert answer is not None and answer.status == "cancelled"

    async def test_confirmed_in_the_last_moment_it_succeeds(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00", "mastercard_three_d_secure")
        await world.tasks.advance(made.id)
        await world.gateway.confirm(made.id, agreed=True)
        await world.advance(CARD_SECONDS)
        await world.tasks.advance(made.id)
        assert (await world.see(made)).status == "succeeded"
        await world.assert_sound()


class TestChargeBack:
    async def test_unspent_it_is_taken_whole(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00"))
        await world.gateway.charge_back(made.id)
        for _ in range(3):
            await world.work()
        assert (await world.see(made)).status == "charged_back"
        assert (await world.balance(who, "EUR"), await owes(world, who)) == ("0.00", "0.00")
        assert (await world.account(accounts.gateway(GATEWAY, "EUR"))).amount == "0.00"
        assert (await world.told(made.id))[-1] == "topup.charged_back"
        await world.assert_sound()
        await world.give(who, "1.00", "EUR")
        await world.spend(who, "1.00")  # nothing owed, nothing frozen

    async def test_spent_the_rest_is_owed_and_repaid_first(self, world: TopupWorld) -> None:
        who = await world.person(USDC="3")
        made = await world.finish(await world.pay(who, "25.00"))
        await world.spend(who, "20.00")
        await world.gateway.charge_back(made.id)
        await world.work()
        assert (await world.balance(who, "EUR"), await owes(world, who)) == ("0.00", "20.00")
        with pytest.raises(AccountFrozen):
            await world.spend(who, "1", "USDC")
        await world.give(who, "15.00", "EUR")
        await world.work()
        assert (await world.balance(who, "EUR"), await owes(world, who)) == ("0.00", "5.00")
        await world.give(who, "8.00", "EUR")
        await world.work()
        assert (await world.balance(who, "EUR"), await owes(world, who)) == ("3.00", "0.00")
        await world.spend(who, "1", "USDC")
        await world.spend(who, "3.00")
        await world.assert_sound()

    async def test_by_itself_after_it_was_spent(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00", "visa_charged_back"))
        await world.spend(who, "25.00")
        await world.advance(CHARGE_BACK_SECONDS)
        await world.work()
        assert (await world.see(made)).status == "charged_back"
        assert await owes(world, who) == "25.00"
        await world.assert_sound()

    async def test_known_before_the_success_was(self, world: TopupWorld) -> None:
        """Out of order: both are booked, in one transaction."""
        who = await world.person()
        made = await world.pay(who, "25.00")
        await world.fault("card_silent", on=True)
        await world.tasks.advance(made.id)
        await world.gateway.charge_back(made.id)
        await world.fault("card_silent", on=False)
        await world.work()
        assert (await world.see(made)).status == "charged_back"
        assert await world.told(made.id) == [
            "topup.pending", "topup.succeeded", "topup.charged_back",
        ]  # fmt: skip
        assert (await world.balance(who, "EUR"), await owes(world, who)) == ("0.00", "0.00")
        await world.assert_sound()

    async def test_of_somebody_whose_account_an_operator_froze_is_owed_whole(
        self, world: TopupWorld
    ) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00"))
        await set_status(world, who, "frozen")
        await world.gateway.charge_back(made.id)
        await world.work()
        assert (await world.balance(who, "EUR"), await owes(world, who)) == ("25.00", "25.00")
        await set_status(world, who, "open")  # then it is collected after all
        await world.work()
        assert (await world.balance(who, "EUR"), await owes(world, who)) == ("0.00", "0.00")
        await world.assert_sound()


class TestDoubt:
    async def test_another_amount_is_not_booked(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00")
        (answer,) = [await world.gateway.card((await world.card(who)).token)]
        assert answer is not None
        async with world.db.transaction() as session:
            now = (await session.execute(text("SELECT bifold_now()"))).scalar_one()
        await world.tasks.hear(
            made.id, ChargeAnswer("succeeded", now, money=world.money("2500.00", "EUR"))
        )
        assert (await world.see(made)).waiting_for == "review"
        assert await world.balance(who, "EUR") == "0.00"
        async with world.db.transaction() as session:
            found = await session.execute(text("SELECT kind, subject FROM cases"))
            assert found.all() == [("topup_in_doubt", made.id)]

    async def test_money_by_a_reference_that_is_not_ours_is_booked_for_nobody(
        self, world: TopupWorld
    ) -> None:
        who = await world.person()
        from wallet.topups.gateway import ChargeOrder

        token = (await world.card(who)).token
        await world.gateway.charge(ChargeOrder("top_lost", token, world.money("7.00", "EUR")))
        for _ in range(2):
            await world.work()
        aside = accounts.unattributed(GATEWAY, "EUR")
        assert (await world.account(aside)).amount == "7.00"
        await world.assert_sound()
        await world.gateway.charge_back("top_lost")
        await world.work()
        assert (await world.account(aside)).amount == "0.00"
        await world.assert_sound()

    async def test_reconcile_finds_what_is_booked_and_not_listed(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00")
        async with world.db.transaction() as session:
            now = (await session.execute(text("SELECT bifold_now()"))).scalar_one()
        await world.tasks.hear(made.id, ChargeAnswer("succeeded", now, world.money("25", "EUR")))
        assert f"{made.id} is off by -2500" in (await world.off())[f"gateway:{GATEWAY}:EUR"]

    async def test_reconcile_finds_what_is_listed_and_never_booked(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00")
        card = (await world.see(made)).card
        assert card is not None
        from wallet.topups.gateway import ChargeOrder

        await world.gateway.charge(ChargeOrder(made.id, card.token, made.money))
        assert await world.off() == {}  # in flight
        await world.advance(601)
        assert f"{made.id} is off by 2500" in (await world.off())[f"gateway:{GATEWAY}:EUR"]
        await world.work()
        assert await world.off() == {}


class TestCards:
    async def test_the_same_token_is_the_same_card(self, world: TopupWorld) -> None:
        who, other = await world.person(), await world.person()
        facts = await world.gateway.tokenise("visa_ok")

        async def bind(principal_id: str) -> str:
            async with world.db.transaction() as session:
                card = await cards.bind(
                    session, principal_id=principal_id, gateway=GATEWAY, facts=facts
                )
                return card.id

        assert len(set(await asyncio.gather(*(bind(who) for _ in range(5))))) == 1
        with pytest.raises(CardNotUsable):
            await bind(other)

    @pytest.mark.parametrize(
        "number",
        ["4242424242424242", "4242 4242 4242 4242", "5555-5555-5555-4444", "tok_378282246310005"],
    )  # fmt: skip
    async def test_a_number_is_refused_before_anybody_is_asked(
        self, world: TopupWorld, number: str
    ) -> None:
        await world.fault("card_silent", on=True)
        with pytest.raises(CardNumberRefused) as refused:
            await cards.look_up(world.gateway, number)
        assert number not in refused.value.detail

    async def test_removed_it_pays_no_more_and_its_token_is_worthless(
        self, world: TopupWorld
    ) -> None:
        who = await world.person()
        card = await world.card(who)
        async with world.db.transaction() as session:
            await cards.remove(session, principal_id=who, card_id=card.id)
        await world.tasks.forget(card.id)
        assert await world.gateway.card(card.token) is None
        with pytest.raises(InvalidField):
            await world.begin(who, "5.00", source=card.id)
        async with world.db.transaction() as session:
            assert await cards.bound(session, principal_id=who) == []
            with pytest.raises(NotFound):
                await cards.remove(session, principal_id=who, card_id=card.id)

    async def test_somebody_else_s_card_pays_nothing(self, world: TopupWorld) -> None:
        card = await world.card(await world.person())
        with pytest.raises(InvalidField):
            await world.begin(await world.person(), "5.00", source=card.id)


class TestLimits:
    async def test_so_many_may_wait(self, world: TopupWorld) -> None:
        who = await world.person()
        for _ in range(PENDING_LIMIT - 1):
            await world.begin(who, "1.00")
        results = await asyncio.gather(
            *(world.begin(who, "1.00") for _ in range(4)), return_exceptions=True
        )
        assert sum(isinstance(one, TooManyPending) for one in results) == 3

    async def test_only_money_of_states(self, world: TopupWorld) -> None:
        with pytest.raises(InvalidField):
            await world.begin(await world.person(), "1", "ETH")


async def set_status(world: TopupWorld, who: str, status: str) -> None:
    async with as_operator(world.db) as session:
        await session.execute(
            text("SELECT ledger_set_status(id, :status) FROM accounts WHERE principal_id = :who"),
            {"who": who, "status": status},
        )
