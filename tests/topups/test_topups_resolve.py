"""A difference with the gateway's list has a way out: one proposes, another agrees, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import text

from wallet import cases, ledger, topups
from wallet.db import Database
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ledger import accounts
from wallet.testing.databases import ScratchDatabase
from wallet.testing.operators import as_operator
from wallet.testing.topups import TopupWorld
from wallet.topups import resolve
from wallet.topups.reconcile import SETTLING_SECONDS
from wallet.topups.resolve import Resolution
from wallet.topups.simgate import GATEWAY

ACCOUNT = f"gateway:{GATEWAY}:EUR"
WHY = "the statement of the 3rd"


@pytest.fixture
async def tamperer(database: ScratchDatabase) -> AsyncIterator[Database]:
    """The gateway's own people, who may rewrite what we may not."""
    db = Database(database.owner_url)
    yield db
    await db.dispose()


async def propose(world: TopupWorld, topup: topups.Topup, by: str = "ada") -> Resolution:
    async with as_operator(world.db) as session:
        return await resolve.propose(session, reference=topup.id, asset=None, reason=WHY, by=by)


async def approve(world: TopupWorld, made: Resolution, by: str = "ben") -> Resolution:
    async with as_operator(world.db) as session:
        return await resolve.approve(session, world.assets, resolution_id=made.id, by=by)


async def said(world: TopupWorld, topup: topups.Topup, amount: str, kind: str = "charge") -> None:
    """The list says so, no answer does; the list is read, and ten minutes go by."""
    negative = amount.startswith("-")
    money = world.money(amount.removeprefix("-"), "EUR")
    await world.gateway.misreport(topup.id, type(money)(-money.minor, money.asset) if negative
                                  else money, kind)  # fmt: skip
    await world.work()
    await world.advance(SETTLING_SECONDS + 1)
    await world.work()


async def settled(world: TopupWorld) -> None:
    """Whatever the worker does now, it books nothing again; and both sides agree."""
    before = await world.count("entries")
    for _ in range(3):
        await world.work()
        await world.advance(SETTLING_SECONDS)
    assert await world.count("entries") == before
    async with world.db.transaction() as session:
        asked = await session.scalar(text("SELECT count(*) FROM topups WHERE next_at IS NOT NULL"))
    assert asked == 0, "it is asked about for ever"
    await world.assert_sound()


async def off(world: TopupWorld) -> list[tuple[str, str | None, int, int]]:
    async with world.db.transaction() as session:
        return [
            (one.kind, one.deed, one.off.listed_minor, one.off.booked_minor)
            for one in await resolve.open_differences(session)
        ]


async def entry(world: TopupWorld, made: Resolution) -> tuple[str, dict[str, int], dict[str, str]]:
    async with world.db.transaction() as session:
        row = (
            await session.execute(
                text("SELECT kind, ref, meta FROM entries WHERE id = :id"), {"id": made.entry_id}
            )
        ).one()
        lines = await session.execute(
            text(
                "SELECT split_part(a.path, ':', 1) AS what, p.amount_minor FROM postings p"
                " JOIN accounts a ON a.id = p.account_id WHERE p.entry_id = :id"
            ),
            {"id": made.entry_id},
        )
        assert row.ref == made.reference
        return row.kind, {line.what: int(line.amount_minor) for line in lines}, row.meta


async def doubts(world: TopupWorld) -> list[str]:
    async with world.db.transaction() as session:
        return [
            case.subject for case in await cases.listed(session) if case.kind == "topup_in_doubt"
        ]


class TestNotCredited:
    """The gateway has a capture that we do not know of."""

    async def test_it_is_credited_as_the_worker_would_have(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00", "visa_declined"))
        await said(world, made, "25.00")
        assert ACCOUNT in await world.off()
        assert await off(world) == [("not_credited", "credit", 2500, 0)]
        done = await approve(world, await propose(world, made))
        assert (await world.see(made)).status == "succeeded"
        assert await world.balance(who, "EUR") == "25.00"
        kind, lines, meta = await entry(world, done)
        assert (kind, lines) == ("topup", {"gateway": -2500, "customer": 2500})
        assert (meta["proposed_by"], meta["approved_by"], meta["reason"]) == ("ada", "ben", WHY)
        assert meta["resolution"] == done.id and done.principal_id == who
        assert (await world.told(made.id))[-1] == "topup.succeeded"
        await settled(world)
        assert await doubts(world) == []  # the gateway still says that it was declined

    async def test_what_the_gateway_takes_back_later_is_booked_by_itself(
        self, world: TopupWorld
    ) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00", "visa_declined"))
        await said(world, made, "25.00")
        await approve(world, await propose(world, made))
        async with world.db.transaction() as session:  # it has come to its senses
            await session.execute(text("UPDATE simgate.charges SET status = 'succeeded'"))
        await world.gateway.charge_back(made.id)
        await world.work()
        assert (await world.see(made)).status == "charged_back"
        await settled(world)

    async def test_money_for_a_closed_account_is_kept_aside(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00", "visa_declined"))
        await close(world, who)
        await said(world, made, "25.00")
        done = await approve(world, await propose(world, made))
        assert (await world.see(made)).kept_aside and done.principal_id is None
        assert (await entry(world, done))[1] == {"gateway": -2500, "unattributed": 2500}
        await settled(world)


class TestNotListed:
    """We have one that the gateway does not."""

    async def credited(self, world: TopupWorld, who: str) -> topups.Topup:
        made = await world.pay(who, "25.00", "visa_declined")
        await world.tasks.advance(made.id)
        async with world.db.transaction() as session:  # its answer says so, its list does not
            await session.execute(text("UPDATE simgate.charges SET status = 'succeeded'"))
        made = await world.see(made)
        await world.tasks.advance(made.id)
        return await world.see(made)

    async def test_it_is_taken_back_and_what_is_gone_is_owed(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await self.credited(world, who)
        assert await world.balance(who, "EUR") == "25.00"
        await world.spend(who, "10.00")
        assert await off(world) == [("not_listed", "charge_back", 0, 2500)]
        done = await approve(world, await propose(world, made))
        assert (await world.see(made)).status == "charged_back"
        assert (await entry(world, done))[:2] == (
            "topup_charged_back", {"gateway": 2500, "customer": -1500, "receivable": -1000},
        )  # fmt: skip
        await settled(world)

    async def test_one_that_is_listed_after_all_is_given_back(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await self.credited(world, who)
        await approve(world, await propose(world, made))
        await said(world, made, "25.00")
        assert await off(world) == [("not_credited", "adjust", 2500, 0)]
        done = await approve(world, await propose(world, made))
        assert (await entry(world, done))[:2] == (
            "gateway.resolved", {"gateway": -2500, "customer": 2500},
        )  # fmt: skip
        assert await world.balance(who, "EUR") == "25.00"
        await settled(world)


class TestOtherAmount:
    async def test_what_it_took_is_credited_and_the_topup_ends(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.pay(who, "25.00", "mastercard_three_d_secure")
        await world.tasks.advance(made.id)
        await said(world, made, "24.00")
        async with world.db.transaction() as session:
            await session.execute(
                text("UPDATE simgate.charges SET status = 'succeeded', amount_minor = 2400")
            )
        await world.work()
        assert (await world.see(made)).waiting_for == "review"
        assert await doubts(world) == [made.id]
        assert await off(world) == [("other_amount", "adjust", 2400, 0)]
        done = await approve(world, await propose(world, made))
        now = await world.see(made)
        assert (now.status, now.reason) == (
            "failed", "The gateway took 24.00 EUR; that was booked instead.",
        )  # fmt: skip
        assert await world.balance(who, "EUR") == "24.00"
        assert (await entry(world, done))[:2] == (
            "gateway.resolved", {"gateway": -2400, "customer": 2400},
        )  # fmt: skip
        assert (await world.told(done.id), (await world.told(made.id))[-1]) == (
            ["balance.corrected"], "topup.failed",
        )  # fmt: skip
        assert await doubts(world) == []
        await settled(world)

    async def test_an_answer_that_fits_later_credits_nothing_again(self, world: TopupWorld) -> None:
        """The worker may not take the amount asked for as what is still to be booked."""
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00", "visa_declined"))
        await said(world, made, "24.00")
        await approve(world, await propose(world, made))
        async with world.db.transaction() as session:
            await session.execute(text("UPDATE simgate.charges SET status = 'succeeded'"))
        await settled(world)
        assert await world.balance(who, "EUR") == "24.00"
        assert (await world.see(made)).status == "failed"

    async def test_what_is_listed_later_is_a_difference_again(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00", "visa_declined"))
        await said(world, made, "24.00")
        await approve(world, await propose(world, made))
        await said(world, made, "-24.00", "charge_back")
        assert await doubts(world) == [made.id]
        assert await off(world) == [("not_charged_back", "adjust", 0, 2400)]
        done = await approve(world, await propose(world, made))
        assert (await entry(world, done))[1] == {"gateway": 2400, "customer": -2400}
        assert await world.balance(who, "EUR") == "0.00"
        await settled(world)

    async def test_a_charge_back_in_part_is_taken(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00"))
        await said(world, made, "-5.00", "charge_back")
        assert await off(world) == [("other_amount", "adjust", 2000, 2500)]
        done = await approve(world, await propose(world, made))
        assert (await entry(world, done))[:2] == (
            "gateway.resolved", {"gateway": 500, "customer": -500},
        )  # fmt: skip
        assert (await world.see(made)).status == "succeeded"
        await settled(world)

    async def test_for_an_account_closed_meanwhile_it_is_nobody_s(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00", "visa_declined"))
        await close(world, who)
        await said(world, made, "24.00")
        done = await approve(world, await propose(world, made))
        assert done.principal_id is None
        assert (await entry(world, done))[1] == {"gateway": -2400, "unattributed": 2400}
        await settled(world)


class TestNotChargedBack:
    async def test_it_is_charged_back(self, world: TopupWorld) -> None:
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00"))
        await said(world, made, "-25.00", "charge_back")
        assert await world.balance(who, "EUR") == "25.00"
        assert await off(world) == [("not_charged_back", "charge_back", 0, 2500)]
        done = await approve(world, await propose(world, made))
        assert (await world.see(made)).status == "charged_back"
        assert (await entry(world, done))[:2] == (
            "topup_charged_back", {"gateway": 2500, "customer": -2500},
        )  # fmt: skip
        await settled(world)


class TestFourEyes:
    async def differing(self, world: TopupWorld) -> topups.Topup:
        made = await world.finish(await world.pay(await world.person(), "25.00", "visa_declined"))
        await said(world, made, "25.00")
        return made

    async def test_who_proposes_does_not_approve(self, world: TopupWorld) -> None:
        made = await propose(world, await self.differing(world))
        entries = await world.count("entries")
        with pytest.raises(FourEyesRequired):
            await approve(world, made, by="ada")
        assert await world.count("entries") == entries

    async def test_it_is_done_once(self, world: TopupWorld) -> None:
        topup = await self.differing(world)
        made = await propose(world, topup)
        done = await asyncio.gather(
            *(approve(world, made, by=f"ben{n}") for n in range(4)), return_exceptions=True
        )
        assert sum(isinstance(one, Resolution) for one in done) == 1
        assert sum(isinstance(one, InvalidState) for one in done) == 3
        with pytest.raises(NotFound):
            await propose(world, topup)
        await settled(world)

    async def test_a_new_proposal_takes_the_place_of_the_old(self, world: TopupWorld) -> None:
        topup = await self.differing(world)
        old, new = await propose(world, topup), await propose(world, topup, by="cy")
        with pytest.raises(InvalidState):
            await approve(world, old)
        assert (await approve(world, new)).state == "posted"

    async def test_what_the_worker_booked_meanwhile_is_not_booked_again(
        self, world: TopupWorld
    ) -> None:
        topup = await self.differing(world)
        made = await propose(world, topup)
        async with world.db.transaction() as session:
            await session.execute(text("UPDATE simgate.charges SET status = 'succeeded'"))
        await world.work()
        assert (await world.see(topup)).status == "succeeded"
        with pytest.raises(InvalidState, match="any more"):
            await approve(world, made)
        await settled(world)

    async def test_another_line_since_the_proposal_needs_another_proposal(
        self, world: TopupWorld
    ) -> None:
        topup = await self.differing(world)
        made = await propose(world, topup)
        await said(world, topup, "-5.00", "charge_back")
        with pytest.raises(InvalidState, match="any more"):
            await approve(world, made)

    async def test_a_reason_is_needed(self, world: TopupWorld) -> None:
        topup = await self.differing(world)
        async with as_operator(world.db) as session:
            with pytest.raises(InvalidField):
                await resolve.propose(session, reference=topup.id, asset=None, reason=" ", by="ada")

    async def test_what_is_young_is_the_worker_s(self, world: TopupWorld) -> None:
        made = await world.finish(await world.pay(await world.person(), "25.00", "visa_declined"))
        await world.gateway.misreport(made.id, made.money, "charge")
        await world.work()
        with pytest.raises(NotFound, match="ten minutes"):
            await propose(world, made)

    async def test_what_was_not_read_yet_is_not_resolved(self, world: TopupWorld) -> None:
        made = await world.finish(await world.pay(await world.person(), "25.00", "visa_declined"))
        await world.gateway.misreport(made.id, made.money, "charge")
        await world.advance(SETTLING_SECONDS + 1)
        with pytest.raises(InvalidState, match="not read"):
            await propose(world, made)

    async def test_what_is_nobody_s_has_another_way_out(
        self, world: TopupWorld, tamperer: Database
    ) -> None:
        """A reference that is not ours is booked by itself; one that is then rewritten is none."""
        await world.gateway.misreport("theirs", world.money("5.00", "EUR"), "charge")
        await world.work()
        assert await off(world) == []
        async with tamperer.transaction() as session:
            await session.execute(text("UPDATE simgate.list SET amount_minor = 400"))
        assert await off(world) == [("other_amount", None, 400, 500)]
        async with as_operator(world.db) as session:
            with pytest.raises(InvalidState):
                await resolve.propose(session, reference="theirs", asset=None, reason=WHY, by="ada")

    async def test_two_assets_are_resolved_one_by_one(self, world: TopupWorld) -> None:
        """It took pesos where euros were asked for, and gave back euros that it never had."""
        who = await world.person()
        made = await world.finish(await world.pay(who, "25.00", "visa_declined"))
        await world.gateway.misreport(made.id, world.money("500.00", "MXN"), "charge")
        await said(world, made, "-5.00", "charge_back")
        assert await off(world) == [
            ("other_amount", "adjust", -500, 0), ("other_amount", "adjust", 50000, 0),
        ]  # fmt: skip
        async with as_operator(world.db) as session:
            with pytest.raises(InvalidField, match="EUR, MXN"):
                await resolve.propose(session, reference=made.id, asset=None, reason=WHY, by="ada")
        for asset in ("MXN", "EUR"):
            async with as_operator(world.db) as session:
                found = await resolve.propose(
                    session, reference=made.id, asset=asset, reason=WHY, by="ada"
                )
            done = await approve(world, found)
        assert await world.balance(who, "MXN") == "500.00"
        assert (await entry(world, done))[1] == {"gateway": 500, "receivable": -500}
        await settled(world)


class TestTheDatabase:
    """Its own four eyes, for whoever has the operators' password or the application's."""

    AGREE = (
        "UPDATE gateway_resolutions SET state = 'posted', ended_at = now(),"
        " entry_id = (SELECT min(id) FROM entries), ended_by = "
    )

    @pytest.mark.parametrize(
        ("role", "deed", "error"),
        [
            ("bifold_operator", AGREE + "'ada'", "check constraint"),
            ("bifold_operator", AGREE + "'ben', listed_minor = 9", "permission denied"),
            ("bifold_owner", AGREE + "'ben', listed_minor = 9", "stays what was proposed"),
            ("bifold_owner", "DELETE FROM gateway_resolutions", "stays what was proposed"),
            ("bifold_app", AGREE + "'ben'", "permission denied"),
            ("bifold_app", "INSERT INTO gateway_resolutions (id) VALUES ('x')", "permission"),
            ("bifold_app", "DELETE FROM bank_lines_aside", "permission denied"),
            ("bifold_app", "UPDATE bank_lines_aside SET problem = 'x'", "permission denied"),
        ],
    )
    async def test_it_refuses(
        self, world: TopupWorld, database: ScratchDatabase, role: str, deed: str, error: str
    ) -> None:
        made = await world.finish(await world.pay(await world.person(EUR="1.00"), "25.00"))
        await said(world, made, "-25.00", "charge_back")
        await propose(world, made)
        with (
            psycopg.connect(database.conninfo(role)) as session,
            pytest.raises(psycopg.Error, match=error),
        ):
            session.execute(deed.encode())

    async def test_what_was_agreed_stays(
        self, world: TopupWorld, database: ScratchDatabase
    ) -> None:
        made = await world.finish(await world.pay(await world.person(), "25.00"))
        await said(world, made, "-25.00", "charge_back")
        await approve(world, await propose(world, made))
        with (
            psycopg.connect(database.conninfo("bifold_operator")) as session,
            pytest.raises(psycopg.Error, match="ends once"),
        ):
            session.execute("UPDATE gateway_resolutions SET ended_by = 'eve'")


async def close(world: TopupWorld, who: str) -> None:
    async with world.db.transaction() as session:
        await accounts.account_id(session, accounts.customer(who, "EUR"))
        await session.execute(
            text("SELECT ledger_set_status(id, 'closed') FROM accounts WHERE principal_id = :who"),
            {"who": who},
        )
    assert await balance(world, who) == 0


async def balance(world: TopupWorld, who: str) -> int:
    async with world.db.transaction() as session:
        return await ledger.balance_of(session, accounts.customer(who, "EUR"))
