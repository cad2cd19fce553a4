"""Topping up in a browser: a card, its confirmation, a receipt that lives; and a transfer."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2
from playwright.sync_api import expect

from tests.web.conftest import Person


def add_card(person: Person, name: str) -> None:
    person.go("/top-up")
    summary = person.page.locator("details.more > summary")
    if person.page.locator("details.more[open]").count() == 0:
        summary.click()
    person.page.select_option("[name=test_card]", name)
    person.page.click("form[action='/top-up/cards'] button")
    expect(person.page.locator("form[action='/top-up'][method=post]")).to_be_visible()


def pay(person: Person, amount: str) -> str:
    person.page.fill("[name=amount]", amount)
    person.page.click("form[action='/top-up'][method=post] button[type=submit]")
    person.page.wait_for_url("**/activity/**")
    return person.page.url.rpartition("/")[2]


def test_a_card_tops_up_by_itself(somebody: Callable[..., Person]) -> None:
    ada = somebody()
    ada.register("Ada Lovelace")
    add_card(ada, "visa_ok")
    pay(ada, "25.50")
    ada.finished("Succeeded")
    ada.go("/home")
    expect(ada.page.locator(".holding", has_text="EUR").locator(".holding-figure")).to_contain_text(
        "25.50"
    )
    expect(ada.page.locator(".rows a", has_text="Top-up")).to_have_count(1)


def test_three_d_secure_is_asked_and_answered(somebody: Callable[..., Person]) -> None:
    ada = somebody()
    ada.register("Ada Lovelace")
    add_card(ada, "mastercard_three_d_secure")
    pay(ada, "10")
    confirm = ada.page.get_by_role("button", name="Confirm the payment")
    expect(confirm).to_be_visible(timeout=60_000)  # the receipt says so without a reload
    confirm.click()
    expect(ada.page.get_by_text("simulated").first).to_be_visible()
    ada.page.get_by_role("button", name="Yes, it is me").click()
    ada.page.wait_for_url("**/activity/**")
    ada.finished("Succeeded")


def test_a_transfer_with_the_reference_arrives(
    somebody: Callable[..., Person], sandbox_url: str
) -> None:
    ada = somebody()
    ada.register("Ada Lovelace")
    ada.go("/top-up?asset=USD")
    facts = ada.page.locator("[aria-labelledby=by-bank]")
    expect(facts).to_contain_text("SIM-USD")
    reference = facts.locator("[data-copy^=RF]").get_attribute("data-copy") or ""
    assert re.fullmatch(r"RF[0-9]{2}[0-9A-Z]{10}", reference)
    with httpx2.Client(base_url=sandbox_url) as client:
        other = client.post(
            "/v1/users",
            json={"email": f"{reference.lower()}@example.org", "display_name": "Somebody else",
                  "password": "an unlikely passphrase 7", "country": "DE"},
        )  # fmt: skip
        # The bank goes by what is written on it, whoever the sandbox was told.
        arrived = client.post(
            "/sandbox/bank-credits",
            json={"user": other.json()["id"], "reference": f"for {reference}",
                  "money": {"amount": "7.00", "asset": "USD"}},
        )  # fmt: skip
    assert arrived.json()["status"] == "succeeded", arrived.text
    ada.go("/home")
    expect(ada.page.locator(".holding", has_text="USD").locator(".holding-figure")).to_contain_text(
        "7.00"
    )
