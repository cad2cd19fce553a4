"""GET /v1/events: one's own events, in one order, none of them missed or told twice."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from sqlalchemy import text

from wallet import outbox
from wallet.outbox import Notice, Relay
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
