"""Bank transfers in: matched by the personal reference, or kept aside for two operators."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from wallet import topups
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ledger import accounts
from wallet.payouts.simbank import _move
from wallet.testing.operators import as_operator
from wallet.testing.topups import TopupWorld
from wallet.topups import references, strays
from wallet.topups.service import TRANSFER_SECONDS

ASIDE = accounts.unattributed("simbank", "EUR")


class TestReferences:
    def test_they_follow_iso_11649(self) -> None:
        """Against a reference of the standard's own, made by the same arithmetic."""
        assert references._mod97("539007547034RF18") == 1
        for _ in range(200):
            made = references.make()
            assert references.is_reference(made)
            assert references.found_in(f"invoice 7: {references.spaced(made).lower()}!") == {made}

    @given(st.integers(0, references.LENGTH - 1), st.sampled_from(references.ALPHABET))
    def test_one_wrong_character_of_its_kind_is_noticed(self, at: int, wrong: str) -> None:
        made = references.make()
        if made[at] == wrong or made[at].isdigit() != wrong.isdigit():
            return
        assert not references.is_reference(made[:at] + wrong + made[at + 1 :])

    @given(st.text(max_size=300))
    def test_any_text_may_be_searched(self, words: str) -> None:
        for one in references.found_in(words):
            assert references.is_reference(one)

    async def test_a_person_has_one_for_ever(self, world: TopupWorld) -> None:
        who, other = await world.person(), await world.person()
        found = await asyncio.gather(*(world.details(who) for _ in range(6)))
        (reference,) = {one.reference for one in found}
        assert (await world.details(other)).reference != reference
        assert (found[0].account, found[0].simulated) == ("SIM-EUR", True)

    async def test_only_money_of_states_goes_by_bank(self, world: TopupWorld) -> None:
        async with world.db.transaction() as session:
            with pytest.raises(InvalidField):
                await topups.bank_details(
                    session, world.bank, assets=world.assets,
                    principal_id=await world.person(), asset="ETH",
                )  # fmt: skip


class TestMatching:
    async def test_it_reaches_whom_its_text_names(self, world: TopupWorld) -> None:
        who = await world.person()
        reference = (await world.details(who)).reference
        await world.transfer(f"Ada L. / {references.spaced(reference).lower()} / thanks", "12.34")
        assert await world.balance(who, "EUR") == "12.34"
        async with world.db.transaction() as session:
            (made,) = await topups.page(
                session, assets=world.assets, principal_id=who, limit=5, cursor=None
            )
        assert (made.status, made.method, made.money.amount) == (
            "succeeded", "bank_transfer", "12.34",
        )  # fmt: skip
        assert await world.told(made.id) == ["topup.succeeded"]
        await world.assert_sound()

    async def test_it_fulfils_what_was_announced_of_that_amount_once(
        self, world: TopupWorld
    ) -> None:
        who = await world.person()
        first, second = [await world.begin(who, "12.34") for _ in range(2)]
        other = await world.begin(who, "99.00")
        reference = (await world.details(who)).reference
        await world.transfer(reference, "12.34")
        assert [(await world.see(one)).status for one in (first, second, other)] == [
            "succeeded", "pending", "pending",
        ]  # fmt: skip
        await world.transfer(reference, "12.34")
        await world.transfer(reference, "12.34")
        assert (await world.see(second)).status == "succeeded"
        assert await world.count("topups") == 4
        assert await world.balance(who, "EUR") == "37.02"
        await world.assert_sound()

    async def test_a_sender_s_reference_that_poses_as_a_top_up_stops_nobody(
        self, world: TopupWorld
    ) -> None:
        """A sender who writes the id of a top-up there is: theirs is booked, and the next one."""
        who = await world.person()
        taken = await world.begin(who, "99.00")
        words = (await world.details(who)).reference
        await world.bank.receive(reference=taken.id, money=world.money("12.34", "EUR"), about=words)
        await world.reader.tick()
        await world.transfer(words, "1.00")
        assert await world.balance(who, "EUR") == "13.34"
        assert (await world.see(taken)).status == "pending"
        await world.assert_sound()

    async def test_what_never_comes_ends_and_what_comes_later_is_credited(
        self, world: TopupWorld
    ) -> None:
        who = await world.person()
        made = await world.begin(who, "12.34")
        await world.work()
        assert (await world.see(made)).waiting_for == "bank_transfer"
        await world.advance(TRANSFER_SECONDS)
        await world.work()
        assert (await world.see(made)).status == "failed"
        await world.transfer((await world.details(who)).reference, "12.34")
        assert await world.balance(who, "EUR") == "12.34"
        await world.assert_sound()

    async def test_who_owes_repays_first(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00"))
        await world.spend(who, "25.00")
        await world.gateway.charge_back(made.id)
        await world.work()
        await world.transfer((await world.details(who)).reference, "30.00")
        await world.work()
        assert await world.balance(who, "EUR") == "5.00"
        await world.assert_sound()


class TestStrays:
    @pytest.mark.parametrize("kind", ["nothing", "slip", "two", "house"])
    async def test_what_names_nobody_is_kept_aside(self, world: TopupWorld, kind: str) -> None:
        who, other = await world.person(), await world.person()
        mine, theirs = (await world.details(who)), (await world.details(other))
        words = {
            "nothing": "",
            "slip": mine.reference[:-1] + ("A" if mine.reference[-1] != "A" else "B"),
            "two": f"{mine.reference} {theirs.reference}",
            "house": "prn_house",
        }[kind]
        await world.transfer(words, "5.00")
        assert (await world.account(ASIDE)).amount == "5.00"
        assert await world.balance(who, "EUR") == "0.00"
        await world.assert_sound()
        async with world.db.transaction() as session:
            (stray,) = await strays.strays(session, world.assets)
            found = await session.execute(text("SELECT kind, subject FROM cases"))
            assert found.all() == [("transfer_unattributed", stray.id)]
        assert (stray.about, stray.money.amount) == (words, "5.00")

    async def test_two_operators_assign_it_once(self, world: TopupWorld) -> None:
        who = await world.person()
        await world.transfer("who knows", "5.00")
        async with world.db.transaction() as session:
            (stray,) = await strays.strays(session, world.assets)

        async def step(what: str, by: str, to: str = who) -> None:
            act = strays.propose if what == "propose" else strays.approve
            async with as_operator(world.db) as session:
                await act(session, world.assets, stray_id=stray.id, principal_id=to, by=by)

        with pytest.raises(InvalidState):
            await step("approve", "bea")
        with pytest.raises(NotFound):
            await step("propose", "al", "usr_nobody")
        await step("propose", "al")
        with pytest.raises(FourEyesRequired):
            await step("approve", "al")
        with pytest.raises(InvalidState):
            await step("approve", "bea", await world.person())
        outcomes = await asyncio.gather(
            *(step("approve", "bea") for _ in range(4)), return_exceptions=True
        )
        assert sum(one is None for one in outcomes) == 1
        assert await world.balance(who, "EUR") == "5.00"
        assert (await world.account(ASIDE)).amount == "0.00"
        async with world.db.transaction() as session:
            assert await strays.strays(session, world.assets) == []
            status = await session.scalar(text("SELECT status FROM cases"))
        assert status == "closed"
        await world.assert_sound()

    async def test_what_the_bank_took_back_is_nobody_s(self, world: TopupWorld) -> None:
        """Two operators who did not see the second line would credit money that is gone."""
        who = await world.person()
        reference = await world.transfer("who knows", "5.00")
        async with as_operator(world.db) as session:
            (stray,) = await strays.strays(session, world.assets)
            await strays.propose(
                session, world.assets, stray_id=stray.id, principal_id=who, by="al"
            )
            (first,) = await world.bank.statement("EUR", after=0, limit=5)
            gone = replace(first, line_id=first.line_id + 1, amount_minor=-500)
            await world.reader._keep(session, "EUR", gone)
        assert first.reference == reference
        with pytest.raises(InvalidState, match="taken it back"):
            async with as_operator(world.db) as session:
                await strays.approve(
                    session, world.assets, stray_id=stray.id, principal_id=who, by="bea"
                )
        assert (await world.account(ASIDE)).amount == "0.00"


class TestRepeatedReferences:
    """A bank that gives one reference to several transfers: each is its line, none is lost."""

    async def arrives(self, world: TopupWorld, words: str, amount: str) -> None:
        await world.bank.receive(
            reference="bank-1", money=world.money(amount, "EUR"), about=words, another=True
        )

    async def test_both_arrive_and_what_comes_after_them(self, world: TopupWorld) -> None:
        ada, ben = await world.person(), await world.person()
        await self.arrives(world, (await world.details(ada)).reference, "5.00")
        await self.arrives(world, (await world.details(ben)).reference, "7.00")
        await self.arrives(world, (await world.details(ada)).reference, "5.00")
        for _ in range(3):  # whoever reads again doubles nothing
            await world.reader.tick()
        await world.transfer((await world.details(ben)).reference, "1.00")
        assert await world.balance(ada, "EUR") == "10.00"
        assert await world.balance(ben, "EUR") == "8.00"
        async with world.db.transaction() as session:
            lines = await session.execute(
                text("SELECT line_id, bank_reference FROM bank_credits ORDER BY line_id")
            )
            found = [(row.line_id, row.bank_reference) for row in lines]
        assert [reference for _, reference in found[:3]] == ["bank-1"] * 3
        assert len({line for line, _ in found}) == 4
        await world.assert_sound()

    async def test_in_two_reads_and_in_two_assets(self, world: TopupWorld) -> None:
        ada = await world.person()
        words = (await world.details(ada)).reference
        await self.arrives(world, words, "5.00")
        await world.reader.tick()
        await self.arrives(world, words, "5.00")
        await world.bank.receive(
            reference="bank-1", money=world.money("9.00", "MXN"), about=words, another=True
        )
        await world.reader.tick()
        assert await world.balance(ada, "EUR") == "10.00"
        assert await world.balance(ada, "MXN") == "9.00"
        await world.assert_sound()

    async def test_strays_are_kept_apart_and_assigned_one_by_one(self, world: TopupWorld) -> None:
        ada, ben = await world.person(), await world.person()
        await self.arrives(world, "nobody", "5.00")
        await self.arrives(world, (await world.details(ben)).reference, "6.00")
        await self.arrives(world, "nobody", "7.00")
        await world.reader.tick()
        assert (await world.account(ASIDE)).amount == "12.00"
        async with world.db.transaction() as session:
            found = await strays.strays(session, world.assets)
        assert [one.money.amount for one in found] == ["5.00", "7.00"]
        for one, who in zip(found, (ada, ben), strict=True):
            await assign(world, one.id, who)
        assert await world.balance(ada, "EUR") == "5.00"
        assert await world.balance(ben, "EUR") == "13.00"
        assert (await world.account(ASIDE)).amount == "0.00"
        await world.assert_sound()

    async def test_what_left_again_is_nobodys_and_the_other_stays(self, world: TopupWorld) -> None:
        ada = await world.person()
        await self.arrives(world, "nobody", "5.00")
        await self.arrives(world, "nobody", "7.00")
        await self.arrives(world, "nobody", "5.00")
        await world.reader.tick()
        async with world.db.transaction() as session:
            await _move(session, "EUR", -500, "credit", "bank-1", "taken back")
        await world.reader.tick()
        async with world.db.transaction() as session:
            five, seven, other_five = await strays.strays(session, world.assets)
        await assign(world, seven.id, ada)
        for one in (five, other_five):  # which of the two left is not known: a person looks
            with pytest.raises(InvalidState):
                await assign(world, one.id, ada)
        assert await world.balance(ada, "EUR") == "7.00"
        await world.assert_sound()


async def assign(world: TopupWorld, stray_id: str, who: str) -> None:
    """Ada proposes, Bob agrees."""
    async with as_operator(world.db) as session:
        await strays.propose(session, world.assets, stray_id=stray_id, principal_id=who, by="ada")
    async with as_operator(world.db) as session:
        await strays.approve(session, world.assets, stray_id=stray_id, principal_id=who, by="bob")
