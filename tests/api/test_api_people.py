"""Registering, signing in and out, and what a person may change."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from wallet.db import POOL_OVERFLOW, POOL_SIZE
from wallet.identity import sessions

PASSWORD = "an unlikely passphrase 7"
ADA = {
    "email": "ada@example.org",
    "password": PASSWORD,
    "display_name": "Ada Lovelace",
    "country": "GB",
}


async def sign_in(world: Any, email: str = "ada@example.org", password: str = PASSWORD) -> Any:
    return await world.http.post("/v1/sessions", json={"email": email, "password": password})


class TestRegister:
    async def test_a_new_person_gets_an_id_and_a_handle(self, world: Any) -> None:
        made = await world.http.post("/v1/users", json=ADA)
        assert made.status_code == 201, made.text
        body = made.json()
        assert body["id"].startswith("usr_")
        assert body["handle"].startswith("adalovelace")
        assert body["email"] == "ada@example.org"
        assert body["country"] == "GB"
        assert body["created_at"].endswith("Z")
        assert not any("password" in key for key in body)

    async def test_a_taken_address_is_refused_whatever_its_case(self, world: Any) -> None:
        await world.http.post("/v1/users", json=ADA)
        again = await world.http.post("/v1/users", json={**ADA, "email": "ADA@Example.org"})
        assert (again.status_code, again.json()["code"]) == (409, "email_taken")

    @pytest.mark.parametrize("password", ["short", "password1234", "aaaaaaaaaaaaaaaa"])
    async def test_weak_passwords_are_refused(self, world: Any, password: str) -> None:
        refused = await world.http.post("/v1/users", json={**ADA, "password": password})
        assert (refused.status_code, refused.json()["code"]) == (422, "password_too_weak")
        assert refused.json()["errors"][0]["field"] == "/password"
        assert password not in refused.text

    @pytest.mark.parametrize(
        "extra", ["role", "is_admin", "balance", "status", "tenant_id", "kyc_tier", "id"]
    )
    async def test_mass_assignment_is_refused(self, world: Any, extra: str) -> None:
        refused = await world.http.post("/v1/users", json={**ADA, extra: "admin"})
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_field")
        assert refused.json()["errors"][0]["field"] == f"/{extra}"


class TestSignIn:
    async def test_the_token_opens_what_is_ones_own(self, world: Any) -> None:
        await world.http.post("/v1/users", json=ADA)
        opened = await sign_in(world)
        assert opened.status_code == 201, opened.text
        assert opened.json()["user"]["email"] == "ada@example.org"
        headers = {"Authorization": f"Bearer {opened.json()['token']}"}
        me = await world.http.get("/v1/me", headers=headers)
        assert me.json()["display_name"] == "Ada Lovelace"

    async def test_wrong_address_and_wrong_password_are_told_alike(self, world: Any) -> None:
        await world.http.post("/v1/users", json=ADA)
        wrong = await sign_in(world, password="not the password")
        unknown = await sign_in(world, email="nobody@example.org")
        for refused in (wrong, unknown):
            assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
        assert wrong.json()["detail"] == unknown.json()["detail"]

    async def test_guessing_is_stopped_and_says_when_to_come_back(self, world: Any) -> None:
        await world.http.post("/v1/users", json=ADA)
        answers = [await sign_in(world, password=f"guess number {n}") for n in range(30)]
        stopped = [answer for answer in answers if answer.status_code == 429]
        assert stopped and stopped[0].json()["code"] == "rate_limited"
        assert int(stopped[0].headers["Retry-After"]) > 0

    async def test_signing_in_rightly_is_never_counted_against_anybody(self, world: Any) -> None:
        await world.http.post("/v1/users", json=ADA)
        for _ in range(12):
            assert (await sign_in(world)).status_code == 201

    async def test_who_signs_in_keeps_no_connection_from_others(
        self, world: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Right passwords are counted against nobody. While they waited for the two threads that
        hash, each had a connection in hand, and nobody else had any."""
        somebody = await world.person(EUR="1.00")
        enough = asyncio.Event()
        verify = sessions.verify_password

        async def slow(encoded: str | None, password: str) -> bool:
            await enough.wait()
            return await verify(encoded, password)

        monkeypatch.setattr(sessions, "verify_password", slow)
        many = [
            asyncio.create_task(sign_in(world, f"person{n}@example.org"))
            for n in range(POOL_SIZE + POOL_OVERFLOW + 4)
        ]
        await asyncio.sleep(0.5)
        try:
            async with asyncio.timeout(3):
                assert await somebody.available("EUR") == "1.00"
        finally:
            enough.set()
            answers = [answer.status_code for answer in await asyncio.gather(*many)]
        assert answers.count(201) == 1 and answers.count(401) == len(many) - 1


class TestAuthentication:
    @pytest.mark.parametrize(
        "header",
        [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer bfs_wrong", "bfs_x", "Bearer a b"],
    )
    async def test_without_a_good_token_nothing_opens(self, world: Any, header: str | None) -> None:
        headers = {} if header is None else {"Authorization": header}
        refused = await world.http.get("/v1/me", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")

    async def test_cookies_are_not_looked_at(self, world: Any) -> None:
        ada = await world.person()
        refused = await world.http.get("/v1/me", headers={"Cookie": f"session={ada.token}"})
        assert refused.status_code == 401

    async def test_two_authorization_headers_are_none(self, world: Any) -> None:
        ada = await world.person()
        token = ("Authorization", f"Bearer {ada.token}")
        refused = await world.http.get("/v1/me", headers=[token, token])
        assert refused.status_code == 401

    async def test_signing_out_closes_the_session_at_once(self, world: Any) -> None:
        ada = await world.person()
        assert (await ada.get("/v1/me")).status_code == 200
        assert (await ada.send("DELETE", "/v1/sessions/current")).status_code == 204
        assert (await ada.get("/v1/me")).status_code == 401

    async def test_a_session_ended_elsewhere_works_for_a_second_at_most(self, world: Any) -> None:
        from sqlalchemy import text

        ada = await world.person()
        assert (await ada.get("/v1/me")).status_code == 200
        async with world.services.db.transaction() as session:
            await session.execute(text("UPDATE sessions SET revoked_at = clock_timestamp()"))
        ended = time.monotonic()
        asked = ended
        while (await ada.get("/v1/me")).status_code == 200:
            assert asked - ended < 1.0  # a question asked later than that gets no
            asked = time.monotonic()

    async def test_somebody_elses_session_is_not_found(self, world: Any) -> None:
        ada, eve = await world.person(), await world.person()
        session_id = (await ada.get("/v1/sessions")).json()["data"][0]["id"]
        refused = await eve.send("DELETE", f"/v1/sessions/{session_id}")
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
        assert (await ada.get("/v1/me")).status_code == 200


class TestMe:
    async def test_handle_and_name_change(self, world: Any) -> None:
        ada = await world.person()
        changed = await ada.send("PATCH", "/v1/me", json={"handle": "countess", "locale": "zh"})
        assert changed.status_code == 200, changed.text
        assert changed.json()["handle"] == "countess"
        assert changed.json()["locale"] == "zh"

    async def test_a_left_handle_is_nobodys_again(self, world: Any) -> None:
        ada, eve = await world.person(), await world.person()
        await ada.send("PATCH", "/v1/me", json={"handle": "countess"})
        await ada.send("PATCH", "/v1/me", json={"handle": "another"})
        refused = await eve.send("PATCH", "/v1/me", json={"handle": "countess"})
        assert (refused.status_code, refused.json()["code"]) == (409, "handle_unavailable")

    async def test_an_unknown_display_asset_is_refused(self, world: Any) -> None:
        ada = await world.person()
        refused = await ada.send("PATCH", "/v1/me", json={"display_asset": "DOGE"})
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_asset")
        assert refused.json()["errors"][0]["field"] == "/display_asset"

    async def test_limits_start_whole(self, world: Any) -> None:
        ada = await world.person()
        row = (await ada.get("/v1/me/limits")).json()["data"][0]
        assert (row["limit"], row["used"], row["remaining"]) == ("10000.00", "0.00", "10000.00")
