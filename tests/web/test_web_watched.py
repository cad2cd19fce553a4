"""Watching in a real browser over the real stack: figures come by themselves, secrets do not go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from keys import derivation
from keys.hd import HdNode
from keys.testing import test_seed as seed_of_the_test_phrase
from tests.web.conftest import Person

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_secret_never_leaves_the_page(somebody: Callable[..., Person]) -> None:
    ada = somebody()
    ada.register("Ada")
    ada.go("/watched")
    sent: list[str] = []
    ada.page.on("request", lambda request: sent.append(request.post_data or ""))
    account = HdNode.from_seed(seed_of_the_test_phrase()).derive("m/44'/60'/0'")
    words = "test " * 11 + "junk"
    for field, secret in (
        ("source", account.xprv().reveal()),
        ("label", account.xprv().reveal()),
        ("source", "0x" + "ab" * 32),
        ("source", words),
    ):
        ada.page.fill(f"[name={field}]", secret)
        expect(ada.page.locator(f"[name={field}]")).to_have_value("")
        expect(ada.page.get_by_text("taken out before it left")).to_be_visible()
        ada.page.click("form[action='/watched'] button[type=submit]")
        ada.page.wait_for_load_state()
        ada.go("/watched")
        assert secret not in ada.page.content()
    assert any("source=" in body for body in sent)  # the forms did go out, empty
    assert not [body for body in sent if "xprv" in body or "abab" in body or "junk" in body]


def test_the_figures_of_a_whole_account_come_by_themselves(
    somebody: Callable[..., Person],
) -> None:
    """Anvil endows the first accounts of the test phrase: m/44'/60'/0'/0/0 and on."""
    ada = somebody()
    ada.register("Ada")
    ada.go("/watched")
    ada.page.fill("[name=source]", derivation.account_xpub(seed_of_the_test_phrase(), 0))
    ada.page.fill("[name=label]", "Ledger")
    ada.page.click("form[action='/watched'] button[type=submit]")
    expect(ada.page.get_by_role("heading", name="Ledger")).to_be_visible()
    expect(ada.page.get_by_text("Watched, not held here")).to_be_visible()
    first = ada.page.locator(".holding .money").first  # the coin itself stands first
    expect(first).to_contain_text("ETH", timeout=60_000)
    expect(ada.page.get_by_text("0xf39F…2266")).to_be_visible(timeout=60_000)
    ada.go("/home")
    expect(ada.page.locator("main")).not_to_contain_text("Ledger")
