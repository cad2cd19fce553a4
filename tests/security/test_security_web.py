"""Hostile requests to the web app, without a browser: never a 500, never a door left open."""

from __future__ import annotations

import re

import httpx2
import pytest

from api.app import create_app
from tests.api.conftest import PASSWORD, World, build_services

XSS = "\"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}'`"
PAGES = ("/home", "/activity", "/send", "/withdraw", "/convert", "/abroad", "/recipients",
         "/settings", "/limits", "/receive", "/top-up", "/hold", "/statements")  # fmt: skip


def token_of(page: httpx2.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found is not None
    return found.group(1)


@pytest.fixture
async def eve(world: World) -> httpx2.AsyncClient:
    """Somebody in a browser whose very name is an attack."""
    door = await world.http.get("/register")
    fields = {"email": "eve@example.org", "password": PASSWORD, "display_name": f"Eve {XSS}"[:80],
              "country": "DE", "csrf": token_of(door)}  # fmt: skip
    answer = await world.http.post("/register", data=fields)
    assert answer.headers["location"] == "/home"
    return world.http


async def test_what_people_write_is_inert_on_every_page(
    world: World, eve: httpx2.AsyncClient
) -> None:
    other = await world.person(EUR="100.00")
    sent = await other.post(
        "/v1/transfers",
        {"to": "eve@example.org", "money": {"amount": "50.00", "asset": "EUR"}, "note": XSS},
    )
    assert sent.status_code == 201
    seen = 0
    for path in (*PAGES, f"/activity/{sent.json()['id']}"):
        for query in ("", f"?to={XSS}&q={XSS}&kind={XSS}&network={XSS}&next={XSS}"):
            page = await eve.get(path + query)
            assert page.status_code == 200, path
            assert "<script>alert" not in page.text and "<img src=x" not in page.text, path
            policy = page.headers["content-security-policy"]
            assert "unsafe" not in policy and "script-src 'self'" in policy
            seen += page.text.count("&lt;script&gt;alert(1)")
    assert seen > 0  # it was shown, as text


async def test_a_strange_token_is_refused_and_is_no_defect(eve: httpx2.AsyncClient) -> None:
    for token in ("é" * 8, "", "0" * 64, "\u202e"):
        answer = await eve.post("/settings", data={"csrf": token, "display_name": "Mallory"})
        assert answer.status_code == 403, token
    assert "Mallory" not in (await eve.get("/settings")).text


FOREIGN: tuple[dict[str, str], ...] = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://localhost:8000.evil.example"},
    {"Origin": "http://evil.example:8000", "Host": "evil.example:8000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


async def test_another_site_sends_no_form_even_with_the_token(eve: httpx2.AsyncClient) -> None:
    token = token_of(await eve.get("/settings"))
    fields = {"csrf": token, "display_name": "Mallory", "display_asset": "EUR"}
    for headers in FOREIGN:
        answer = await eve.post("/settings", data=fields, headers=headers)
        assert answer.status_code == 403, headers
    assert "Mallory" not in (await eve.get("/settings")).text
    assert (await eve.post("/settings", data=fields)).status_code == 303  # the fields were fine


async def test_a_nul_in_a_path_is_nothing_here(eve: httpx2.AsyncClient) -> None:
    for path in ("/activity/%00", "/nothing/%00", "/static/%00"):
        assert (await eve.get(path)).status_code == 404, path
    token = token_of(await eve.get("/settings"))
    answer = await eve.post("/settings/sessions/%00/revoke", data={"csrf": token})
    assert answer.status_code == 404


async def test_no_file_of_ours_leaves_by_a_path(world: World) -> None:
    for path in (
        "/static/..%2f..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/",
        "/static/..%5capp.py", "/.git/config", "/.env", "/docs", "/redoc",
    ):  # fmt: skip
        assert (await world.http.get(path)).status_code == 404, path


async def test_signing_in_leads_to_our_own_pages_only(world: World) -> None:
    await world.person()
    targets = ("//evil.example", "/\\evil.example", "https://evil.example", "/\tx", "\\/evil", "x")
    for target in targets:
        world.http.cookies.clear()
        fields = {
            "email": "person1@example.org",
            "password": PASSWORD,
            "next": target,
            "csrf": token_of(await world.http.get("/sign-in")),
        }
        answer = await world.http.post("/sign-in", data=fields)
        assert answer.headers["location"] == "/home", target


async def test_production_has_neither_the_sandbox_nor_its_way_to_register(world: World) -> None:
    settings = {"mode": "production", "public_url": "https://bifold.example"}
    services = build_services(world.services.settings.database_url, world.node, **settings)
    transport = httpx2.ASGITransport(app=create_app(services), raise_app_exceptions=False)
    try:
        async with httpx2.AsyncClient(
            transport=transport, base_url="https://bifold.example"
        ) as http:
            door = await http.get("/sign-in")
            fields = {"email": "person@example.org", "password": PASSWORD, "display_name": "P",
                      "country": "DE", "csrf": token_of(door)}  # fmt: skip
            assert (await http.get("/register")).status_code == 404
            assert (await http.post("/register", data=fields)).status_code == 404
            assert (await http.post("/v1/users", json={})).status_code == 404
            for path in ("/sandbox/faults", "/sandbox/inbox", "/metrics"):
                assert (await http.get(path)).status_code == 404
            for path in ("/sandbox/faucet", "/sandbox/clock", "/sandbox/bank-credits"):
                assert (await http.post(path, json={})).status_code == 404
            cookie = door.headers["set-cookie"]
            assert cookie.startswith("__Host-bifold_visitor=")
            assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
            assert "max-age" in door.headers["strict-transport-security"]
    finally:
        await services.aclose()
