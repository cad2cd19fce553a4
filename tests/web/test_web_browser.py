"""What only a browser can show: inert payloads, Back, live refresh, languages, lost connection."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(240)]
Person = Any  # of conftest
PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ 7*7 }} ${7*7} <svg/onload=alert(3)>",
    "' x-data x-init=alert(4) '",
)


def test_payloads_are_inert(somebody: Callable[..., Person]) -> None:
    """A dialog or a console message would fail the fixture."""
    mallory, victim = somebody(), somebody()
    mallory.register(PAYLOADS[1])
    victim.register(PAYLOADS[0])
    to = victim.handle()
    mallory.faucet("USDC")
    mallory.until_credited("USDC")
    for note in PAYLOADS:
        mallory.send(to, "1", "USDC", note)
        mallory.page.click("form[action='/send/confirm'] button")
        mallory.finished("Completed")
    for person in (mallory, victim):
        for path in ("/home", "/activity", "/settings"):
            person.go(path)
            assert (
                person.page.locator("main script, main img[src='x'], main svg[onload]").count() == 0
            )
    victim.go("/activity")
    expect(victim.page.get_by_text(PAYLOADS[2])).to_be_visible()
    victim.page.locator(".rows a").first.click()
    expect(victim.page.locator(".facts")).to_contain_text(PAYLOADS[3].strip())


def test_back_keeps_what_was_typed(somebody: Callable[..., Person]) -> None:
    person, other = somebody(), somebody()
    person.register("Bea Back")
    other.register("Otto")
    to = other.handle()
    person.faucet("USDC")
    person.until_credited("USDC")
    person.send(to, "2.5", "USDC", "for the taxi")
    expect(person.page).to_have_url(re.compile("/send/review$"))
    person.page.go_back()
    for name, typed in (("to", to), ("amount", "2.5"), ("note", "for the taxi")):
        assert person.page.input_value(f"[name={name}]") == typed
    person.page.go_forward()
    person.page.reload()
    expect(person.page.locator(".sentence")).to_contain_text("2.500000 USDC")


def test_a_refused_sign_in_says_so_and_keeps_the_address(somebody: Callable[..., Person]) -> None:
    person = somebody()
    person.register("Sia Sign")
    person.go("/settings")
    person.page.click("form[action='/sign-out'] button")
    person.sign_in("not the right one")
    expect(person.page.get_by_role("alert")).to_contain_text("E-mail or password is wrong.")
    assert person.page.input_value("[name=email]") == person.email
    person.sign_in()
    expect(person.page).to_have_url(re.compile("/home$"))


def test_sessions_are_listed_and_can_be_ended(somebody: Callable[..., Person]) -> None:
    here, there = somebody(), somebody()
    here.register("Sven")
    there.email = here.email
    there.sign_in()
    expect(there.page).to_have_url(re.compile("/home$"))
    here.go("/settings")
    here.page.get_by_role("button", name="End it").click()
    expect(here.page.get_by_role("button", name="End it")).to_have_count(0)
    there.go("/settings")
    expect(there.page).to_have_url(re.compile("/sign-in"))


def test_language_by_browser_then_by_choice(somebody: Callable[..., Person]) -> None:
    person = somebody(locale="zh-CN")
    person.go("/sign-in")
    assert person.page.get_attribute("html", "lang") == "zh-Hans"
    person.register("小明", "CN")
    expect(person.page.get_by_role("heading", name="法币")).to_be_visible()
    person.go("/settings")
    person.page.click("#main button[name=language][value=en]")
    expect(person.page.get_by_role("heading", name="Settings")).to_be_visible()
    assert person.page.get_attribute("html", "lang") == "en"


def test_theme_by_system_then_by_choice(somebody: Callable[..., Person]) -> None:
    person = somebody(color_scheme="dark")
    person.register("Theo")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = person.page.evaluate(paper)
    person.go("/settings")
    person.page.click("#main button[name=theme][value=light]")
    expect(person.page.locator("html")).to_have_attribute("data-theme", "light")
    assert person.page.evaluate(paper) != dark


def test_copying_the_address_says_so(somebody: Callable[..., Person]) -> None:
    person = somebody(permissions=["clipboard-read", "clipboard-write"])
    person.register("Cosima Copy")
    person.go("/receive")
    person.page.get_by_role("button", name="Copy the address").click()
    expect(person.page.get_by_text("Copied").first).to_be_visible()
    address = person.page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch("0x[0-9a-fA-F]{40}", address)
    shown = person.page.locator(".address-block").inner_text()
    assert re.sub(r"\s", "", shown) == address


def test_a_lost_connection_is_told_and_mended(somebody: Callable[..., Person]) -> None:
    person = somebody()
    person.register("Lotte Lost")
    person.expected = "net::ERR"
    person.go("/home")
    lost = person.page.locator("#lost")
    expect(lost).to_be_hidden()
    person.page.context.set_offline(True)
    person.page.route("**/live*", lambda route: route.abort())
    person.page.evaluate("window.dispatchEvent(new Event('offline'))")
    expect(lost).to_be_visible(timeout=20_000)
    expect(person.page.locator(".total-figure")).to_be_visible()
    person.page.unroute("**/live*")
    person.page.context.set_offline(False)
    person.page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(lost).to_be_hidden(timeout=20_000)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(somebody: Callable[..., Person], width: int) -> None:
    person = somebody(viewport={"width": width, "height": 800})
    person.register("W" * 78)
    for path in ("/home", "/activity", "/send", "/receive", "/abroad/EUR-MX", "/settings"):
        person.go(path)
        assert person.page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_targets_are_large_enough_for_a_thumb(somebody: Callable[..., Person]) -> None:
    person = somebody(viewport={"width": 390, "height": 844}, has_touch=True)
    person.register("Tilda Thumb")
    for path in ("/home", "/receive", "/settings", "/abroad/EUR-MX"):
        person.go(path)
        small = person.page.evaluate(
            """() => [...document.querySelectorAll('button, [role=button], select, .tabs a, .door,'
                 + ' a.row, input:not([type=hidden]):not([type=radio])')]
              .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 43.5)
              .map(e => e.outerHTML.slice(0, 120))"""
        )
        assert small == [], path


def test_every_field_has_a_name(somebody: Callable[..., Person]) -> None:
    person = somebody()
    person.register("Nina Name")
    for path in ("/send", "/receive", "/abroad/EUR-MX", "/settings", "/activity"):
        person.go(path)
        nameless = person.page.evaluate(
            """() => [...document.querySelectorAll('input:not([type=hidden]), select')]
              .filter(e => !e.labels?.length && !e.getAttribute('aria-label'))
              .map(e => e.outerHTML)"""
        )
        assert nameless == [], path
