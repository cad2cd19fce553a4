"""The main forms by plain HTTP, as a browser without JavaScript sends them; and forged ones."""

from __future__ import annotations

import html
import re
import secrets
import time
from collections.abc import Iterator

import httpx2
import pytest

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(240)]
PASSWORD = "an unlikely passphrase 7"
BAD_AMOUNTS = (
    ("0", "amount_not_positive"),
    ("1.0000001", "amount_precision"),
    ("1_000", "amount_malformed"),
    ("１２", "amount_malformed"),
    ("+5", "amount_malformed"),
    ("-5", "amount_malformed"),
    ("1e3", "amount_malformed"),
    ("NaN", "amount_malformed"),
    ("1,5", "amount_malformed"),
    ("9" * 40, "amount_too_large"),
    ("2000", "insufficient_funds"),
)
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


class Plain:
    """A page at a time: reads a form, fills it in, sends it."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client
        self.page: httpx2.Response = client.get("/")

    def get(self, path: str) -> httpx2.Response:
        self.page = self.client.get(path)
        return self.page

    def form(self, action: str) -> dict[str, str]:
        """The hidden fields of the form with this action on the current page."""
        found = re.search(
            rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', self.page.text, re.S
        )
        assert found, f"no form {action} on {self.page.url}"
        return {name: html.unescape(value) for name, value in HIDDEN.findall(found.group(1))}

    def send(self, action: str, **fields: str) -> httpx2.Response:
        data = {**self.form(action), **fields}
        self.page = self.client.post(action, data=data)
        return self.page

    def register(self, name: str) -> None:
        self.get("/register")
        email = f"{secrets.token_hex(6)}@example.org"
        self.send("/register", display_name=name, email=email, password=PASSWORD, country="DE")
        assert self.page.url.path == "/home", self.page.text[:3000]

    def handle(self) -> str:
        self.get("/settings")
        found = re.search(r'name="handle"[^>]*value="([^"]+)"', self.page.text)
        assert found
        return "@" + found.group(1)

    def balance(self, code: str) -> str:
        self.get("/home")
        text = re.sub(r"<[^>]+>", "", self.page.text).replace("\u00a0", " ")
        found = re.search(rf"([0-9.,]+) {code}\b(?! held)", text.split("On chains")[-1])
        return found.group(1) if found else "0"


@pytest.fixture
def plain(plain_client: httpx2.Client) -> Plain:
    return Plain(plain_client)


@pytest.fixture
def other(sandbox_url: str) -> Iterator[Plain]:
    with httpx2.Client(base_url=sandbox_url, follow_redirects=True, timeout=30) as client:
        yield Plain(client)


def funded(person: Plain) -> None:
    person.get("/receive")
    person.send("/receive/local/faucet", coin="USDC")
    assert "on their way" in person.page.text
    deadline = time.monotonic() + 60
    while person.balance("USDC") != "1,000.000000":
        assert time.monotonic() < deadline, "the deposit never came"
        time.sleep(0.5)


class TestWithoutJavaScript:
    def test_money_moves_by_forms_alone(self, plain: Plain, other: Plain) -> None:
        plain.register("Pia Plain")
        other.register("Otto Other")
        to = other.handle()
        funded(plain)
        plain.get("/send")
        assert plain.send("/send", to=to, amount="5", asset="USDC", note="hi").url.path == (
            "/send/review"
        )
        fields = plain.form("/send/confirm")
        plain.send("/send/confirm")
        receipt = plain.page.url
        assert receipt.path.startswith("/activity/trf_")
        again = plain.client.post("/send/confirm", data=fields)
        assert again.url.path == receipt.path  # the same key leads to the same receipt
        assert other.balance("USDC") == "5.000000"
        changed = plain.client.post("/send/confirm", data={**fields, "amount": "6"})
        assert "idempotency_mismatch" in changed.text
        assert other.balance("USDC") == "5.000000"

    def test_a_price_can_be_taken(self, plain: Plain) -> None:
        plain.register("Petra Price")
        funded(plain)
        plain.get("/convert")
        plain.send("/convert", amount="100", asset="USDC", target="EUR")
        plain.send(plain.page.url.path + "/confirm")
        assert plain.page.url.path.startswith("/activity/cnv_")

    def test_waiting_pages_look_again_by_themselves(self, plain: Plain) -> None:
        plain.register("Wanda Wait")
        plain.get("/receive")
        plain.send("/receive/local/faucet", coin="ETH")
        deadline = time.monotonic() + 30
        while '<noscript><meta http-equiv="refresh" content="10">' not in plain.get("/home").text:
            assert time.monotonic() < deadline, "no refresh while a deposit counts"
            time.sleep(0.2)

    def test_refusals_stand_beside_their_field_and_keep_what_was_typed(self, plain: Plain) -> None:
        plain.register("Fred Fault")
        funded(plain)
        plain.get("/send")
        plain.send("/send", to="@nobody_here", amount="1e3", asset="USDC", note="<b>kept</b>")
        assert plain.page.url.path == "/send"
        assert 'aria-describedby="f-to-problem' in plain.page.text
        assert "recipient_not_found" in plain.page.text
        assert 'value="1e3"' in plain.page.text
        assert "&lt;b&gt;kept&lt;/b&gt;" in plain.page.text

    def test_every_bad_amount_has_its_words_and_moves_nothing(
        self, plain: Plain, other: Plain
    ) -> None:
        other.register("Olga")
        plain.register("Anton")
        funded(plain)
        to = other.handle()
        for amount, code in BAD_AMOUNTS:
            plain.get("/send")
            plain.send("/send", to=to, amount=amount, asset="USDC", note="")
            assert plain.page.status_code == 200
            assert f'<span class="problem-code">{code}</span>' in plain.page.text, amount
        assert plain.balance("USDC") == "1,000.000000"


class TestForgedForms:
    def test_a_form_needs_its_token(self, plain: Plain) -> None:
        plain.register("Cora")
        for token in ("", "0" * 64):
            answer = plain.client.post("/settings", data={"csrf": token, "display_name": "Mallory"})
            assert answer.status_code == 403
            assert "form_expired" in answer.text
        assert "Mallory" not in plain.get("/settings").text

    def test_the_token_of_another_session_is_refused(self, plain: Plain, other: Plain) -> None:
        plain.register("Cora")
        other.register("Carl")
        other.get("/settings")
        stolen = other.form("/settings")["csrf"]
        answer = plain.client.post("/settings", data={"csrf": stolen, "display_name": "Mallory"})
        assert answer.status_code == 403

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost:1"},
            {"Sec-Fetch-Site": "cross-site"},
        ],
    )
    def test_another_site_cannot_send_it(self, plain: Plain, headers: dict[str, str]) -> None:
        plain.register("Cora")
        plain.get("/settings")
        answer = plain.client.post("/settings", data=plain.form("/settings"), headers=headers)
        assert answer.status_code == 403
        assert "foreign_origin" in answer.text

    def test_other_encodings_are_refused(self, plain: Plain) -> None:
        plain.register("Cora")
        plain.get("/settings")
        fields = plain.form("/settings")
        assert plain.client.post("/settings", json=fields).status_code == 400
        assert plain.client.post("/settings", content=b"\xff=\xff").status_code == 400

    def test_next_never_leads_away(self, plain: Plain) -> None:
        plain.register("Nele")
        for target in ("https://evil.example", "//evil.example", "/\\evil.example"):
            answer = plain.client.get("/sign-in", params={"next": target}, follow_redirects=False)
            assert answer.headers["location"] == "/home"

    def test_a_draft_of_another_session_is_not_shown(self, plain: Plain) -> None:
        plain.register("Dora")
        funded(plain)
        plain.get("/send")
        plain.send("/send", to="@nobody_here", amount="1", asset="USDC", note="secret plan")
        kept = plain.client.cookies.get("bifold_draft_send")
        assert kept
        plain.get("/settings")
        plain.send("/sign-out")
        plain.register("Doris")
        plain.client.cookies.set("bifold_draft_send", kept)
        assert "secret plan" not in plain.get("/send").text


class TestHeaders:
    def test_every_page_is_strict(self, plain: Plain) -> None:
        for path in ("/sign-in", "/nowhere", "/static/app.js", "/static/vendor/htmx.min.js"):
            headers = plain.get(path).headers
            policy = headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert headers["x-frame-options"] == "DENY"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"

    def test_nothing_inline_in_any_page(self, plain: Plain) -> None:
        plain.register("Ina Line")
        paths = (
            "/home", "/activity", "/send", "/withdraw", "/receive", "/convert", "/abroad",
            "/abroad/EUR-MX", "/recipients", "/limits", "/settings", "/nowhere", "/top-up",
            "/hold", "/statements",
        )  # fmt: skip
        for path in paths:
            text = plain.get(path).text
            assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
            assert not re.search(r"\sstyle=", text), path
            assert not re.search(r"\son[a-z]+=", text), path
            assert "hx-on" not in text, path

    def test_the_session_cookie_is_out_of_reach(self, plain: Plain) -> None:
        plain.get("/register")
        fields = plain.form("/register")
        answer = plain.client.post(
            "/register",
            data={
                **fields,
                "display_name": "Coco",
                "email": f"{secrets.token_hex(6)}@example.org",
                "password": PASSWORD,
                "country": "DE",
            },
            follow_redirects=False,
        )
        cookie = next(
            line
            for line in answer.headers.get_list("set-cookie")
            if line.startswith("bifold_session=bfs_")
        )
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Path=/" in cookie

    def test_private_pages_are_not_kept(self, plain: Plain) -> None:
        plain.register("Priva")
        assert plain.get("/home").headers["cache-control"] == "private, no-store"

    def test_static_files_are_kept_for_ever_under_their_version(self, plain: Plain) -> None:
        found = re.search(r"/static/app\.css\?v=[0-9a-f]+", plain.get("/sign-in").text)
        assert found
        assert "immutable" in plain.get(found.group()).headers["cache-control"]


class TestPaths:
    def test_pages_of_members_ask_to_sign_in_and_come_back(self, plain: Plain) -> None:
        answer = plain.client.get("/limits", follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/sign-in?next=/limits"

    def test_unknown_pages_are_pages_and_unknown_routes_are_problems(self, plain: Plain) -> None:
        page = plain.get("/nowhere/at/all")
        assert page.status_code == 404
        assert page.headers["content-type"].startswith("text/html")
        for path in ("/v1/nowhere", "/v1", "/sandbox/nowhere"):
            problem = plain.get(path)
            assert problem.status_code == 404
            assert problem.headers["content-type"] == "application/problem+json"

    def test_a_cookie_opens_no_api(self, plain: Plain) -> None:
        plain.register("Cookie")
        assert plain.get("/v1/balances").status_code == 401

    def test_somebody_elses_receipt_is_not_found(self, plain: Plain, other: Plain) -> None:
        plain.register("Eva")
        other.register("Eve")
        funded(plain)
        plain.get("/activity")
        mine = re.search(r"/activity/dep_\w+", plain.page.text)
        assert mine
        assert plain.get(mine.group()).status_code == 200
        assert other.get(mine.group()).status_code == 404

    def test_a_revoked_session_is_over(self, plain: Plain, other: Plain) -> None:
        plain.register("Rita")
        old = plain.client.cookies.get("bifold_session")
        plain.get("/settings")
        plain.send("/sign-out")
        other.client.cookies.set("bifold_session", old or "")
        assert other.get("/home").url.path == "/sign-in"
