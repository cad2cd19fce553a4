"""A whole sandbox and a real browser. `BIFOLD_WEB_TEST_URL` names a running sandbox instead."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from wallet.sandbox.temporary import TemporarySandbox

PASSWORD = "an unlikely passphrase 7"
WAIT_MS = 60_000
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    """Where the web app is: the real stack, with its worker, chain and bank."""
    running = os.environ.get("BIFOLD_WEB_TEST_URL")
    if running:
        yield running.rstrip("/")
        return
    with TemporarySandbox() as sandbox:
        yield sandbox.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium. A module at a time: while it lives its loop runs in this thread, and
    no asynchronous test of another room could."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@dataclass
class Person:
    """Somebody in front of a browser."""

    page: Page
    url: str
    email: str
    complaints: list[str] = field(default_factory=list)
    expected: str = "nothing is"  # words of complaints that the test itself causes

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def register(self, name: str, country: str = "DE") -> None:
        self.go("/register")
        self.page.fill("[name=display_name]", name)
        self.page.fill("[name=email]", self.email)
        self.page.fill("[name=password]", PASSWORD)
        self.page.select_option("[name=country]", country)
        self.page.click("form[action='/register'] button")
        expect(self.page).to_have_url(self.url + "/home")

    def sign_in(self, password: str = PASSWORD) -> None:
        self.go("/sign-in")
        self.page.fill("[name=email]", self.email)
        self.page.fill("[name=password]", password)
        self.page.click("form[action='/sign-in'] button")

    def handle(self) -> str:
        self.go("/settings")
        return "@" + self.page.input_value("[name=handle]")

    def send(self, to: str, amount: str, asset: str, note: str = "") -> None:
        """Fill in the form of an internal transfer and ask for the review."""
        self.go("/send")
        self.page.fill("[name=to]", to)
        self.page.fill("[name=amount]", amount)
        self.page.select_option("[name=asset]", asset)
        self.page.fill("[name=note]", note)
        self.page.click("form[action='/send'] button[type=submit]")

    def faucet(self, coin: str) -> None:
        self.go("/receive")
        self.page.click(f"button[name=coin][value={coin}]")
        expect(self.page.get_by_role("status").filter(has_text="Play coins")).to_be_visible()

    def until_credited(self, coin: str) -> None:
        """Stay on the home page until the coin is spendable; nobody reloads anything."""
        self.go("/home")
        holding = self.page.locator(".holding", has_text=coin)
        expect(holding.locator(".holding-figure > .money")).to_have_text(
            re.compile("[1-9]"), timeout=WAIT_MS
        )
        expect(holding.get_by_text("pending")).to_have_count(0, timeout=WAIT_MS)

    def finished(self, words: str) -> None:
        """The receipt says so by itself, live."""
        expect(self.page.locator(".hero .state").first).to_have_text(words, timeout=WAIT_MS)


@pytest.fixture
def somebody(browser: Browser, sandbox_url: str) -> Iterator[Callable[..., Person]]:
    """Makes people, each with a browser of their own; at the end no console may have complained."""
    contexts: list[BrowserContext] = []
    people: list[Person] = []
    numbers = itertools.count(1)

    def make(**options: object) -> Person:
        context = browser.new_context(**{"locale": "en-GB", **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        email = f"w{secrets.token_hex(5)}{next(numbers)}@example.org"
        person = Person(page, sandbox_url, email)
        page.on(
            "console",
            lambda message: (
                person.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: person.complaints.append(str(error)))
        page.on("dialog", lambda dialog: person.complaints.append(f"dialog: {dialog.message}"))
        people.append(person)
        return person

    yield make
    for context in contexts:
        context.close()
    heard = [one for p in people for one in p.complaints if p.expected not in one]
    assert heard == []


@pytest.fixture
def plain_client(sandbox_url: str) -> Iterator[httpx2.Client]:
    """A browser without JavaScript, as far as the server can tell."""
    with httpx2.Client(base_url=sandbox_url, follow_redirects=True, timeout=30) as client:
        yield client


def outside_address() -> str:
    """A fresh address of nobody here, lower case: no checksum to get wrong."""
    return "0x" + secrets.token_hex(20)


@pytest.fixture
def stranger() -> str:
    """Where withdrawals go."""
    return outside_address()
