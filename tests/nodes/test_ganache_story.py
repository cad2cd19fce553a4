"""The main story on Ganache 7.9.2, whose first nonce is a trap: everything arrives once."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from chain.testing.ganache import GanacheMissing, GanacheProcess
from wallet.sandbox.demo.client import Api, DemoFailed, Node, wait_for
from wallet.sandbox.temporary import ROOT, TemporarySandbox
from wallet.testing.pace import patience

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
OUTSIDE = "0x00000000000000000000000000000000000A11cE"


@pytest.fixture(scope="module")
def ganache() -> Iterator[GanacheProcess]:
    process = GanacheProcess()
    try:
        process.start()
    except GanacheMissing as error:
        pytest.skip(f"ganache: {error}")
    yield process
    process.stop()


@pytest.fixture(scope="module")
def sandbox(ganache: GanacheProcess) -> Iterator[TemporarySandbox]:
    with TemporarySandbox(environment={"BIFOLD_LOCAL_RPC_URL": ganache.url}) as sandbox:
        yield sandbox


class Town:
    """People on this instance; blocks come only when somebody asks for them (decision 30)."""

    def __init__(self, http: httpx2.Client, node: Node) -> None:
        self.http, self.node = http, node
        self.public = Api(http)

    def person(self, name: str) -> Api:
        email, password = f"{name}@example.org", secrets.token_urlsafe(14)
        form = {"email": email, "password": password, "display_name": name, "country": "DE"}
        self.public.post("/v1/users", form)
        signed_in = self.public.post("/v1/sessions", {"email": email, "password": password})
        return Api(self.http, signed_in["token"])

    def until(self, read: Callable[[], Any], done: Callable[[Any], bool], what: str) -> Any:
        def look() -> Any:
            self.public.post("/sandbox/mine", {"network": "local", "blocks": 2})
            return read()

        return wait_for(look, done, seconds=patience(60), what=what)

    def faucet(self, address: str, amount: str, asset: str) -> None:
        money = {"amount": amount, "asset": asset}
        wish = {"address": address, "network": "local", "money": money}
        self.public.post("/sandbox/faucet", wish)


def _withdraw(ada: Api, money: dict[str, str]) -> str:
    """Asked again while it is `chain_unavailable`, as any client would: this node answers one at a
    time, and on a busy machine late."""
    body = {"network": "local", "money": money, "to_address": OUTSIDE}
    for _ in range(30):
        try:
            return str(ada.post("/v1/withdrawals", body)["id"])
        except DemoFailed as refused:
            if "503 chain_unavailable" not in str(refused):
                raise
            time.sleep(1)
    raise AssertionError("the node never answered")


def test_the_main_story(sandbox: TemporarySandbox, ganache: GanacheProcess) -> None:
    with httpx2.Client(base_url=sandbox.url, timeout=60) as http:
        town = Town(http, Node(http, ganache.url))
        assert town.node.call("web3_clientVersion").startswith("Ganache/v7.9.2")
        ada, bob = town.person("ada"), town.person("bob")
        place = ada.post("/v1/deposit-addresses", {"network": "local"})["address"]
        town.faucet(place, "3.000000000000000000", "ETH")
        town.faucet(place, "500.000000", "USDC")
        town.until(
            lambda: [row["status"] for row in ada.get("/v1/deposits")["data"]],
            lambda states: states == ["credited"] * 2,
            "both deposits",
        )
        handle = bob.get("/v1/me")["handle"]
        money = {"amount": "50.25", "asset": "USDC"}
        ada.post("/v1/transfers", {"to": f"@{handle}", "money": money})
        quote = ada.post(
            "/v1/quotes",
            {"source_asset": "USDC", "target_asset": "EUR", "source_amount": "100",
             "kind": "conversion"},
        )  # fmt: skip
        ada.post("/v1/conversions", {"quote_id": quote["id"]})
        abroad = _send_abroad(ada)
        sent = {
            asset: _withdraw(ada, {"amount": amount, "asset": asset})
            for asset, amount in (("ETH", "0.5"), ("USDC", "20"))
        }  # fmt: skip
        for asset, withdrawal in sent.items():
            town.until(
                lambda withdrawal=withdrawal: ada.get(f"/v1/withdrawals/{withdrawal}")["status"],
                lambda status: status in ("settled", "failed", "in_review"),
                f"the withdrawal of {asset}",
            )
            assert ada.get(f"/v1/withdrawals/{withdrawal}")["status"] == "settled"
        usdc = next(a for a in http.get("/v1/assets").json()["data"] if a["code"] == "USDC")
        assert town.node.balance(OUTSIDE, None) == 5 * 10**17
        assert town.node.balance(OUTSIDE, usdc["networks"][0]["contract"]) == 20 * 10**6
        town.until(
            lambda: ada.get(f"/v1/payments/{abroad}")["status"],
            lambda status: status == "completed",
            "the payment",
        )
        report = town.until(
            lambda: _reconcile(sandbox), lambda found: found["balanced"], "the books to agree"
        )
        assert report["balanced"], report
        hot = json.loads((sandbox.data_dir / "keys.json").read_text())["hot"][0]
        count = town.node.call("eth_getTransactionCount", hot, "latest")
        assert int(count, 16) == 3  # nonce 0 for nothing, then the two payments
        paid = [ada.get(f"/v1/withdrawals/{item}")["tx_hash"] for item in sent.values()]
        nonces = [town.node.call("eth_getTransactionByHash", tx)["nonce"] for tx in paid]
        assert sorted(int(nonce, 16) for nonce in nonces) == [1, 2]


def _send_abroad(ada: Api) -> str:
    quote = ada.post(
        "/v1/quotes",
        {"source_asset": "EUR", "target_asset": "MXN", "source_amount": "40", "kind": "payment",
         "corridor": "EUR-MX"},
    )  # fmt: skip
    to = ada.post(
        "/v1/recipients",
        {"type": "clabe", "name": "Sofía", "country": "MX", "clabe": "032180000118359719"},
    )
    body = {"quote_id": quote["id"], "recipient_id": to["id"], "purpose": "family_support"}
    return str(ada.post("/v1/payments", body)["id"])


def _reconcile(sandbox: TemporarySandbox) -> Any:
    ran = subprocess.run(
        [sys.executable, "-m", "wallet.cli", "reconcile", "--json"],
        cwd=ROOT,
        env=os.environ | {"BIFOLD_DATA_DIR": str(sandbox.data_dir), "BIFOLD_MODE": "sandbox"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.stdout, ran.stderr
    return json.loads(ran.stdout)
