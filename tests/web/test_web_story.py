"""The whole story in a browser, on the real stack: chain, worker, bank and books."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(420)]

WAIT_MS = 60_000
Person = Any  # of conftest
CLABE = "032180000118359719"
IBAN = "DE89 3704 0044 0532 0130 00"

OFF_MIDDLE = """button => {
    const words = document.createRange(); words.selectNodeContents(button);
    const [inner, outer] = [words, button].map((one) => one.getBoundingClientRect());
    return Math.abs(inner.top + inner.bottom - outer.top - outer.bottom) / 2;
}"""


def deposit(person: Person) -> None:
    """Steps 2: an own address, coins from the faucet, seen, counted, credited."""
    person.go("/receive")
    address = person.page.locator(".address-block").inner_text().replace("\n", "").replace(" ", "")
    assert re.fullmatch(r"0x[0-9a-fA-F]{40}", address)
    quoted = person.page.locator(".qr img")
    assert quoted.evaluate("image => image.complete && image.naturalWidth > 0")
    assert person.page.get_attribute("a[href^='ethereum:']", "href").startswith(
        f"ethereum:{address}"
    )
    person.faucet("USDC")
    person.go("/home")
    expect(person.page.get_by_text(re.compile(r"pending: \d of 8 confirmations"))).to_be_visible(
        timeout=WAIT_MS
    )
    person.faucet("ETH")
    person.until_credited("USDC")
    person.until_credited("ETH")


def transfer(payer: Person, payee: Person) -> None:
    """Step 3: instant, free, seen by the other side without reloading."""
    to = payee.handle()
    payee.go("/home")
    payer.send(to, "50.25", "USDC", "lunch")
    expect(payer.page.locator(".sentence")).to_contain_text("50.250000 USDC")
    payer.page.click("form[action='/send/confirm'] button")
    payer.finished("Completed")
    expect(payee.page.locator(".holding", has_text="USDC")).to_contain_text(
        "50.250000", timeout=WAIT_MS
    )


def convert(person: Person) -> None:
    """Step 4: a locked price with all that is in it."""
    person.go("/convert")
    person.page.fill("[name=amount]", "100")
    person.page.select_option("[name=asset]", "USDC")
    person.page.select_option("[name=target]", "EUR")
    person.page.click("form[action='/convert'] button[type=submit]")
    expect(person.page.locator(".countdown")).to_contain_text(re.compile(r"Locked for 0:[0-5]\d"))
    for words in ("Mid rate", "Our margin", "Your rate", "You get"):
        expect(person.page.locator(".facts")).to_contain_text(words)
    person.page.click("form[action$='/confirm'] button")
    person.finished("Completed")


def abroad(person: Person, corridor: str, account: tuple[str, str], amount: str) -> None:
    """Step 5: corridor, recipient, price, review, timeline."""
    person.go(f"/abroad/{corridor}")
    person.page.fill("[name=name]", "María Fernández")
    person.page.fill(f"[name={account[0]}]", account[1][:-1] + "1")
    person.page.click(f"form[action='/abroad/{corridor}'] button[type=submit]")
    expect(person.page.locator(f"#f-{account[0]}-problem")).to_contain_text("cannot be right")
    assert person.page.input_value("[name=name]") == "María Fernández"
    person.page.fill(f"[name={account[0]}]", account[1])
    person.page.click(f"form[action='/abroad/{corridor}'] button[type=submit]")
    person.page.fill("[name=amount]", amount)
    person.page.select_option("[name=purpose]", "family_support")
    person.page.click("main form.sheet button[type=submit]")
    expect(person.page.locator(".sentence")).to_contain_text("María Fernández receives")
    person.page.click("form[action$='/confirm'] button")
    person.finished("Completed")
    expect(person.page.locator(".timeline")).to_contain_text("Arrived")


def withdraw(person: Person, to: str, amount: str, asset: str) -> None:
    """Step 6: estimate with a bound, then held to settled."""
    person.go("/withdraw")
    person.page.fill("[name=to_address]", to)
    person.page.fill("[name=amount]", amount)
    person.page.select_option("[name=asset]", asset)
    person.page.click("form[action='/withdraw'] button[type=submit]")
    facts = person.page.locator(".facts")
    expect(facts).to_contain_text("Fee, at most")
    tops = "form => [...form.children].filter(e => e.checkVisibility()).map(e => e.offsetTop)"
    assert len(set(person.page.locator("form.actions").evaluate(tops))) == 1  # side by side
    person.page.click("form[action='/withdraw/confirm'] button")
    person.finished("Settled")
    expect(person.page.locator(".facts")).to_contain_text("Fee charged")


def test_the_whole_story(somebody: Callable[..., Person], stranger: str) -> None:
    ada, lin = somebody(), somebody()
    ada.register("Ada Lovelace")
    lin.register("林小雨", "CN")
    deposit(ada)
    transfer(ada, lin)
    convert(ada)
    abroad(ada, "EUR-MX", ("clabe", CLABE), "40")
    abroad(ada, "USDC-EU", ("iban", IBAN), "25")
    withdraw(ada, stranger, "0.5", "ETH")
    withdraw(ada, stranger, "20", "USDC")
    ada.go("/activity")
    expect(ada.page.locator(".rows > li")).to_have_count(8)
    short = ada.page.locator(".rows b", has_text="0x").first
    short.evaluate("element => element.style.width = '7ch'")
    lines = "element => element.querySelector('span').getClientRects().length"
    assert short.evaluate(lines) == 1  # a short address never breaks inside itself
    ada.go("/recipients")
    assert ada.page.locator(".small-button").first.evaluate(OFF_MIDDLE) < 2
