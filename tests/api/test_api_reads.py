"""Reads that leave as bytes at once: the bytes are those of their views; the pool stays sound."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text as sql

from api.routes.activity import ActivityView, CounterpartyView
from api.routes.balances import BalancesView
from api.routes.statements import StatementView
from api.schemas import Page, shown
from wallet.errors import NotFound

ODD = '“grüß” \\ / "<&> 漢字 🍜'


async def test_the_bytes_are_those_of_the_views(world: Any) -> None:
    ada, bob = await world.person(EUR="50.00", USDC="20"), await world.person(EUR="1.00")
    money = {"amount": "1.25", "asset": "EUR"}
    sent = await ada.post("/v1/transfers", {"to": bob.id, "money": money, "note": ODD})
    assert sent.status_code == 201, sent.text
    for person in (ada, bob):
        timeline = (await person.get("/v1/activity", limit="2")).content
        assert ODD in json.loads(timeline)["data"][0]["note"]
        assert Page[ActivityView].model_validate_json(timeline).model_dump_json() == (
            timeline.decode()
        )
        held = (await person.get("/v1/balances")).content
        assert BalancesView.model_validate_json(held).model_dump_json() == held.decode()
        since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        query = {"asset": "EUR", "from": since}
        statement = (await person.get("/v1/statements", **query)).content
        fields = json.loads(statement)
        assert len(fields["lines"]) == 2
        named = {"since": fields.pop("from"), "until": fields.pop("to"), **fields}
        again = StatementView.model_validate_json(json.dumps(named)).model_dump_json(by_alias=True)
        assert again == statement.decode()


async def test_the_bytes_of_a_new_transfer_are_those_of_its_view(world: Any) -> None:
    ada, bob = await world.person(EUR="50.00"), await world.person()
    money = {"amount": "1.5", "asset": "EUR"}
    for note in (ODD, None):
        sent = await ada.post("/v1/transfers", {"to": bob.id, "money": money, "note": note})
        read = await ada.get(f"/v1/transfers/{sent.json()['id']}")
        assert sent.json()["note"] == note and sent.content == read.content


@pytest.mark.parametrize(
    "text", [ODD, "\0\x01\x1f \b\f\n\r\t \x7f \x80 \u2028 \uffff", "", "\U0010ffff"]
)
def test_any_text_is_written_as_its_view_writes_it(text: str) -> None:
    view = CounterpartyView(reference=text, name=None)
    assert shown({"reference": text, "name": None}).body == view.model_dump_json().encode()


async def test_balances_show_what_is_only_coming_and_what_is_only_booked(world: Any) -> None:
    ada = await world.person(EUR="3.00")
    async with world.services.db.transaction() as session:
        await session.execute(
            sql(
                "INSERT INTO deposits (id, network, block_hash, block_number, tx_hash, log_index,"
                " asset, to_address, from_address, amount_minor, principal_id, status, block_time)"
                " SELECT 'dep_' || n, 'local', '0xb', 1, '0x' || n, 0, 'USDC', '0xa', '0xf', 5,"
                " :who, CASE n WHEN 3 THEN 'orphaned' ELSE 'seen' END, now()"
                " FROM generate_series(1, 3) n"
            ),
            {"who": ada.id},
        )
    body = (await ada.get("/v1/balances")).json()
    assert [row["asset"] for row in body["data"]] == ["EUR", "USDC"]
    assert body["data"][0]["total"] == "3.00" and body["data"][0]["pending"] == "0.00"
    assert body["data"][1]["total"] == "0.000000" and body["data"][1]["pending"] == "0.000010"
    nobody = await world.person()
    assert (await nobody.get("/v1/balances")).json()["data"] == []


class TestReading:
    async def test_the_connection_goes_back_as_it_came(self, world: Any) -> None:
        """A transaction that gets it next is one, even behind a refusal."""
        db = world.services.db
        with pytest.raises(NotFound):
            async with db.reading() as reader:
                assert reader.autocommit
                await reader.execute("SELECT 1")
                raise NotFound("nothing")
        async with db.driver() as driver:
            assert not driver.autocommit
            await driver.execute("CREATE TEMP TABLE left_over (x int)")
        async with db.driver() as driver:
            rows = await driver.execute("SELECT to_regclass('left_over') IS NULL")
            assert await rows.fetchone() == (True,)

    async def test_who_leaves_in_the_middle_takes_no_connection_along(self, world: Any) -> None:
        db = world.services.db

        async def slow() -> None:
            async with db.reading() as reader:
                await reader.execute("SELECT pg_sleep(60)")

        for _ in range(20):  # more than the pool has
            task = asyncio.create_task(slow())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with db.reading() as reader:
            rows = await reader.execute("SELECT 1")
            assert await rows.fetchone() == (1,)
