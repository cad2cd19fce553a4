"""What every route has in common: strict JSON, bounded bodies, problem documents, headers."""

from __future__ import annotations

import logging
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from api import strict_json
from api.app import create_app
from api.errors import DuplicateKey, MalformedJson, Problem
from chain.errors import NodeTimeout
from wallet.errors import Busy

JSON = {"Content-Type": "application/json"}
MEMBERS = {"type", "title", "status", "detail", "code", "request_id", "retryable", "errors"}


def is_problem(response: httpx2.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) >= MEMBERS
    assert body["status"] == status
    assert body["type"] == f"urn:bifold:problem:{code}"
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["request_id"].startswith("req_")


class TestStrictJson:
    @pytest.mark.parametrize(
        "body",
        [
            b"{", b"nonsense", b"{'a': 1}", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}',
            b'{"a": 1,}', b"\xff\xfe", b'{"a": "\xc3\x28"}', b'\xef\xbb\xbf{"a": 1}',
            b'{"a": "\\u0000"}', b'{"\\u0000": 1}', b'{"a": "\\ud800"}', b'{"a": 01}', b'{"a": .5}',
            b'{"a": 1} {"b": 2}', b"[" * 33 + b"]" * 33, b"[" * 60_000, b'{"a":' * 9_000,
        ],
    )  # fmt: skip
    def test_what_is_not_json_is_malformed(self, body: bytes) -> None:
        with pytest.raises(MalformedJson):
            strict_json.parse(body)

    @pytest.mark.parametrize(
        "body", [b'{"a": 1, "a": 1}', b'{"a": {"b": 1, "b": 2}}', b'[{"a": 1, "\\u0061": 2}]']
    )
    def test_a_key_named_twice_is_refused(self, body: bytes) -> None:
        with pytest.raises(DuplicateKey):
            strict_json.parse(body)

    def test_the_deepest_allowed_passes(self) -> None:
        assert strict_json.parse(b"[" * 32 + b"]" * 32) is not None

    def test_numbers_never_become_floats(self) -> None:
        value = strict_json.parse(b"[0.1, 1e400, 12345678901234567890123, %s]" % (b"9" * 60_000))
        assert [type(item).__name__ for item in value] == ["Decimal", "Decimal", "int", "Decimal"]


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"{", 400, "malformed_json"),
            (b'{"to": NaN}', 400, "malformed_json"),
            (b"\xff\xff", 400, "malformed_json"),
            (b"[" * 5_000 + b"]" * 5_000, 400, "malformed_json"),
            (b'{"to": "a", "to": "b"}', 422, "duplicate_key"),
            (b"{}", 422, "field_required"),
            (b"[]", 422, "invalid_field"),
            (b'"text"', 422, "invalid_field"),
            (b"", 422, "field_required"),
            (b'{"to":"@a","money":{"amount":"1","asset":"EUR"},"x":1}', 422, "unknown_field"),
            (b'{"to":"@a","money":{"amount":"1","asset":"EUR","x":1}}', 422, "unknown_field"),
        ],
    )
    async def test_bad_bodies_are_told_apart(
        self, world: Any, body: bytes, status: int, code: str
    ) -> None:
        ada = await world.person()
        headers = {**JSON, "Idempotency-Key": "k"}
        before = await world.counts()
        refused = await ada.send("POST", "/v1/transfers", content=body, headers=headers)
        is_problem(refused, status, code)
        assert await world.counts() == before

    async def test_the_pointer_reaches_into_the_body(self, world: Any) -> None:
        ada = await world.person()
        body = {"to": "@a", "money": {"amount": "1", "asset": "EUR", "a/b~c": 1}}
        refused = await ada.post("/v1/transfers", body)
        assert refused.json()["errors"][0]["field"] == "/money/a~1b~0c"

    @pytest.mark.parametrize(
        ("params", "detail"),
        [
            ({"limit": "201"}, "At most 200."),
            ({"limit": "0"}, "At least 1."),
            ({"limit": "x"}, "A whole number."),
            ({"q": ""}, "Its length is at least 1."),
            ({"from": "yesterday"}, "A time, for example 2026-01-31T09:00:00Z."),
        ],
    )
    async def test_a_field_is_refused_in_a_sentence(
        self, world: Any, params: dict[str, str], detail: str
    ) -> None:
        refused = await (await world.person()).get("/v1/activity", **params)
        assert refused.json()["errors"][0]["detail"] == detail

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
    async def test_only_json_is_taken(self, world: Any, kind: str) -> None:
        refused = await world.http.post(
            "/v1/sessions", content=b"{}", headers={"Content-Type": kind} if kind else {}
        )
        is_problem(refused, 415, "unsupported_media_type")

    async def test_a_body_of_64_kb_passes_and_one_more_byte_does_not(self, world: Any) -> None:
        frame = b'{"email": "%s"}'
        room = 64 * 1024 - len(frame) + 2
        whole = await world.http.post("/v1/sessions", content=frame % (b"x" * room), headers=JSON)
        assert whole.status_code == 422
        over = await world.http.post(
            "/v1/sessions", content=frame % (b"x" * (room + 1)), headers=JSON
        )
        is_problem(over, 413, "body_too_large")

    async def test_ten_megabytes_without_a_length_are_refused(self, world: Any) -> None:
        async def chunks() -> Any:
            for _ in range(160):
                yield b"x" * 65_536

        refused = await world.http.post("/v1/sessions", content=chunks(), headers=JSON)
        is_problem(refused, 413, "body_too_large")

    async def test_a_get_may_not_smuggle_a_large_body_either(self, world: Any) -> None:
        refused = await world.http.request("GET", "/v1/assets", content=b"x" * 70_000)
        is_problem(refused, 413, "body_too_large")


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        ["/v1/nothing", "/v1/transfers/", "/V1/assets", "//v1/assets", "/v1/api-keys", "/docs",
         "/redoc", "/.env", "/.git/config", "/v1/../etc/passwd",
         "/v1/admin/users"],
    )  # fmt: skip
    async def test_what_is_not_built_is_not_found(self, world: Any, path: str) -> None:
        refused = await world.http.get(path, headers={"Accept": "application/json"})
        assert refused.status_code == 404
        if path.startswith("/v1/") and ".." not in path:
            is_problem(refused, 404, "not_found")

    async def test_a_wrong_method_names_the_right_ones(self, world: Any) -> None:
        refused = await world.http.delete("/v1/assets")
        is_problem(refused, 405, "method_not_allowed")
        assert refused.headers["allow"] == "GET"

    @pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Original-URL"])
    async def test_overriding_headers_are_ignored(self, world: Any, header: str) -> None:
        answered = await world.http.get("/v1/assets", headers={header: "/v1/me"})
        assert answered.status_code == 200


class TestHeaders:
    async def test_every_answer_is_dressed(self, world: Any) -> None:
        for path in ("/v1/assets", "/v1/me", "/v1/nothing", "/livez"):
            headers = (await world.http.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["cache-control"] == "no-store"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["x-request-id"].startswith("req_")
            assert "server" not in headers

    async def test_request_ids_are_ours_and_new(self, world: Any) -> None:
        sent = {"X-Request-Id": "req_forged"}
        seen = {
            (await world.http.get("/livez", headers=sent)).headers["x-request-id"] for _ in "ab"
        }
        assert len(seen) == 2

    async def test_no_foreign_origin_is_invited(self, world: Any) -> None:
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answered = await world.http.options("/v1/transfers", headers=headers)
        assert not any(name.startswith("access-control") for name in answered.headers)


class TestDefects:
    """A defect is told by its id alone."""

    SECRET = "SELECT password FROM users at /home/someone/secret.py"

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (RuntimeError(SECRET), 500, "internal"),
            (KeyError(SECRET), 500, "internal"),
            (NodeTimeout(SECRET), 503, "chain_unavailable"),
            (Busy("Try again."), 503, "busy"),
        ],
    )
    async def test_nothing_leaks(
        self, world: Any, error: Exception, status: int, code: str, caplog: Any
    ) -> None:
        app = create_app(world.services)

        async def broken(_request: Request) -> None:
            raise error

        app.add_api_route("/v1/broken", broken)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        with caplog.at_level(logging.CRITICAL):
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
                answered = await http.get("/v1/broken")
        is_problem(answered, status, code)
        assert "SELECT" not in answered.text and "secret.py" not in answered.text
        assert "Traceback" not in answered.text
        if status == 503:
            assert answered.headers["retry-after"] == "1"
            assert answered.json()["retryable"] is True

    async def test_a_database_that_is_away_is_503(self, world: Any) -> None:
        from wallet.db import Database

        ada = await world.person()
        there = world.services.db
        world.services.db = Database("postgresql+psycopg://nobody@127.0.0.1:9/nothing")
        is_problem(await ada.get("/v1/balances"), 503, "database_unavailable")
        ready = await world.http.get("/readyz")
        world.services.db = there
        assert (ready.status_code, ready.json()["down"]) == (503, ["database"])
        assert (await world.http.get("/livez")).status_code == 200


def test_what_a_problem_adds_stands_behind_the_standard_and_replaces_none_of_it() -> None:
    body = Problem(409, "invalid_state", "Too late.", extra={"state": "mined", "code": "x"}).body(
        "r"
    )
    assert (next(iter(body)), list(body)[-1]) == ("type", "state")
    assert (body["code"], body["state"]) == ("invalid_state", "mined")
