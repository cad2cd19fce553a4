"""The document is complete, true, and changes only when somebody means it to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.errors import STATUS
from api.openapi import LOCATIONS
from wallet.settings import Settings

SNAPSHOT = Path(__file__).parent / "openapi_snapshot.txt"
REWRITE = "BIFOLD_REWRITE_SNAPSHOTS"


@pytest.fixture
def document(world: Any) -> dict[str, Any]:
    made: dict[str, Any] = world.http._transport.app.openapi()
    return made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def type_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(type_of(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"[{type_of(schema.get('items', {}))}]"
    limits = [
        f"{name}={schema[name]}"
        for name in ("format", "pattern", "enum", "const", "minimum", "maximum", "minLength",
                     "maxLength", "maxProperties")
        if name in schema
    ]  # fmt: skip
    return " ".join([str(schema.get("type", "any")), *limits])


def summary(document: dict[str, Any]) -> str:
    """What clients rely on, one fact a line, in a stable order."""
    lines: list[str] = []
    for name, operation in sorted(operations(document)):
        lines.append(f"{name}  {operation.get('security', 'open')}")
        for one in operation.get("parameters", ()):
            must = "required" if one.get("required") else "optional"
            lines.append(f"  {one['in']} {one['name']}: {type_of(one['schema'])} {must}")
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            lines.append(f"  body {kind}: {type_of(content['schema'])}")
        for status, response in sorted(operation["responses"].items()):
            for kind, content in response.get("content", {}).items():
                codes = " ".join(sorted(content.get("examples", {})))
                lines.append(f"  {status} {kind}: {type_of(content.get('schema', {}))} {codes}")
    for name, schema in sorted(document["components"]["schemas"].items()):
        closed = "" if schema.get("additionalProperties", True) else " closed"
        lines.append(f"schema {name}{closed}")
        required = set(schema.get("required", ()))
        for field, about in sorted(schema.get("properties", {}).items()):
            lines.append(f"  {field}{'' if field in required else '?'}: {type_of(about)}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


class TestComplete:
    def test_every_operation_has_words(self, document: dict[str, Any]) -> None:
        bare = [
            name
            for name, operation in operations(document)
            if not operation.get("summary") or not operation.get("description")
        ]
        assert bare == []

    def test_every_field_has_a_description_and_an_example(self, document: dict[str, Any]) -> None:
        """A field that is itself a named schema, or a list of one, takes its example from there."""
        bare = []
        for name, schema in document["components"]["schemas"].items():
            for field, about in schema.get("properties", {}).items():
                named = "$ref" in about or "$ref" in about.get("items", {})
                if not about.get("description") or not (about.get("examples") or named):
                    bare.append(f"{name}.{field}")
        assert bare == []

    def test_every_parameter_has_a_description(self, document: dict[str, Any]) -> None:
        bare = [
            f"{name} {one['name']}"
            for name, operation in operations(document)
            for one in operation.get("parameters", ())
            if one["in"] != "path" and not one.get("description")
        ]
        assert bare == []

    def test_every_error_is_a_problem_of_a_known_code(self, document: dict[str, Any]) -> None:
        for name, operation in operations(document):
            for status, response in operation["responses"].items():
                if int(status) < 400 or name == "GET /readyz":
                    continue
                problem = response["content"]["application/problem+json"]
                assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
                for code, example in problem["examples"].items():
                    assert STATUS[code] == int(status), (name, code)
                    assert example["value"]["code"] == code

    def test_money_routes_ask_for_a_key(self, document: dict[str, Any]) -> None:
        keyed = {
            name
            for name, operation in operations(document)
            for one in operation.get("parameters", ())
            if one["name"] == "Idempotency-Key" and one["required"]
        }
        assert keyed == {
            "POST /v1/transfers", "POST /v1/withdrawals",
            "POST /v1/holds", "POST /v1/holds/{hold_id}/capture", "POST /v1/holds/{hold_id}/void",
            "POST /v1/withdrawals/{withdrawal_id}/cancel",
            "POST /v1/withdrawals/{withdrawal_id}/speed-up",
            "POST /v1/topups",
            "POST /v1/quotes", "POST /v1/conversions", "POST /v1/recipients", "POST /v1/payments",
            "POST /v1/watched",
            "POST /v1/self-custody/accounts", "POST /v1/self-custody/sends",
            "POST /v1/self-custody/accounts/{account_id}/export",
            "POST /v1/payments/{payment_id}/cancel",
        }  # fmt: skip

    def test_a_location_is_told_where_one_is_sent_and_is_a_path_of_ours(
        self, document: dict[str, Any]
    ) -> None:
        places = {
            name: response["headers"]["Location"]["schema"]["example"]
            for name, operation in operations(document)
            for response in operation["responses"].values()
            if "Location" in response.get("headers", {})
        }
        assert places.keys() == {f"POST {path}" for path in LOCATIONS}
        known = {path.partition("{")[0] for path in document["paths"]}
        assert {place.rpartition("/")[0] + "/" for place in places.values()} <= known | {"/v1/"}
        assert places["POST /v1/topups"].startswith("/v1/topups/top_")

    def test_every_request_body_is_closed(self, document: dict[str, Any]) -> None:
        schemas = document["components"]["schemas"]
        for name, operation in operations(document):
            for content in operation.get("requestBody", {}).get("content", {}).values():
                body = content["schema"]["$ref"].rpartition("/")[2]
                assert schemas[body]["additionalProperties"] is False, name

    def test_pages_are_not_in_it(self, document: dict[str, Any]) -> None:
        foreign = [
            path
            for path in document["paths"]
            if not path.startswith(("/v1/", "/sandbox/", "/livez", "/readyz", "/metrics"))
        ]
        assert foreign == []


class TestSnapshot:
    def test_it_changes_only_on_purpose(self, document: dict[str, Any]) -> None:
        """Meant it? `BIFOLD_REWRITE_SNAPSHOTS=1 ./dev test tests/api/test_api_openapi.py`."""
        now = summary(document)
        if os.environ.get(REWRITE) == "1":
            SNAPSHOT.write_text(now, encoding="utf-8")
        assert now == SNAPSHOT.read_text(encoding="utf-8")

    async def test_what_has_no_place_of_its_own_names_none(self, world: Any) -> None:
        address = {"address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}
        asked = await world.http.post("/v1/siwe/nonces", json=address)
        assert asked.status_code == 201 and "Location" not in asked.headers
        assert "/v1/siwe/nonces" not in LOCATIONS

    async def test_it_is_served(self, world: Any, document: dict[str, Any]) -> None:
        served = await world.http.get("/openapi.json")
        assert served.json() == document


class TestProduction:
    async def test_what_gives_money_away_is_not_there(self, world: Any) -> None:
        """No sandbox route, no open registration, no figures without their token."""
        import httpx2

        from api.app import create_app

        world.services.settings = Settings(
            mode="production",
            database_url=world.services.settings.database_url,
            public_url="https://bifold.example",
            metrics_token="figures-only",
        )
        app = create_app(world.services)
        absent = ("/sandbox", "/v1/topups", "/v1/cards", "/v1/bank-details")
        assert not [path for path in app.openapi()["paths"] if path.startswith(absent)]
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(
            transport=transport, base_url="https://bifold.example"
        ) as http:
            for method, path in (
                ("POST", "/sandbox/faucet"), ("POST", "/sandbox/clock"), ("GET", "/sandbox/faults"),
                ("POST", "/v1/users"), ("GET", "/metrics"), ("GET", "/docs"),
                ("POST", "/v1/topups"), ("GET", "/v1/topups"), ("POST", "/v1/cards"),
                ("GET", "/v1/bank-details"),
            ):  # fmt: skip
                refused = await http.request(method, path, json={} if method == "POST" else None)
                assert refused.status_code == 404, path
            networks = (await http.get("/v1/networks")).json()["data"]
            assert "rpc_url" not in networks[0]
            answered = await http.get("/livez")
            assert "max-age" in answered.headers["strict-transport-security"]
            figures = {"Authorization": "Bearer figures-only"}
            assert (await http.get("/metrics", headers=figures)).status_code == 200
