"""Deposits straight from a wallet in the browser: to the wei, and all it may refuse."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.web.page_wallet import (
    OTHER_CHAIN,
    WAIT_MS,
    Person,
    fund,
    newcomer,
    pay,
    trouble,
)

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(240)]


class TestPaying:
    def test_coins_and_tokens_arrive(self, somebody: Callable[..., Person]) -> None:
        """From another network, through a wallet that has to be told of ours, to the balance."""
        person, wallet = newcomer(
            somebody, "Pia Pay", wallet={"chain": OTHER_CHAIN, "known": {OTHER_CHAIN}}
        )
        fund(person, wallet.account, "2", "ETH")
        fund(person, wallet.account, "75", "USDC")
        pay(person, "1.250000000000000001")
        expect(person.page).to_have_url(re.compile(r"/receive\?network=local&tx=0x[0-9a-f]{64}$"))
        (call,) = wallet.did("eth_sendTransaction")[0]
        mine = re.sub(r"\s", "", person.page.locator(".address-block").inner_text())
        assert (call["to"], int(call["value"], 16)) == (mine, 1_250_000_000_000_000_001)
        assert len(wallet.did("wallet_addEthereumChain")) == 1 and wallet.chain == 31337
        shown = person.page.locator("[data-wallet-tx]")
        expect(shown).to_contain_text(person.page.url[-66:])
        expect(shown).to_contain_text("1.250000000000000001")
        expect(shown).to_contain_text(re.compile(r"\d of 8 confirmations"))
        pay(person, "74.5", "USDC")
        person.finished_pay = person.page.locator("[data-wallet-tx] .state").first
        expect(person.finished_pay).to_have_text("Credited", timeout=WAIT_MS)
        expect(person.page.locator("[data-wallet-tx]")).to_contain_text("74.500000")
        token = wallet.did("eth_sendTransaction")[1][0]
        assert int(token["value"], 16) == 0 and token["data"].startswith("0xa9059cbb")
        person.page.get_by_role("link", name="See its receipt").click()
        expect(person.page.locator(".facts")).to_contain_text(re.compile("From"))
        person.until_credited("ETH")
        expect(person.page.locator(".holding", has_text="ETH")).to_contain_text("1.25")

    def test_what_goes_wrong_is_told_and_nothing_is_sent(
        self, somebody: Callable[..., Person]
    ) -> None:
        person, wallet = newcomer(somebody, "Tom Trouble")
        for typed, words in (
            ("", "Write an amount"), ("1,5", "Write an amount"), ("-1", "Write an amount"),
            ("0.0", "more than zero"), ("0.0000001", "more decimals"),
        ):  # fmt: skip
            pay(person, typed, "USDC")
            trouble(person, "pay", words)
            expect(person.page.locator("#f-pay-amount")).to_be_focused()
        assert wallet.log == []
        pay(person, "1")
        trouble(person, "pay", "does not have that much")
        fund(person, wallet.account, "1", "ETH")
        for refuse, words in (
            ({"eth_sendTransaction": {"code": 4001, "message": "x"}}, "You declined"),
            ({"eth_sendTransaction": {"code": -32002, "message": "x"}}, "still waits for an"),
            ({"wallet_switchEthereumChain": {"code": 4001, "message": "x"}}, "You declined"),
            ({"wallet_switchEthereumChain": {"code": 4200, "message": "x"}}, "on another network"),
            ({"wallet_switchEthereumChain": {"code": -32603, "message": "x",
              "data": {"originalError": {"code": 4902}}},
              "wallet_addEthereumChain": {"code": 4001, "message": "x"}}, "You declined"),
        ):  # fmt: skip
            wallet.refuse = refuse
            wallet.chain = OTHER_CHAIN if "wallet_switchEthereumChain" in refuse else 31337
            pay(person, "0.5")
            trouble(person, "pay", words)
        wallet.refuse, wallet.chain, wallet.stubborn = {}, OTHER_CHAIN, True
        pay(person, "0.5")
        trouble(person, "pay", "Switch it to local (chain 31337)")
        assert person.page.url == person.url + "/receive"
        assert [p for p in wallet.did("eth_sendTransaction") if wallet.refuse] == []
        count = wallet.node("eth_getTransactionCount", wallet.account, "latest")
        assert int(count, 16) == 0

    def test_a_payment_the_network_undid_is_told(self, somebody: Callable[..., Person]) -> None:
        """Enough gas to be taken in, too little for the token: mined and reverted."""
        person, wallet = newcomer(somebody, "Uma Undone", wallet={"gas": 30_000})
        fund(person, wallet.account, "1", "ETH")
        fund(person, wallet.account, "5", "USDC")
        pay(person, "5", "USDC")
        problem = person.page.locator("[data-wallet-tx] [data-wallet-problem]")
        expect(problem).to_contain_text("undid it", timeout=WAIT_MS)
        expect(person.page.locator("[data-wallet-tx]")).to_contain_text("Waiting for the network")

    def test_anothers_payment_is_not_shown(self, somebody: Callable[..., Person]) -> None:
        person, wallet = newcomer(somebody, "Otto Own")
        fund(person, wallet.account, "1", "ETH")
        pay(person, "0.1")
        expect(person.page.locator("[data-wallet-tx]")).to_contain_text("0.100000", timeout=WAIT_MS)
        path = person.page.url.removeprefix(person.url)
        eve = somebody()
        eve.register("Eve")
        eve.go(path)
        expect(eve.page.locator("[data-wallet-tx]")).to_contain_text("Waiting for the network")
        expect(eve.page.locator("[data-wallet-tx] .money")).to_have_count(0)
        eve.go("/receive?tx=0xnothing")
        expect(eve.page.locator("[data-wallet-tx]")).to_have_count(0)

    def test_by_keyboard_on_a_small_dark_screen(self, somebody: Callable[..., Person]) -> None:
        person, wallet = newcomer(
            somebody, "Kai Key", viewport={"width": 320, "height": 700}, color_scheme="dark",
            announce={"name": "W" * 60},
        )  # fmt: skip
        fund(person, wallet.account, "1", "ETH")
        person.go("/receive")
        page = person.page
        page.focus("#f-pay-amount")
        page.keyboard.type("0.25")
        expect(page.locator("[data-wallet-sentence]")).to_contain_text("0.25 ETH on local")
        for path in ("/receive", "/settings"):
            person.go(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
            heights = page.evaluate(
                "[...document.querySelectorAll('[data-wallet] button, #wallets summary')]"
                ".map(e => e.getBoundingClientRect().height)"
            )
            assert heights and min(heights) >= 43.5, path
        person.go("/receive")
        page.focus("#f-pay-amount")
        page.keyboard.type("0.25")
        page.keyboard.press("Enter")  # the form's own button: nobody needs a mouse
        expect(page).to_have_url(re.compile("tx=0x"))
        assert len(wallet.did("eth_sendTransaction")) == 1
