"""Pictures of every page, to be looked at: `python tests/web/shots.py URL [FOLDER [NAME…]]`.

Needs a running sandbox (`./dev run`). Plays enough of the story that every page has something to
show, then takes each page at 390×844 and 1280×800, light and dark, English and Chinese. The folder
defaults to `.cache/shots`, which git ignores; with names, only those pages, with the same story
behind them. Prints pages that overflow or complain.
"""

from __future__ import annotations

import itertools
import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eth_account import Account
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.web.page_wallet import TestWallet

PASSPHRASE = "nine horses and a lamp"
PASSWORD = "an unlikely passphrase 7"
SIZES = ((390, 844), (1280, 800))
THEMES = ("light", "dark")
LANGUAGES = ("en", "zh-Hans")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
LONG_NAME = "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh Ngũgĩ"
OUTSIDE = "0x52908400098527886E0F7030069857D2E4169EE7"


def register(page: Page, url: str, name: str, country: str) -> None:
    page.goto(url + "/register")
    page.fill("[name=display_name]", name)
    page.fill("[name=email]", f"{secrets.token_hex(5)}@example.org")
    page.fill("[name=password]", PASSWORD)
    page.select_option("[name=country]", country)
    page.click("form[action='/register'] button")
    page.wait_for_url("**/home")


def handle(page: Page, url: str) -> str:
    page.goto(url + "/settings")
    return "@" + page.input_value("[name=handle]")


def fill(page: Page, url: str, path: str, values: dict[str, str], submit: str) -> None:
    page.goto(url + path)
    for name, value in values.items():
        field = page.locator(f"main [name={name}]").first
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    page.click(submit)
    page.wait_for_load_state()


def _submit(action: str) -> str:
    return f"form[action='{action}'] button[type=submit]"


def play(page: Page, url: str, others: list[str]) -> dict[str, str]:
    """Make something of every kind happen; returns names and paths of the pages that show it."""
    paths: dict[str, str] = {}
    for coin in ("USDC", "ETH"):
        page.goto(url + "/receive")
        page.click(f"button[name=coin][value={coin}]")
        page.wait_for_load_state()
    page.goto(url + "/home")
    figures = page.locator(".chains .holding-figure > .money")
    expect(figures).to_have_count(2, timeout=90_000)
    expect(page.locator(".chains .holding-notes small")).to_have_count(0, timeout=90_000)
    convert_form, withdraw_form = _submit("/convert"), _submit("/withdraw")
    send = _submit("/send")
    for to, amount, note in zip(
        others, ("50.25", "12.5"), ("午饭 / lunch", "rent " * 30), strict=True
    ):
        fill(page, url, "/send", {"to": to, "amount": amount, "asset": "USDC", "note": note}, send)
        page.click("form[action='/send/confirm'] button")
        page.wait_for_url("**/activity/**")
        paths["receipt-transfer"] = page.url.removeprefix(url)
    convert = {"amount": "400", "asset": "USDC", "target": "EUR"}
    fill(page, url, "/convert", convert, convert_form)
    page.click("form[action$='/confirm'] button")
    page.wait_for_url("**/activity/**")
    paths["receipt-conversion"] = page.url.removeprefix(url)
    fill(
        page,
        url,
        "/convert",
        {**convert, "amount": "25"},
        convert_form,
    )
    paths["convert-review"] = page.url.removeprefix(url)
    person = {"name": "María Fernández", "clabe": "032180000118359719"}
    fill(page, url, "/abroad/EUR-MX", person, _submit("/abroad/EUR-MX"))
    paths["abroad-amount"] = page.url.removeprefix(url)
    money = {"amount": "40", "purpose": "family_support", "reference": "Para mamá"}
    fill(page, url, paths["abroad-amount"], money, "main form.sheet button[type=submit]")
    page.click("form[action$='/confirm'] button")
    page.wait_for_url("**/activity/**")
    paths["receipt-payment"] = page.url.removeprefix(url)
    fill(page, url, paths["abroad-amount"], money, "main form.sheet button[type=submit]")
    paths["abroad-review"] = page.url.removeprefix(url)
    out = {"to_address": OUTSIDE, "amount": "0.5", "asset": "ETH"}
    fill(page, url, "/withdraw", out, withdraw_form)
    page.click("form[action='/withdraw/confirm'] button")
    page.wait_for_url("**/activity/**")
    paths["receipt-withdrawal"] = page.url.removeprefix(url)
    page.goto(url + "/activity?kind=deposit")
    paths["receipt-deposit"] = str(page.locator(".rows a").first.get_attribute("href"))
    fill(
        page,
        url,
        "/withdraw",
        {**out, "asset": "USDC", "amount": "20"},
        withdraw_form,
    )
    paths["withdraw-review"] = "/withdraw/review"
    values = {"to": others[0], "amount": "1,000.5", "asset": "USDC", "note": "x"}
    fill(page, url, "/send", {**values, "amount": "5"}, send)
    paths["send-review"] = "/send/review"
    aside = {"to": others[0], "amount": "20", "asset": "USDC", "note": "押金 / for the bike"}
    fill(page, url, "/hold", aside, _submit("/hold"))
    page.click("form[action='/hold/confirm'] button")
    page.wait_for_url("**/activity/**")
    paths["receipt-hold"] = page.url.removeprefix(url)
    fill(page, url, "/hold", aside, _submit("/hold"))
    paths["hold-review"] = "/hold/review"
    return paths


def own(page: Page, url: str) -> None:
    """Two own accounts, one of words and one of a key file, and a payment that fails."""
    page.goto(url + "/own-accounts")
    page.fill("#a-label", "Savings of my own")
    page.fill("#a-pass", PASSPHRASE)
    page.click("form[data-own=ask] button")
    expect(page.locator("[data-words]")).to_be_visible(timeout=30_000)
    page.click("#own-words a")
    page.wait_for_load_state()
    document = Account.encrypt(secrets.token_bytes(32), "testpassword", iterations=2)
    with tempfile.TemporaryDirectory() as room:
        file = Path(room) / "key"
        file.write_text(json.dumps(document))
        page.select_option("#a-purpose", "file")
        page.fill("#a-label", "旧钱包 / from geth")
        page.fill("#a-pass", PASSPHRASE)
        page.set_input_files("#a-file", file)
        page.fill("#a-password", "testpassword")
        page.click("form[data-own=ask] button")
        page.wait_for_selector("[data-own=export]")
        expect(page.locator("#live .rows li")).to_have_count(2, timeout=30_000)
    page.fill("#o-amount", "0.25")
    page.fill("#o-to", OUTSIDE)
    page.fill("#o-pass", PASSPHRASE)
    page.click("form[data-own=send] button")
    expect(page.locator(".state.bad")).to_have_count(1, timeout=60_000)


def own_states(page: Page) -> Any:
    """What the page of own accounts shows only after a click, one name at a time."""
    page.select_option("#a-purpose", "import")
    yield "own-words"
    page.select_option("#a-purpose", "file")
    page.click("form[data-own=ask] button")
    yield "own-file"
    page.fill("#e-pass", PASSPHRASE)
    page.fill("#e-password", "a word for the file")
    page.click("form[data-own=export] button")
    expect(page.locator("#own-file")).to_be_visible(timeout=30_000)
    yield "own-saved"


def link_wallet(context: BrowserContext, page: Page, url: str) -> TestWallet:
    """A wallet in this browser, linked to the person."""
    page.goto(url + "/receive")
    chain = json.loads(page.get_attribute("[data-wallet=pay]", "data-chain") or "")
    wallet = TestWallet(str(chain["rpc"][0]))
    wallet.into(page)
    page.goto(url + "/settings")
    page.fill("#f-link-password", PASSWORD)
    page.get_by_role("button", name="Link Adler").click()
    expect(page.locator("#wallets .wallet-row")).to_have_count(1)
    return wallet


def pictures(
    browser: Browser,
    url: str,
    folder: Path,
    state: Any,
    paths: dict[str, str],
    mark: str,
    wallet: TestWallet | None = None,
) -> set[str]:
    """Every page in every dress; the names that were taken."""
    if not paths:
        return set()
    for (width, height), theme, language in itertools.product(SIZES, THEMES, LANGUAGES):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, storage_state=state
        )
        page = context.new_page()
        if wallet is not None:
            wallet.into(page)
        page.on("console", lambda m: m.type == "error" and print("  console:", m.text))
        page.goto(url + paths.get("door", "/settings"))
        page.click(f"#main button[name=language][value={language}]")
        page.wait_for_load_state()
        for name, path in paths.items():
            page.goto(url + path)
            page.wait_for_timeout(150)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                print(f"  {name} overflows: {wide} > {width} ({language}, {theme})")
            file = folder / f"{mark}{name}-{width}-{theme}-{language[:2]}.png"
            page.screenshot(path=file, full_page=width < 700 or name in WHOLE)
            for more in own_states(page) if name == "own" and not mark else ():
                page.screenshot(path=str(file).replace("own-", more + "-", 1), full_page=True)
        context.close()
    return set(paths)


PLAIN = {
    "home": "/home", "activity": "/activity", "receive": "/receive", "send": "/send",
    "withdraw": "/withdraw", "convert": "/convert", "abroad": "/abroad",
    "abroad-recipient": "/abroad/EUR-MX", "recipients": "/recipients", "limits": "/limits",
    "settings": "/settings", "top-up": "/top-up", "hold": "/hold",
    "statements": "/statements?asset=USDC",
    "own": "/own-accounts", "watched": "/watched", "lost": "/nowhere",
}  # fmt: skip
WHOLE = ("own", "receive", "settings")
"""Long pages, taken whole at every size."""
OUTER = {"door": "/sign-in", "register": "/register"}


def main(url: str, folder: Path, only: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    def chosen(paths: dict[str, str]) -> dict[str, str]:
        return {name: path for name, path in paths.items() if not only or name in only}

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        people = []
        for name, country in (("林小雨", "CN"), (LONG_NAME, "KE"), ("Ada Lovelace", "DE")):
            context = browser.new_context()
            page = context.new_page()
            page.set_default_timeout(20_000)
            register(page, url, name, country)
            people.append((context, page))
        (_, lin), (_, long), (context, ada) = people
        paths = PLAIN | play(ada, url, [handle(lin, url), handle(long, url)])
        if not only or "own" in only:
            own(ada, url)
        wallet = link_wallet(context, ada, url)
        state = context.storage_state()
        taken = pictures(browser, url, folder, state, chosen(paths), "", wallet)
        register(fresh := browser.new_context().new_page(), url, "Nora New", "FR")
        nothing = {name: PLAIN[name] for name in ("home", "activity", "send", "recipients", "own")}
        clean = fresh.context.storage_state()
        taken |= pictures(browser, url, folder, clean, chosen(nothing), "empty-")
        taken |= pictures(browser, url, folder, None, chosen(OUTER), "")
        browser.close()
    if unknown := set(only) - taken:
        sys.exit(f"no such page: {', '.join(sorted(unknown))}")


if __name__ == "__main__":
    main(
        sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://localhost:8000",
        Path(sys.argv[2] if len(sys.argv) > 2 else ".cache/shots"),
        sys.argv[3:],
    )
