"""Own accounts in a real browser over the real stack: words are made, brought and used, and no
secret ever leaves the page in clear."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from eth_account import Account
from playwright.sync_api import expect

from keys.testing import TEST_MNEMONIC
from tests.web.conftest import Person

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(240)]

PASSPHRASE = "nine horses and a lamp"
ANVIL_8 = "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"
FILE_WORD = "a word for the file"
VECTOR = json.loads(
    (Path(__file__).parents[1] / "keys" / "vectors" / "keystore_v3.json").read_text("utf-8")
)["test2"]
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
    refused = ada.page.get_by_text("This passphrase does not open the account.")
    expect(refused).to_be_visible(timeout=30_000)
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


def test_a_key_file_comes_in_and_goes_out(somebody: Callable[..., Person], tmp_path: Path) -> None:
    """Neither the file nor a password leaves the page in clear; what is saved opens elsewhere."""
    file = tmp_path / "UTC--2016--wallet"
    file.write_text(json.dumps(VECTOR["json"]))
    address = Account.from_key(VECTOR["priv"]).address
    ada = somebody()
    ada.register("Ada")
    ada.go("/own-accounts")
    sent: list[str] = []
    ada.page.on("request", lambda request: sent.append(request.post_data or ""))
    ada.page.select_option("#a-purpose", "file")
    for hidden in ("#a-scheme", "#a-mnemonic", "#a-words"):
        expect(ada.page.locator(hidden)).to_be_hidden()
    ada.page.fill("#a-label", "From a file")
    ada.page.fill("#a-pass", PASSPHRASE)
    submit = "form[data-own=ask] button[type=submit]"
    ada.page.click(submit)
    status = ada.page.locator("form[data-own=ask] .own-status")
    expect(status).to_contain_text("Choose the key file")
    expect(status).to_have_class("own-status refused")
    ada.page.set_input_files("#a-file", file)
    ada.page.fill("#a-password", "another password")
    ada.page.click(submit)
    expect(status).to_contain_text("does not open", timeout=30_000)
    ada.page.fill("#a-password", VECTOR["password"])
    ada.page.click(submit)
    expect(ada.page.get_by_text(address)).to_be_visible(timeout=30_000)
    expect(ada.page.get_by_text("from a key file")).to_be_visible()

    ada.page.fill("#e-pass", "not the passphrase")
    ada.page.fill("#e-password", FILE_WORD)
    ada.page.click("form[data-own=export] button")
    expect(ada.page.locator("form[data-own=export] .own-status")).to_contain_text(
        "does not open the account", timeout=30_000
    )
    ada.page.fill("#e-pass", PASSPHRASE)
    ada.page.click("form[data-own=export] button")
    expect(ada.page.locator("#own-file")).to_be_visible(timeout=30_000)
    with ada.page.expect_download() as download:
        ada.page.click("#own-file a")
    assert download.value.suggested_filename.endswith(f"--{address[2:].lower()}.json")
    saved = json.loads(Path(download.value.path()).read_text())
    assert Account.decrypt(saved, FILE_WORD).hex() == VECTOR["priv"]
    posted = " ".join(sent)
    secrets = (PASSPHRASE, FILE_WORD, VECTOR["password"], "another password")
    for secret in (
        *secrets,
        *(one.replace(" ", "+") for one in secrets),
        "ciphertext",
        "kdfparams",
    ):
        assert secret not in posted
    assert "box=" in posted
