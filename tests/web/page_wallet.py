"""A wallet in a page of the test's browser: EIP-6963 in front, eth-account and the node behind
it. It really signs and really sends."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import to_checksum_address
from playwright.sync_api import Page, expect

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
