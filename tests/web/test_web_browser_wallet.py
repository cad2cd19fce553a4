"""A wallet in the browser that really signs and really sends: sign in, link, pay, and all it may
refuse. The wallet is made in the test: EIP-6963 in the page, eth-account and the sandbox's own node
behind it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import to_checksum_address
from playwright.sync_api import Page, expect

from chain.dev import encode_constructor
from contracts.loader import artifact

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(240)]
Person = Any  # of conftest
PASSWORD = "an unlikely passphrase 7"
WAIT_MS = 60_000
OTHER_CHAIN = 11155111
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E"
    "%3Crect width='8' height='8' fill='%23c60'/%3E%3C/svg%3E"
)
PROVIDER = """
(() => {
  const asked = async ({ method, params }) => {
    const answer = await window.bifoldTestWallet(JSON.stringify({ method, params: params ?? [] }));
    if (!answer.error) return answer.result;
    throw Object.assign(new Error(answer.error.message), answer.error);
  };
  const provider = { request: asked, on() {}, removeListener() {} };
  if (%(legacy)s) { window.ethereum = provider; return; }
  const announce = () => window.dispatchEvent(new CustomEvent('eip6963:announceProvider', {
    detail: Object.freeze({ info: %(info)s, provider }) }));
  window.addEventListener('eip6963:requestProvider', announce);
  announce();
})();
"""


@dataclass
class TestWallet:
    """One key behind one page. `refuse`: method → the error it answers with; `log`: what it did."""

    __test__ = False
    rpc: str
    key: str = field(default_factory=lambda: "0x" + secrets.token_hex(32))
    chain: int = 31337
    known: set[int] = field(default_factory=lambda: {31337, OTHER_CHAIN})
    account: str = ""
    refuse: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: list[tuple[str, Any]] = field(default_factory=list)
    stubborn: bool = False  # says yes to a switch and stays where it is
    gas: int = 0

    def __post_init__(self) -> None:
        self.signer = Account.from_key(self.key)
        self.account = self.account or self.signer.address

    def into(
        self, page: Page, *, name: str = "Adler", icon: str = ICON, legacy: bool = False
    ) -> None:
        info = {
            "uuid": secrets.token_hex(8),
            "name": name,
            "icon": icon,
            "rdns": "org.example.adler",
        }
        page.expose_function("bifoldTestWallet", self.answer)
        script = PROVIDER % {"info": json.dumps(info), "legacy": json.dumps(legacy)}
        page.add_init_script(script)

    def answer(self, request: str) -> dict[str, Any]:
        asked = json.loads(request)
        method, params = asked["method"], asked["params"]
        self.log.append((method, params))
        if method in self.refuse:
            return {"error": self.refuse[method]}
        own = getattr(self, method, None)
        try:
            return {"result": own(*params) if own else self.node(method, *params)}
        except LookupError as error:
            return {"error": {"code": 4902, "message": str(error)}}

    def node(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = httpx2.post(self.rpc, json=body, timeout=30).json()
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["result"]

    def eth_requestAccounts(self) -> list[str]:
        return [self.account.lower()]

    def eth_chainId(self) -> str:
        return hex(self.chain)

    def wallet_switchEthereumChain(self, wanted: dict[str, str]) -> None:
        if int(wanted["chainId"], 16) not in self.known:
            raise LookupError("Unrecognized chain ID")
        if not self.stubborn:
            self.chain = int(wanted["chainId"], 16)

    def wallet_addEthereumChain(self, added: dict[str, Any]) -> None:
        self.known.add(int(added["chainId"], 16))
        assert added["rpcUrls"] == [self.rpc]

    def personal_sign(self, text: str, account: str) -> str:
        assert account == self.account.lower()
        message = bytes.fromhex(text[2:]).decode()
        return "0x" + bytes(self.signer.sign_message(encode_defunct(text=message)).signature).hex()

    def eth_sendTransaction(self, call: dict[str, str]) -> str:
        assert int(call["chainId"], 16) == self.chain and call["from"] == self.account.lower()
        return self.send(call.get("to"), int(call.get("value", "0x0"), 16), call.get("data", "0x"))

    def send(self, to: str | None, value: int, data: str) -> str:
        nonce = self.node("eth_getTransactionCount", self.signer.address, "latest")
        body = {
            "chainId": 31337, "nonce": int(nonce, 16),
            "gas": self.gas or 2_000_000, "value": value, "data": data,
            "maxFeePerGas": 50 * 10**9, "maxPriorityFeePerGas": 10**9,
            **({"to": to_checksum_address(to)} if to else {}),
        }  # fmt: skip
        raw = self.signer.sign_transaction(body).raw_transaction
        return str(self.node("eth_sendRawTransaction", "0x" + bytes(raw).hex()))

    def did(self, method: str) -> list[Any]:
        return [params for named, params in self.log if named == method]


def node_of(person: Person) -> str:
    """The sandbox's node, as the page tells it to wallets."""
    person.go("/receive")
    chain = json.loads(person.page.get_attribute("[data-wallet=pay]", "data-chain") or "")
    return str(chain["rpc"][0])


def fund(person: Person, address: str, amount: str, asset: str) -> None:
    body = {"network": "local", "address": address, "money": {"amount": amount, "asset": asset}}
    done = httpx2.post(person.url + "/sandbox/faucet", json=body, timeout=60)
    assert done.status_code < 300, done.text


def newcomer(
    somebody: Callable[..., Person], name: str, **options: Any
) -> tuple[Person, TestWallet]:
    """Registered, with a wallet in the browser. `wallet`: its fields; `announce`: how it shows."""
    wallet, announce = options.pop("wallet", {}), options.pop("announce", {})
    person = somebody(**options)
    person.register(name)
    made = TestWallet(node_of(person), **wallet)
    made.into(person.page, **announce)
    return person, made


def link(person: Person, password: str = PASSWORD, name: str = "Link Adler") -> None:
    person.go("/settings")
    person.page.fill("#f-link-password", password)
    person.page.get_by_role("button", name=name).click()


def sign_out(person: Person) -> None:
    person.go("/settings")
    person.page.click("form[action='/sign-out'] button")


def trouble(person: Person, room: str, words: str | re.Pattern[str]) -> None:
    expect(person.page.locator(f"[data-wallet={room}] [data-wallet-problem]")).to_contain_text(
        words
    )


def pay(person: Person, amount: str, asset: str = "ETH") -> None:
    person.go("/receive")
    person.page.fill("#f-pay-amount", amount)
    person.page.select_option("[data-wallet=pay] select[name=asset]", asset)
    person.page.locator("[data-wallet=pay]").get_by_role("button", name="Pay with").click()


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
        expect(person.page.locator("[data-wallet-tx]")).to_contain_text(
            "0.100000000000000000", timeout=WAIT_MS
        )
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


def ask(page: Page, path: str, **fields: str) -> dict[str, Any]:
    """What the page's own script would send, with the page's own token."""
    told = page.evaluate(
        """async ([path, fields]) => {
          const csrf = document.querySelector('input[name=csrf]').value;
          const sent = new URLSearchParams({...fields, csrf});
          const answer = await fetch(path, {method: 'POST', body: sent});
          const body = await answer.json();
          return {status: answer.status, body};
        }""",
        [path, fields],
    )
    assert isinstance(told, dict)
    return told


def receipt_of(wallet: TestWallet, tx_hash: str) -> Any:
    """The receipt, once there is one: the node answers a send before the block is mined."""
    for _ in range(600):
        receipt = wallet.node("eth_getTransactionReceipt", tx_hash)
        if receipt is not None:
            assert receipt["status"] == "0x1"
            return receipt
        httpx2.get(wallet.rpc, timeout=5)
    raise AssertionError("never mined")
