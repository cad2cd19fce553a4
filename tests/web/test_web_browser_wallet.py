"""Sign in with a wallet in the browser, link it, and all it may refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from eth_utils.address import to_checksum_address
from playwright.sync_api import expect

from chain.dev import encode_constructor
from contracts.loader import artifact
from tests.web.page_wallet import (
    PASSWORD,
    Person,
    TestWallet,
    ask,
    fund,
    link,
    newcomer,
    receipt_of,
    sign_out,
    trouble,
)

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(240)]


class TestSignIn:
    def test_link_then_sign_in_then_unlink(self, somebody: Callable[..., Person]) -> None:
        person, wallet = newcomer(somebody, "Wanda Wallet")
        person.expected = "401"  # the browser's own line for each refusal below
        link(person, "not the password")
        trouble(person, "link", "The password is wrong")
        link(person)
        row = person.page.locator("#wallets .wallet-row")
        expect(row).to_have_count(1)
        shown = re.sub(r"\s", "", row.locator("b").inner_text())
        assert shown == wallet.account
        sign_out(person)
        person.go("/sign-in?next=/activity")
        person.page.get_by_role("button", name="Sign in with Ethereum · Adler").click()
        expect(person.page).to_have_url(person.url + "/activity")
        message = bytes.fromhex(wallet.did("personal_sign")[-1][0][2:]).decode()
        assert message.startswith(person.url.removeprefix("http://") + " wants you to sign in")
        assert "This moves no money." in message
        person.go("/settings")
        row.locator("summary").click()
        row.locator("input[type=password]").fill("not the password")
        row.get_by_role("button", name="Unlink this wallet").click()
        expect(person.page.locator("#wallets").get_by_role("alert").first).to_contain_text(
            "The password is wrong"
        )
        row.locator("summary").click()
        row.locator("input[type=password]").fill(PASSWORD)
        row.get_by_role("button", name="Unlink this wallet").click()
        expect(row).to_have_count(0)
        sign_out(person)
        person.go("/sign-in")
        person.page.get_by_role("button", name="Sign in with Ethereum").click()
        trouble(person, "sign-in", "This wallet opens nothing here.")
        person.go("/home")
        expect(person.page).to_have_url(re.compile("/sign-in"))

    def test_a_message_opens_only_in_the_browser_that_asked(
        self, somebody: Callable[..., Person]
    ) -> None:
        """The same signed message: refused elsewhere, and still good where it was asked for."""
        here, wallet = newcomer(somebody, "Hera Here")
        link(here)
        expect(here.page.locator("#wallets .wallet-row")).to_have_count(1)
        sign_out(here)
        there = somebody()
        there.expected = "401"
        here.go("/sign-in")
        there.go("/sign-in")
        message = ask(here.page, "/sign-in/wallet/message", address=wallet.account)["body"][
            "message"
        ]
        proof = {
            "message": message,
            "signature": wallet.personal_sign(
                "0x" + message.encode().hex(), wallet.account.lower()
            ),
        }
        stolen = ask(there.page, "/sign-in/wallet", **proof)
        assert (stolen["status"], stolen["body"]["code"]) == (401, "invalid_credentials")
        there.go("/home")
        expect(there.page).to_have_url(re.compile("/sign-in"))
        api = httpx2.post(here.url + "/v1/sessions/siwe", json=proof)
        assert (api.status_code, api.json()["code"]) == (401, "invalid_credentials")
        opened = ask(here.page, "/sign-in/wallet", **proof)
        assert (opened["status"], opened["body"]) == (200, {"go": "/home"})
        here.go("/home")
        expect(here.page).to_have_url(here.url + "/home")
        # Signed in, the browser is another one: its cookie is the session's now.
        again = ask(here.page, "/sign-in/wallet", **proof)
        assert again["status"] in (401, 403)
        here.expected = "40"

    def test_a_contract_wallet_signs_in_on_its_chain(self, somebody: Callable[..., Person]) -> None:
        person, wallet = newcomer(somebody, "Conny Contract")
        fund(person, wallet.account, "1", "ETH")
        built = artifact("ContractWallet")
        code = built.bytecode + encode_constructor(built, (wallet.account,))
        receipt = receipt_of(wallet, wallet.send(None, 0, "0x" + code.hex()))
        wallet.account = to_checksum_address(receipt["contractAddress"])
        link(person)
        expect(person.page.locator("#wallets .wallet-row")).to_contain_text("a contract on local")
        sign_out(person)
        person.go("/sign-in")
        person.page.get_by_role("button", name="Sign in with Ethereum").click()
        expect(person.page).to_have_url(person.url + "/home")

    @pytest.mark.parametrize(
        ("method", "error", "words"),
        [
            ("eth_requestAccounts", {"code": 4001, "message": "no"}, "You declined in your wallet"),
            ("personal_sign", {"code": 4001, "message": "no"}, "You declined in your wallet"),
            ("eth_requestAccounts", {"code": -32002, "message": "x"}, "still waits for an answer"),
            ("eth_requestAccounts", {"code": 4100, "message": "x"}, "does not let this page see"),
            ("personal_sign", {"code": -32603, "message": "<b>boom</b>"}, "says: <b>boom</b>"),
        ],
    )
    def test_what_a_wallet_refuses_is_told(
        self, somebody: Callable[..., Person], sandbox_url: str, method: str, error: Any, words: str
    ) -> None:
        person = somebody()
        wallet = TestWallet("http://127.0.0.1:1", refuse={method: error})
        wallet.into(person.page)
        person.go("/sign-in")
        button = person.page.get_by_role("button", name="Sign in with Ethereum")
        button.click()
        trouble(person, "sign-in", words)
        wallet.refuse.clear()
        wallet.refuse["personal_sign"] = {"code": 4001, "message": "no"}
        button.click()  # it can be tried again at once
        trouble(person, "sign-in", "You declined in your wallet")

    def test_no_wallet_then_one_that_comes_late(self, somebody: Callable[..., Person]) -> None:
        person = somebody(locale="zh-CN")
        person.go("/sign-in")
        person.page.get_by_role("button", name="用以太坊登录").click()
        trouble(person, "sign-in", "这个浏览器里没有钱包")
        wallet = TestWallet(
            "http://127.0.0.1:1", refuse={"eth_requestAccounts": {"code": 4001, "message": ""}}
        )
        wallet.into(person.page, legacy=True)
        person.go("/sign-in")
        person.page.get_by_role("button", name="用以太坊登录").focus()
        person.page.keyboard.press("Enter")
        trouble(person, "sign-in", "您在钱包里拒绝了")

    def test_what_a_wallet_calls_itself_is_inert(self, somebody: Callable[..., Person]) -> None:
        person = somebody()
        evil = "<img src=x onerror=alert(1)>"
        TestWallet("http://127.0.0.1:1").into(person.page, name=evil, icon="javascript:alert(2)")
        person.go("/sign-in")
        expect(person.page.get_by_role("button", name=evil)).to_be_visible()
        assert person.page.locator("[data-wallet] img").count() == 0
