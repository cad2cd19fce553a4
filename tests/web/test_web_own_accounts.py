"""Own accounts in a real browser over the real stack: words are made, brought and used, and no
secret ever leaves the page in clear."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from keys.testing import TEST_MNEMONIC
from tests.web.conftest import Person

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(240)]

PASSPHRASE = "nine horses and a lamp"
ANVIL_8 = "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"
OUTSIDE = "0x00000000000000000000000000000000000F00d3"


def test_made_brought_and_used(somebody: Callable[..., Person]) -> None:
    ada = somebody()
    ada.register("Ada")
    ada.go("/own-accounts")
    sent: list[str] = []
    ada.page.on("request", lambda request: sent.append(request.post_data or ""))
    ada.page.fill("#a-label", "New one")
    ada.page.select_option("#a-words", "12")
    ada.page.fill("#a-pass", PASSPHRASE)
    ada.page.click("form[data-own=ask] button[type=submit]")
    words = ada.page.locator("[data-words]")
    expect(words).to_be_visible(timeout=30_000)
    told = words.inner_text().split()
    assert len(told) == 12
    ada.page.click("#own-words a")
    expect(ada.page.get_by_text("New one").first).to_be_visible()
    assert told[0] + " " + told[1] not in ada.page.content()

    ada.page.select_option("#a-purpose", "import")
    ada.page.fill("#a-label", "From Anvil")
    ada.page.fill("#a-mnemonic", TEST_MNEMONIC)
    ada.page.fill("#a-index", "8")
    ada.page.fill("#a-pass", PASSPHRASE)
    ada.page.click("form[data-own=ask] button[type=submit]")
    expect(ada.page.get_by_text(ANVIL_8)).to_be_visible(timeout=30_000)

    ada.page.select_option("#o-account", label="From Anvil · 0x2361…1E8f")
    ada.page.fill("#o-amount", "0.25")
    ada.page.fill("#o-to", ANVIL_8)
    ada.page.fill("#o-pass", "not the passphrase")
    ada.page.click("form[data-own=send] button[type=submit]")
    expect(ada.page.get_by_text("wrong_passphrase")).to_be_visible(timeout=30_000)
    ada.page.select_option("#o-account", label="From Anvil · 0x2361…1E8f")
    ada.page.fill("#o-amount", "0.25")
    ada.page.fill("#o-to", ANVIL_8)
    ada.page.fill("#o-pass", PASSPHRASE)
    ada.page.click("form[data-own=send] button[type=submit]")
    expect(ada.page.locator(".state.good")).to_have_count(1, timeout=90_000)
    posted = " ".join(sent)
    for secret in (PASSPHRASE, PASSPHRASE.replace(" ", "+"), "not+the+passphrase", "junk"):
        assert secret not in posted
    assert "box=" in posted
