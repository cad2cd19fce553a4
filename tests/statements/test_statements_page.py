"""Forms of statements and holds by plain HTTP, as a browser without JavaScript sends them."""

from __future__ import annotations

import html
import io
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from pypdf import PdfReader
from sqlalchemy import text

from api.app import create_app
from tests.api.conftest import BASE_URL
from wallet import identity, ledger
from wallet.money import format_amount

HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


class Visitor:
    """Somebody in front of pages, with the balance they were given."""

    def __init__(self, http: httpx2.AsyncClient, user: identity.User) -> None:
        self.http, self.user = http, user
        self.page: httpx2.Response | None = None

    @property
    def said(self) -> str:
        assert self.page is not None
        return html.unescape(re.sub(r"<[^>]+>", "", self.page.text)).replace("\u00a0", " ")

    async def get(self, path: str, **query: str) -> httpx2.Response:
        self.page = await self.http.get(path, params=query or None)
        return self.page

    def form(self, action: str) -> dict[str, str]:
        assert self.page is not None
        found = re.search(
            rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', self.page.text, re.S
        )
        assert found, f"no form {action} on {self.page.url}"
        return {name: html.unescape(value) for name, value in HIDDEN.findall(found.group(1))}

    async def send(self, action: str, **fields: str) -> httpx2.Response:
        return await self.post(action, {**self.form(action), **fields})

    async def post(self, action: str, fields: dict[str, str]) -> httpx2.Response:
        self.page = await self.http.post(action, data=fields, headers={"Origin": BASE_URL})
        return self.page


@pytest.fixture
async def meet(world: Any) -> AsyncIterator[Any]:
    app = create_app(world.services)
    clients = []

    async def meeting(name: str, *, eur: str = "", language: str = "en") -> Visitor:
        async with world.services.db.transaction() as session:
            user = await identity.register(
                session,
                email=f"{name.lower()}@example.org",
                password="an unlikely passphrase 7",
                display_name=name,
                country="DE",
                sandbox=True,
            )
            await session.execute(
                text("UPDATE users SET locale = :tag WHERE id = :id"),
                {"tag": language, "id": user.id},
            )
            opened = await identity.open_session(session, principal_id=user.id, kind="web")
        if eur:
            await world.bed.give(user.id, eur, "EUR")
        http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url=BASE_URL, follow_redirects=True,
            cookies={"bifold_session": opened.token or "", "bifold_language": language},
            headers={"Accept-Language": language},
        )  # fmt: skip
        clients.append(http)
        return Visitor(http, user)

    yield meeting
    for http in clients:
        await http.aclose()
    await app.state.bifold.writer.aclose()


class TestStatements:
    async def test_the_page_adds_up_and_gives_its_files(self, meet: Any) -> None:
        ada = await meet("Ada", eur="10.00")
        page = await ada.get("/statements", asset="EUR")
        assert page.status_code == 200
        assert "Opening balance€ 0.00 EUR" in re.sub(r"\s*\n\s*", "", ada.said)
        assert "Closing balance€ 10.00 EUR" in re.sub(r"\s*\n\s*", "", ada.said)
        links = {
            html.unescape(link) for link in re.findall(r'href="(/statements/file[^"]+)"', page.text)
        }
        kinds = {}
        for link in links:
            answer = await ada.get(link)
            assert answer.status_code == 200, link
            assert answer.headers["cache-control"] == "private, no-store"
            kinds[answer.headers["content-type"].partition(";")[0]] = answer
        assert set(kinds) == {
            "application/pdf", "text/csv", "application/json", "application/xml",
        }  # fmt: skip
        assert kinds["application/json"].json()["closing"] == {"amount": "10.00", "asset": "EUR"}
        (sheet,) = PdfReader(io.BytesIO(kinds["application/pdf"].content)).pages
        assert "Ada @" in " ".join(sheet.extract_text().split())

    async def test_a_coin_has_no_camt(self, meet: Any) -> None:
        ada = await meet("Ada")
        page = await ada.get("/statements", asset="ETH")
        assert "format=pdf" in page.text
        assert "camt053" not in page.text
        refused = await ada.get("/statements/file", asset="ETH", format="camt053",
                                **{"from": "2026-11-01", "to": "2026-11-02"})  # fmt: skip
        assert refused.url.path == "/statements"

    async def test_the_file_speaks_the_language_of_the_page(self, meet: Any) -> None:
        lin = await meet("林小雨", eur="1.00", language="zh-Hans")
        page = await lin.get("/statements")
        assert "期初余额" in page.text
        (link,) = re.findall(r'href="(/statements/file[^"]+format=pdf)"', page.text)
        answer = await lin.get(html.unescape(link))
        assert answer.headers["content-language"] == "zh-Hans"
        said = PdfReader(io.BytesIO(answer.content)).pages[0].extract_text().replace("\0", "")
        assert "账户对账单" in said
        assert "林小雨" in said

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ({"from": "2026-11-02", "to": "2026-10-01"}, "The end has to be after the start."),
            ({"from": "2020-01-01", "to": "2026-10-01"}, "at most 366 days"),
            ({"from": "soon"}, "Choose a period"),
            ({"asset": "XXX"}, "Choose one of the assets"),
        ],
    )
    async def test_what_cannot_be_is_said_beside_its_field(
        self, meet: Any, query: dict[str, str], words: str
    ) -> None:
        ada = await meet("Ada")
        page = await ada.get("/statements", **query)
        assert page.status_code == 200
        assert words in ada.said
        assert "/statements/file" not in page.text

    async def test_nobody_comes_in_without_a_session(self, world: Any) -> None:
        for path in ("/statements", "/statements/file?format=pdf", "/hold"):
            answer = await world.http.get(path)
            assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (
                303, "/sign-in",
            )  # fmt: skip


class TestHolds:
    async def _made(self, ada: Visitor, bob: Visitor, amount: str = "10") -> str:
        await ada.get("/hold")
        await ada.send("/hold", to=f"@{bob.user.handle}", amount=amount, asset="EUR",
                       seconds="86400", note="for the bike")  # fmt: skip
        assert ada.page is not None and ada.page.url.path == "/hold/review", ada.said
        assert "One day" in ada.said
        await ada.send("/hold/confirm")
        path = str(ada.page.url.path)
        assert path.startswith("/activity/hld_"), ada.said
        return path.removeprefix("/activity/")

    async def test_it_is_taken_in_parts_and_the_rest_comes_back(
        self, meet: Any, world: Any
    ) -> None:
        ada, bob = await meet("Ada", eur="25.00"), await meet("Bob")
        hold = await self._made(ada, bob)
        receipt = f"/activity/{hold}"
        assert "Take it back" in ada.said
        assert f"/hold/{hold}/capture" not in (ada.page or await ada.get(receipt)).text
        await bob.get(receipt)
        assert 'value="10.00"' in (bob.page or await bob.get(receipt)).text
        fields = {**bob.form(f"/hold/{hold}/capture"), "amount": "4"}
        await bob.post(f"/hold/{hold}/capture", fields)
        again = await bob.post(f"/hold/{hold}/capture", fields)  # sent twice: taken once
        assert again.url.path == receipt
        assert 'value="6.00"' in again.text
        await bob.send(f"/hold/{hold}/capture", amount="6.01")
        assert "hold_exceeded" in bob.said
        await ada.get(receipt)
        await ada.send(f"/hold/{hold}/void")
        assert "Given back" in ada.said
        assert f"/hold/{hold}/void" not in (ada.page or await ada.get(receipt)).text
        await self._balances(world, ada, bob, ("21.00", "0.00"), ("4.00", "0.00"))

    async def test_the_payee_takes_all_or_gives_it_back(self, meet: Any, world: Any) -> None:
        ada, bob = await meet("Ada", eur="25.00"), await meet("Bob")
        taken, returned = await self._made(ada, bob), await self._made(ada, bob, "5")
        await bob.get(f"/activity/{taken}")
        await bob.send(f"/hold/{taken}/capture", amount="10.00")
        assert "Paid out of a hold" in bob.said
        await bob.get(f"/activity/{returned}")
        assert "Give it back" in bob.said
        await bob.send(f"/hold/{returned}/void")
        await self._balances(world, ada, bob, ("15.00", "0.00"), ("10.00", "0.00"))

    async def test_nobody_else_and_not_the_payer_takes_it(self, meet: Any, world: Any) -> None:
        ada, bob, eve = await meet("Ada", eur="25.00"), await meet("Bob"), await meet("Eve")
        hold = await self._made(ada, bob)
        await bob.get(f"/activity/{hold}")
        fields = {**bob.form(f"/hold/{hold}/capture"), "amount": "1"}
        for who in (eve, ada):
            await who.get("/hold")
            csrf = re.search(r'name="csrf" value="([^"]+)"', (who.page or bob.page).text)
            assert csrf
            answer = await who.post(f"/hold/{hold}/capture", {**fields, "csrf": csrf.group(1)})
            assert ("not_found" in answer.text) if who is eve else ("forbidden" in answer.text)
        await self._balances(world, ada, bob, ("15.00", "10.00"), None)

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"amount": "25.01"}, "insufficient_funds"),
            ({"amount": "0"}, "amount_not_positive"),
            ({"to": "@nobody_here"}, "recipient_not_found"),
            ({"seconds": "61"}, "invalid_field"),
        ],
    )
    async def test_what_cannot_be_is_said(
        self, meet: Any, fields: dict[str, str], code: str
    ) -> None:
        ada, bob = await meet("Ada", eur="25.00"), await meet("Bob")
        await ada.get("/hold")
        good = {"to": f"@{bob.user.handle}", "amount": "1", "asset": "EUR", "seconds": "3600"}
        page = await ada.send("/hold", **{**good, **fields})
        assert page.url.path == "/hold"
        assert code in ada.said

    async def _balances(self, world: Any, ada: Visitor, bob: Visitor, *expected: Any) -> None:
        """Available and held of each; None: no account."""
        async with world.services.db.transaction() as session:
            for who, wanted in zip((ada, bob), expected, strict=True):
                rows = await _ledger_balances(session, who.user.id)
                assert rows == ([] if wanted is None else [wanted])


async def _ledger_balances(session: Any, principal_id: str) -> list[tuple[str, str]]:
    return [
        (format_amount(one.available_minor, 2), format_amount(one.held_minor, 2))
        for one in await ledger.balances(session, principal_id=principal_id)
    ]
