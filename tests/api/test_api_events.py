"""GET /v1/events: one's own events, in one order, none of them missed or told twice."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import ledger, outbox, receivables
from wallet.events import BEYOND, BY_TYPE
from wallet.events import page as events_page
from wallet.ledger import accounts
from wallet.money import Money, parse_amount
from wallet.outbox import Notice, Relay
from wallet.receivables import Collector
from wallet.seal import Sealer, verify


async def tell(world: Any, person: Any, *refs: str, pause: float = 0.0) -> None:
    async with world.services.db.transaction() as session:
        for ref in refs:
            await outbox.put(session, Notice(person.id, "test.done", ref, {"about": ref}))
        await asyncio.sleep(pause)


async def publish(world: Any) -> None:
    while await Relay(world.services.db).tick():
        continue


def refs(answer: Any) -> list[str]:
    return [event["ref"] for event in answer.json()["data"]]


async def test_a_transfer_is_told_to_both_sides_and_sealed(world: Any) -> None:
    ada, bob = await world.person(EUR="10.00"), await world.person()
    made = await ada.post(
        "/v1/transfers", {"to": bob.id, "money": {"amount": "4.00", "asset": "EUR"}}
    )
    await publish(world)
    for person, direction in ((ada, "out"), (bob, "in")):
        (event,) = (
            e
            for e in (await person.get("/v1/events")).json()["data"]
            if e["type"] == "transfer.completed"
        )
        assert set(event) == {"id", "type", "ref", "created_at", "data"}
        assert event["ref"] == made.json()["id"]
        assert event["data"]["direction"] == direction
        assert event["data"]["money"] == {"amount": "4.00", "asset": "EUR"}
        assert event["id"].startswith("evt_")
        one = await person.get(f"/v1/events/{event['id']}")
        again = await person.get(f"/v1/events/{event['id']}")
        assert one.json() == event
        assert one.content == again.content
    await Sealer(world.services.db).tick()
    async with world.services.db.snapshot() as session:
        assert (await verify(session)).findings == []
        assert await session.scalar(
            text("SELECT count(*) FROM seals WHERE kind = 'event'")
        ) == await session.scalar(text("SELECT count(*) FROM events"))


async def test_newest_first_and_stable_while_rows_are_added(world: Any) -> None:
    ada = await world.person()
    await tell(world, ada, "a", "b", "c", "d", "e")
    await publish(world)
    first = await ada.get("/v1/events", limit=2)
    assert refs(first) == ["e", "d"]
    await tell(world, ada, "f", "g")
    await publish(world)
    second = await ada.get("/v1/events", limit=2, cursor=first.json()["next_cursor"])
    third = await ada.get("/v1/events", limit=2, cursor=second.json()["next_cursor"])
    assert (refs(second), refs(third)) == (["c", "b"], ["a"])
    assert third.json()["next_cursor"] is None


async def test_oldest_first_behind_an_event(world: Any) -> None:
    ada, bob = await world.person(), await world.person()
    for ref in ("a", "b", "c", "d"):
        await tell(world, ada, ref)
        await tell(world, bob, "bob's")
    await publish(world)
    first = await ada.get("/v1/events", order="asc", limit=2)
    rest = await ada.get("/v1/events", order="asc", limit=2, cursor=first.json()["next_cursor"])
    assert (refs(first), refs(rest)) == (["a", "b"], ["c", "d"])
    assert rest.json()["next_cursor"] is None
    last = first.json()["data"][-1]["id"]
    assert refs(await ada.get("/v1/events", order="asc", after=last)) == ["c", "d"]
    assert refs(await ada.get("/v1/events", after=last)) == ["d", "c"]
    newest = rest.json()["data"][-1]["id"]
    assert refs(await ada.get("/v1/events", order="asc", after=newest)) == []
    # In the middle of a page that began behind an event, both bounds hold.
    page = await ada.get("/v1/events", after=last, limit=1)
    page = await ada.get("/v1/events", after=last, limit=1, cursor=page.json()["next_cursor"])
    assert (refs(page), page.json()["next_cursor"]) == (["c"], None)


async def test_nobody_sees_anothers(world: Any) -> None:
    ada, bob = await world.person(), await world.person()
    await tell(world, ada, "a", "b")
    async with world.services.db.transaction() as session:
        await outbox.put(session, Notice(None, "test.done", "the house's"))
    await publish(world)
    assert refs(await bob.get("/v1/events")) == []
    event = (await ada.get("/v1/events", limit=1)).json()
    id_, cursor = event["data"][0]["id"], event["next_cursor"]
    assert (await bob.get(f"/v1/events/{id_}")).status_code == 404
    for query in ({"after": id_}, {"cursor": cursor}):
        refused = await bob.get("/v1/events", **query)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"after": "x"}, "/query/after"),
        ({"after": ""}, "/query/after"),
        ({"after": "evt_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"}, "/query/after"),
        ({"after": "evt_\x00"}, "/query/after"),
        ({"cursor": "x"}, "/query/cursor"),
    ],
)
async def test_a_stand_that_is_none_is_refused(
    world: Any, query: dict[str, str], field: str
) -> None:
    ada = await world.person()
    refused = await ada.get("/v1/events", **query)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor")
    assert refused.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("query", [{"order": "up"}, {"limit": 0}, {"limit": 201}])
async def test_an_odd_query_is_refused(world: Any, query: dict[str, Any]) -> None:
    ada = await world.person()
    assert (await ada.get("/v1/events", **query)).status_code == 422


async def test_a_poller_misses_nothing_though_commits_come_late(world: Any) -> None:
    """Transactions that began first commit last, while relay and poller run."""
    ada, bob = await world.person(), await world.person()
    chance = random.Random(5)
    names = [f"r{number}" for number in range(150)]
    limit = asyncio.Semaphore(5)
    done = asyncio.Event()

    async def write(ref: str, pause: float) -> None:
        async with limit:
            await tell(world, ada, ref, pause=pause)
            await tell(world, bob, ref)

    async def relay() -> None:
        while not done.is_set():
            await Relay(world.services.db).tick()
            await asyncio.sleep(0.01)

    heard: list[str] = []
    ids: list[str] = []

    async def poll() -> None:
        while True:
            last_round = done.is_set()
            query = {"order": "asc", "limit": 7, **({"after": ids[-1]} if ids else {})}
            answer = (await ada.get("/v1/events", **query)).json()["data"]
            heard.extend(event["ref"] for event in answer)
            ids.extend(event["id"] for event in answer)
            if last_round and not answer:
                return
            await asyncio.sleep(0.005)

    running = [asyncio.create_task(relay()), asyncio.create_task(poll())]
    await asyncio.gather(*(write(name, chance.choice((0.0, 0.0, 0.03, 0.15))) for name in names))
    await publish(world)
    done.set()
    await asyncio.gather(*running)
    assert len(ids) == len(set(ids))
    assert sorted(heard) == sorted(names)
    again: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await ada.get("/v1/events", order="asc", limit=40, **cursor)).json()
        again += [event["id"] for event in answer["data"]]
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert again == ids


class TestTypes:
    """`type`, repeated or with a whole noun: the same order, cursors and bounds."""

    async def told(self, world: Any) -> Any:
        ada, bob = await world.person(), await world.person()
        async with world.services.db.transaction() as session:
            for n, name in enumerate(
                ["one.made", "one.ended", "two.made", "one.made", "onex.made"]
            ):
                for who in (ada, bob):
                    await outbox.put(session, Notice(who.id, name, f"r{n}-{who.id}", {}))
        await publish(world)
        return ada

    async def ask(self, person: Any, *types: str, **more: Any) -> list[str]:
        answer = await person.get("/v1/events", type=list(types), **more)
        assert answer.status_code == 200, answer.text
        return [ref.partition("-")[0] for ref in refs(answer)]

    async def test_one_several_and_a_whole_noun(self, world: Any) -> None:
        ada = await self.told(world)
        assert await self.ask(ada, "one.made") == ["r3", "r0"]
        assert await self.ask(ada, "one.*") == ["r3", "r1", "r0"]
        assert await self.ask(ada, "one.ended", "two.made") == ["r2", "r1"]
        assert await self.ask(ada, "one.*", "one.made", "one.made") == ["r3", "r1", "r0"]
        assert await self.ask(ada, "nothing.known", "nothing.*") == []
        assert await self.ask(ada, "one.*", "two.*", order="asc") == ["r0", "r1", "r2", "r3"]

    async def test_it_is_read_on_by_cursor_and_after(self, world: Any) -> None:
        ada = await self.told(world)
        seen, cursor = [], None
        for _ in range(5):
            more = {} if cursor is None else {"cursor": cursor}
            answer = await ada.get("/v1/events", type=["one.*", "two.made"], limit=1, **more)
            seen += refs(answer)
            cursor = answer.json()["next_cursor"]
            if cursor is None:
                break
        assert [ref.partition("-")[0] for ref in seen] == ["r3", "r2", "r1", "r0"]
        first = (await ada.get("/v1/events", type="one.made", order="asc")).json()["data"][0]
        assert await self.ask(ada, "one.*", order="asc", after=first["id"]) == ["r1", "r3"]

    @pytest.mark.parametrize(
        "bad", ["*", "one", "one.", "one.*x", "One.made", "one.%", "a" * 99 + ".x"]
    )
    async def test_what_is_no_type_is_refused(self, world: Any, bad: str) -> None:
        ada = await world.person()
        answer = await ada.get("/v1/events", type=bad)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
        assert "for example topup.succeeded" in answer.json()["detail"]
        many = await ada.get("/v1/events", type=["one.made"] * 21)
        assert many.status_code == 422

    async def test_it_reads_by_an_index(self, world: Any) -> None:
        """Whatever else somebody was told: a noun's events are one stretch of the index."""
        async with world.services.db.transaction() as session:
            await session.execute(text("SET LOCAL enable_seqscan = off"))
            plan = await session.execute(
                text("EXPLAIN " + BY_TYPE.format(order="DESC")),
                {"principal": "usr_x", "above": 0, "below": BEYOND, "limit": 51,
                 "nouns": ["one", "two"], "whole": [True, False], "types": ["one.*", "two.made"]},
            )  # fmt: skip
            lines = "\n".join(plan.scalars())
        assert "events_noun_idx" in lines
        assert "split_part" in lines.partition("Index Cond:")[2].partition("\n")[0]

    async def test_a_noun_is_read_once_however_many_of_its_types_are_asked(
        self, world: Any
    ) -> None:
        """Twenty types that never happen would else be twenty walks through one long history."""
        ada = await self.told(world)

        class Counting:
            loops: int

            async def execute(self, query: Any, values: Any) -> Any:
                async with world.services.db.transaction() as session:
                    await session.execute(text("SET LOCAL enable_seqscan = off"))
                    explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.text}")
                    [[document]] = (await session.execute(explained, values)).all()
                    self.loops = _loops_on_events(document[0]["Plan"])
                    return await session.execute(query, values)

        counting = Counting()
        rare = [f"one.never_{letter}" for letter in "abcdefghijklmnopqrs"]
        found = await events_page(
            cast(AsyncSession, counting), principal_id=ada.id, limit=5, types=[*rare, "one.made"]
        )
        assert [event.ref.partition("-")[0] for event in found] == ["r3", "r0"]
        assert counting.loops == 1


def _loops_on_events(plan: dict[str, Any]) -> int:
    own = plan["Actual Loops"] if plan.get("Relation Name") == "events" else 0
    return int(own) + sum(_loops_on_events(below) for below in plan.get("Plans", []))


async def test_a_freeze_and_its_end_are_told_once_with_what_made_them(world: Any) -> None:
    ada = await world.person(EUR="10.00", USD="5.00")
    book = world.services.assets

    async def gateway_takes(amount: str) -> None:
        async with world.services.db.transaction() as session:
            await receivables.charge(
                session, principal_id=ada.id, money=parse_amount(amount, book.get("EUR")),
                against=accounts.gateway("simgate", "EUR"), kind="topup_charged_back",
                ref="test", meta={},
            )  # fmt: skip

    async def told() -> list[tuple[str, str]]:
        await publish(world)
        answer = await ada.get("/v1/events", type="account.*", order="asc")
        return [(event["type"], event["data"]["asset"]) for event in answer.json()["data"]]

    await gateway_takes("4.00")
    assert await told() == []  # it was there: nothing is owed
    for _ in range(2):
        await gateway_takes("9.00")
        await Collector(world.services.db, book).tick()
    frozen = await told()
    assert sorted(frozen) == [("account.frozen", "EUR"), ("account.frozen", "USD")]
    assert (await ada.get("/v1/me")).json()["frozen"] is True
    async with world.services.db.transaction() as session:
        money = parse_amount("50.00", book.get("EUR"))
        await ledger.post(
            session,
            ledger.Command(
                kind="test", ref=ada.id,
                lines=[
                    ledger.Line(accounts.capital("EUR"), Money(-money.minor, money.asset)),
                    ledger.Line(accounts.customer(ada.id, "EUR"), money),
                ],
            ),
        )  # fmt: skip
    for _ in range(2):
        await Collector(world.services.db, book).tick()
    opened = (await told())[2:]
    assert sorted(opened) == [("account.unfrozen", "EUR"), ("account.unfrozen", "USD")]
    assert (await ada.get("/v1/me")).json()["frozen"] is False
    event = (await ada.get("/v1/events", type="account.unfrozen")).json()["data"][0]
    assert event["data"]["reason"] == "money_owed" and event["ref"] == event["data"]["account_id"]


async def test_a_charge_that_is_rolled_back_tells_nothing(world: Any) -> None:
    ada = await world.person(EUR="1.00")
    async with world.services.db.transaction() as session:
        await receivables.charge(
            session, principal_id=ada.id,
            money=parse_amount("9.00", world.services.assets.get("EUR")),
            against=accounts.gateway("simgate", "EUR"), kind="topup_charged_back",
            ref="test", meta={},
        )  # fmt: skip
        assert (
            await session.scalar(text("SELECT count(*) FROM outbox WHERE type = 'account.frozen'"))
            == 1
        )
        await session.rollback()
    await publish(world)
    assert refs(await ada.get("/v1/events", type="account.frozen")) == []
