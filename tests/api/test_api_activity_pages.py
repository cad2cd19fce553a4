"""Activity read by index tells exactly what the view tells, whatever is asked of it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from wallet import turns

MONEY = {"amount": "1.25", "asset": "EUR"}


async def _walk(person: Any, **query: str) -> list[str]:
    """Every id, two a page."""
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await person.get("/v1/activity", limit="2", **query, **cursor)).json()
        seen += [row["id"] for row in page["data"]]
        if page["next_cursor"] is None:
            return seen
        cursor = {"cursor": page["next_cursor"]}


async def _view(world: Any, person: Any, condition: str) -> list[str]:
    async with world.services.db.snapshot() as session:
        rows = await session.scalars(
            text(
                f"SELECT id FROM activity WHERE principal_id = :id AND {condition}"
                " ORDER BY created_at DESC, id DESC"
            ),
            {"id": person.id},
        )
        return list(rows)


async def test_pages_are_the_view_in_order(world: Any) -> None:
    ada, bob = await world.person(EUR="50.00", USDC="20"), await world.person(EUR="50.00")
    for number in range(3):
        for payer, payee in ((ada, bob), (bob, ada)):
            sent = await payer.post("/v1/transfers", {"to": payee.id, "money": MONEY})
            assert sent.status_code == 201
            body = {"to": payee.id, "money": MONEY, "expires_in_seconds": 600 + number}
            held = await payer.post("/v1/holds", body)
            assert held.status_code == 201
        await payee.post(f"/v1/holds/{held.json()['id']}/capture")
    asked = {
        "kind": "conversion",
        "source_asset": "USDC",
        "target_asset": "EUR",
        "source_amount": "5",
    }
    quote = await ada.post("/v1/quotes", asked)
    assert quote.status_code == 201, quote.text
    made = await ada.post("/v1/conversions", {"quote_id": quote.json()["id"]})
    assert made.status_code == 201, made.text
    for query, condition in (
        ({}, "true"),
        ({"kind": "transfer"}, "kind = 'transfer'"),
        ({"kind": "hold"}, "kind = 'hold'"),
        ({"kind": "deposit"}, "kind = 'deposit'"),
        ({"asset": "EUR"}, "'EUR' IN (asset, target_asset)"),
        ({"asset": "USDC"}, "'USDC' IN (asset, target_asset)"),
        ({"kind": "hold", "asset": "EUR"}, "kind = 'hold' AND asset = 'EUR'"),
    ):
        expected = await _view(world, ada, condition)
        assert await _walk(ada, **query) == expected, query
    everything = await _view(world, ada, "true")
    assert len(everything) >= 13
    assert len(set(everything)) == len(everything)


async def test_a_snapshot_writes_nothing_and_leaves_no_mark(world: Any) -> None:
    """Its level is said in BEGIN and taken back with the connection."""
    db = world.services.db
    async with db.snapshot() as session:
        level = await session.scalar(text("SHOW transaction_isolation"))
        assert level == "repeatable read"
        with pytest.raises(DBAPIError, match="read-only"):
            await session.execute(text("UPDATE users SET display_name = 'x'"))
    for _ in range(3):
        async with db.transaction() as session:
            assert await session.scalar(text("SHOW transaction_isolation")) == "read committed"
            assert await session.scalar(text("SHOW transaction_read_only")) == "off"


async def test_one_person_searches_a_few_times_at_once(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search reads all that somebody ever did, and keeps a connection for as long."""
    ada, bob = await world.person(EUR="5.00"), await world.person()
    searches = world.http._transport.app.state.bifold.searches
    async with searches.turn(ada.id), searches.turn(ada.id):
        monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.05)
        busy = await ada.get("/v1/activity", q="rent")
        assert (busy.status_code, busy.json()["code"]) == (503, "busy")
        assert (await ada.get("/v1/activity")).status_code == 200
        assert (await bob.get("/v1/activity", q="rent")).status_code == 200
    assert (await ada.get("/v1/activity", q="rent")).status_code == 200
    gc.collect()
    assert not searches._of


async def test_who_searches_more_at_once_waits_for_their_turn(world: Any) -> None:
    """As who types on while the first answer is on its way, or opens three pages of it."""
    ada = await world.person(EUR="5.00")
    found = await asyncio.gather(*(ada.get("/v1/activity", q="rent") for _ in range(12)))
    assert {one.status_code for one in found} == {200}
