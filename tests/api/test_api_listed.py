"""An asset that is on no list any more: its holders still see it; nothing new is done in it."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from structlog.testing import capture_logs

from api import app
from chain.testing import FakeNode
from tests.api.conftest import PASSWORD, World, build_services
from wallet import holds
from wallet.bootstrap import RefusedToStart
from wallet.errors import DatabaseUnavailable
from wallet.migrate import upgrade
from wallet.money import AssetBook, UnknownAsset, chain_asset
from wallet.testing.databases import ScratchCluster, ScratchDatabase


async def delist(world: World, code: str) -> None:
    """As after a restart with a networks file that does not name it."""
    assets = world.services.assets
    await world.services.learn_assets()
    left = AssetBook(one for one in assets if one.code != code)
    assets._by_code.pop(code)  # the app under test was made over this very book
    world.services.assets = left
    await world.services.learn_assets()
    for one in left.retired:
        assets.retire(one)
    world.services.assets = assets


async def test_what_was_in_it_is_still_shown(world: World) -> None:
    ada, bob = await world.person(USDC="20", EUR="5.00"), await world.person(EUR="1.00")
    money = {"amount": "1.5", "asset": "USDC"}
    sent = await ada.post("/v1/transfers", {"to": bob.id, "money": money})
    assert sent.status_code == 201, sent.text
    held = await ada.post("/v1/holds", {"to": bob.id, "money": money, "expires_in_seconds": 600})
    assert held.status_code == 201, held.text
    await delist(world, "USDC")

    assert await ada.available("USDC") == "17.000000"
    assert await bob.available("USDC") == "1.500000"
    for query in ({}, {"asset": "USDC"}):
        rows = (await ada.get("/v1/activity", **query)).json()["data"]
        assert money | {"amount": "1.500000"} in [row["money"] for row in rows]
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    for form in ("application/json", "text/csv", "application/pdf"):
        shown = await ada.send(
            "GET", "/v1/statements", params={"asset": "USDC", "from": since},
            headers={"Accept": form},
        )  # fmt: skip
        assert shown.status_code == 200, shown.text
    assert (await ada.get(f"/v1/transfers/{sent.json()['id']}")).json()["money"]["asset"] == "USDC"
    # What is held goes back; nothing else may be done with it.
    assert (await ada.post(f"/v1/holds/{held.json()['id']}/void")).status_code == 200
    refused = await ada.post("/v1/transfers", {"to": bob.id, "money": money})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_asset")
    other = {"amount": "1.00", "asset": "EUR"}
    assert (await ada.post("/v1/transfers", {"to": bob.id, "money": other})).status_code == 201


async def test_a_hold_in_it_ends_by_itself(world: World) -> None:
    ada, bob = await world.person(USDC="20"), await world.person(EUR="1.00")
    money = {"amount": "1.5", "asset": "USDC"}
    asked = {"to": bob.id, "money": money, "expires_in_seconds": 60}
    held = await ada.post("/v1/holds", asked)
    assert held.status_code == 201, held.text
    await delist(world, "USDC")
    await world.bed.advance(61)
    assert await holds.expire(world.services.db, world.services.assets) == 1
    assert await ada.available("USDC") == "20.000000"


async def test_the_pages_of_its_holders_open(world: World) -> None:
    """All of them were refused, the front page first, as long as one unit of it was there."""
    ada = await world.person(USDC="20", EUR="5.00")
    async with world.services.db.transaction() as session:
        await session.execute(
            text("UPDATE users SET display_asset = 'USDC' WHERE id = :id"), {"id": ada.id}
        )
    await delist(world, "USDC")
    async with world.services.db.transaction() as session:
        email = await session.scalar(text("SELECT email FROM users WHERE id = :id"), {"id": ada.id})
    door = await world.http.get("/sign-in")
    found = re.search('name="csrf" value="([^"]+)"', door.text)
    assert found is not None
    fields = {"email": email, "password": PASSWORD, "csrf": found[1]}
    entered = await world.http.post("/sign-in", data=fields)
    assert entered.status_code == 303, entered.text
    for path in (
        "/home",
        "/activity",
        "/statements",
        "/send",
        "/convert",
        "/withdraw",
        "/settings",
    ):
        page = await world.http.get(path)
        assert page.status_code == 200, (path, page.text)
    assert "20.000000" in (await world.http.get("/home")).text.replace("\u2009", "").replace(
        ",", ""
    )


async def test_a_quote_in_it_is_not_taken(world: World) -> None:
    ada = await world.person(USDC="20", EUR="50.00")
    asked = {"source_asset": "EUR", "target_asset": "USDC", "source_amount": "10.00"}
    quote = await ada.post("/v1/quotes", asked | {"kind": "conversion"})
    assert quote.status_code == 201, quote.text
    await delist(world, "USDC")
    refused = await ada.post("/v1/conversions", {"quote_id": quote.json()["id"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_asset")
    assert await ada.available("EUR") == "50.00"


async def test_an_asset_keeps_its_decimals(world: World) -> None:
    """Under others every stored balance of it would be another amount."""
    await world.person(USDC="20")
    await world.services.learn_assets()
    before = world.services.assets
    changed = [dataclasses.replace(one, scale=18) if one.code == "USDC" else one for one in before]
    world.services.assets = AssetBook(changed)
    with pytest.raises(RefusedToStart, match="USDC was a token of 6 decimals"):
        await world.services.learn_assets()
    world.services.assets = AssetBook([*before, chain_asset("NEW", "token", 0, "New")])
    await world.services.learn_assets()  # what is new is written down
    world.services.assets = before
    await world.services.learn_assets()
    assert before.known("NEW").scale == 0
    with pytest.raises(UnknownAsset):
        before.get("NEW")


async def test_decimals_written_by_mistake_are_put_right(world: World) -> None:
    """As long as nothing is in the books: a slip of one key would have cost its code for good."""
    listed = world.services.assets
    await world.services.learn_assets()
    world.services.assets = AssetBook([*listed, chain_asset("SLIP", "token", 18, "Slip")])
    await world.services.learn_assets()
    for decimals in (6, 18):
        right = AssetBook([*listed, chain_asset("SLIP", "token", decimals, "Slip")])
        world.services.assets = right
        await world.services.learn_assets()
    world.services.assets = listed
    await world.services.learn_assets()
    assert listed.known("SLIP").scale == 18


async def test_terms_are_not_rewritten(world: World, database: ScratchDatabase) -> None:
    await world.person(USDC="20")
    await world.services.learn_assets()
    with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as owner:
        for deed in (
            "UPDATE asset_terms SET scale = 0 WHERE code = 'USDC'",
            "UPDATE asset_terms SET code = 'OTHER' WHERE code = 'USDC'",
            "DELETE FROM asset_terms",
        ):
            with pytest.raises(psycopg.Error):
                owner.execute(deed)
    with psycopg.connect(database.conninfo("bifold_app"), autocommit=True) as app:
        with pytest.raises(psycopg.Error, match="in the books by these terms"):
            app.execute("UPDATE asset_terms SET scale = 0 WHERE code = 'USDC'")
        for deed in ("UPDATE asset_terms SET code = 'X'", "DELETE FROM asset_terms"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(deed)


async def test_a_database_that_is_not_migrated_yet_is_waited_for(
    cluster: ScratchCluster, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API starts without it, to say so at /readyz."""
    monkeypatch.setattr(app, "LEARN_SECONDS", 0.05)
    bare = cluster.create(bare=True)
    services = build_services(bare.app_url, node)
    async with app._learning(services):
        await asyncio.to_thread(upgrade, bare.owner_url)
        with psycopg.connect(bare.conninfo("bifold_owner"), autocommit=True) as owner:
            async with asyncio.timeout(10):
                said = "SELECT 1 FROM asset_terms"
                while owner.execute(said).rowcount == 0:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.05)
    await services.aclose()


async def test_a_role_that_may_not_read_is_told_so(world: World, database: ScratchDatabase) -> None:
    """And not that the database is not migrated."""
    with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as owner:
        owner.execute("REVOKE SELECT ON asset_terms FROM bifold_app")
    with pytest.raises(ProgrammingError, match="permission denied"):
        await world.services.learn_assets()


async def test_what_nobody_foresaw_is_told_and_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what was taken out of the file is unknown until a restart, and nothing says why."""
    monkeypatch.setattr(app, "LEARN_SECONDS", 0.01)
    answers = [DatabaseUnavailable("Away."), ValueError("odd"), None]
    done = asyncio.Event()

    async def learn(_: object) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        done.set()

    monkeypatch.setattr(type(world.services), "learn_assets", learn)
    with capture_logs() as told:
        async with app._learning(world.services), asyncio.timeout(5):
            await done.wait()
    assert [line["error"] for line in told if line["event"] == "assets.not_learned"] == [
        "ValueError"
    ]
