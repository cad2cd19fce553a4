"""The story itself: two people, one wallet, both folds, and the books against chain and bank."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from wallet.money import format_amount
from wallet.sandbox.demo.client import Api, DemoFailed, Node, wait_for
from wallet.sandbox.demo.stage import Stage

PASSWORD_BYTES = 12
CLABE = "032180000118359719"  # the example in use for CLABE, control digit 9
IBAN = "DE89370400440532013000"  # the example of the IBAN registry
WEI = 18


def _path(events: list[dict[str, Any]]) -> str:
    """The events of a timeline without their common first word."""
    return " → ".join(event["type"].split(".")[-1].replace("_", " ") for event in events)


@dataclass(slots=True)
class Story:
    """Everything the steps share."""

    stage: Stage
    public: Api
    node: Node
    network: str
    contract: str
    ada: Api
    ben: Api

    def play(self) -> None:
        """All steps in order. Raises DemoFailed at the first that does not hold."""
        people = self._people()
        self._deposit()
        self._send(people["ben"])
        self._convert()
        self._abroad(
            "EUR-MX",
            "EUR",
            "MXN",
            "40.00",
            {"type": "clabe", "name": "Lucía Hernández", "country": "MX", "clabe": CLABE},
        )
        self._abroad(
            "USDC-EU",
            "USDC",
            "EUR",
            "25.000000",
            {"type": "iban", "name": "Jonas Weber", "country": "DE", "iban": IBAN},
        )
        self._withdraw("ETH", "0.500000000000000000", WEI, None)
        self._withdraw("USDC", "20.000000", 6, self.contract)
        self._balances()

    def _people(self) -> dict[str, dict[str, Any]]:
        self.stage.step("Two people register and sign in")
        people: dict[str, dict[str, Any]] = {}
        for name, api, shown in (("ada", self.ada, "Ada Byron"), ("ben", self.ben, "Ben Okri")):
            email = f"{name}.{secrets.token_hex(4)}@example.org"
            password = secrets.token_urlsafe(PASSWORD_BYTES)
            user = self.public.post(
                "/v1/users",
                {"email": email, "password": password, "display_name": shown, "country": "DE"},
            )
            api.token = self.public.post("/v1/sessions", {"email": email, "password": password})[
                "token"
            ]
            people[name] = user
            self.stage.say(f"{shown} is @{user['handle']}")
        return people

    def _deposit(self) -> None:
        self.stage.step("Ada takes a deposit address and receives USDC and ETH from outside")
        place = self.ada.post("/v1/deposit-addresses", {"network": self.network})
        self.stage.say(f"address {place['address']}  (hers alone)")
        for amount, asset in (("250.000000", "USDC"), ("2.000000000000000000", "ETH")):
            money = {"amount": amount, "asset": asset}
            sent = self.public.post(
                "/sandbox/faucet",
                {"address": place["address"], "network": self.network, "money": money},
            )
            self.stage.moved(
                f"faucet sends {asset}", f"{amount} {asset}", sent["tx_hash"][:14] + "…"
            )

        def told(rows: list[dict[str, Any]]) -> str:
            return "   ".join(
                f"{row['money']['asset']} {row['status']}"
                f" {min(row['confirmations'], row['required_confirmations'])}"
                f"/{row['required_confirmations']}"
                for row in rows
            )

        with self.stage.progress("waiting to be seen") as tell:
            wait_for(
                lambda: self.ada.get("/v1/deposits")["data"],
                lambda rows: len(rows) == 2 and all(r["status"] == "credited" for r in rows),
                seen=lambda rows: tell(told(rows) or "waiting to be seen"),
                what="both deposits to be credited",
            )
        for asset in ("USDC", "ETH"):
            self.stage.moved("credited, final", f"+{self.ada.balance(asset)} {asset}")
        held = self.node.balance(place["address"], self.contract)
        self.stage.chain(f"balanceOf(address) = {format_amount(held, 6)} USDC")

    def _send(self, ben: dict[str, Any]) -> None:
        self.stage.step("Ada sends 50.25 USDC to Ben: instant, free, two postings")
        sent = self.ada.post(
            "/v1/transfers",
            {
                "to": f"@{ben['handle']}",
                "money": {"amount": "50.25", "asset": "USDC"},
                "note": "dinner",
            },
        )
        self.stage.moved("Ada", f"−{sent['money']['amount']} USDC", sent["id"])
        self.stage.moved("Ben", f"+{self.ben.balance('USDC')} USDC")

    def _convert(self) -> None:
        self.stage.step("Ada converts 100 USDC to EUR at a locked price")
        quote = self.ada.post(
            "/v1/quotes",
            {
                "source_asset": "USDC",
                "target_asset": "EUR",
                "source_amount": "100.000000",
                "kind": "conversion",
            },
        )
        self._price(quote)
        done = self.ada.post("/v1/conversions", {"quote_id": quote["id"]})
        self.stage.moved(
            "converted",
            f"{done['source']['amount']} USDC → {done['target']['amount']} EUR",
            done["id"],
        )

    def _price(self, quote: dict[str, Any]) -> None:
        fees = (
            " + ".join(
                f"{f['money']['amount']} {f['money']['asset']} {f['kind']}" for f in quote["fees"]
            )
            or "none"
        )
        self.stage.say(
            f"mid {quote['mid_rate']} · ours {quote['rate']} · spread {quote['spread']}"
            f" · fees {fees}"
        )
        cost = quote["total_cost"]
        simulated = "  (simulated rates)" if quote["simulated"] else ""
        self.stage.say(f"total cost {cost['amount']} {cost['asset']}{simulated}")

    def _abroad(
        self, corridor: str, source: str, target: str, amount: str, recipient: dict[str, Any]
    ) -> None:
        self.stage.step(f"Ada sends {amount} {source} abroad, {corridor}, to {recipient['name']}")
        person = self.ada.post("/v1/recipients", recipient)
        quote = self.ada.post(
            "/v1/quotes",
            {
                "source_asset": source,
                "target_asset": target,
                "source_amount": amount,
                "kind": "payment",
                "corridor": corridor,
            },
        )
        self._price(quote)
        payment = self.ada.post(
            "/v1/payments",
            {
                "quote_id": quote["id"],
                "recipient_id": person["id"],
                "purpose": "family_support",
                "reference": "from Ada",
            },
        )
        with self.stage.progress("on its way") as tell:
            done = wait_for(
                lambda: self.ada.get(f"/v1/payments/{payment['id']}"),
                lambda p: p["status"] in ("completed", "returned", "failed", "cancelled"),
                seen=lambda p: tell(f"payment {p['status']}"),
                what="the payment to end",
            )
        self.stage.say(_path(done["events"]))
        if done["status"] != "completed":
            raise DemoFailed(f"the payment ended as {done['status']}")
        self.stage.moved(
            f"arrived ({quote['eta_seconds']} s promised)",
            f"{quote['target']['amount']} {target}",
            "simulated bank",
        )

    def _withdraw(self, asset: str, amount: str, scale: int, contract: str | None) -> None:
        self.stage.step(
            f"Ada withdraws {amount.rstrip('0').rstrip('.')} {asset} to an outside address"
        )
        outside = "0x" + secrets.token_hex(20)
        order = {
            "network": self.network,
            "money": {"amount": amount, "asset": asset},
            "to_address": outside,
        }
        estimate = self.ada.post("/v1/withdrawals/estimate", order)
        self.stage.moved("fee at most", f"{estimate['fee_max']['amount']} {asset}")
        made = self.ada.post("/v1/withdrawals", order)
        with self.stage.progress("held") as tell:
            done = wait_for(
                lambda: self.ada.get(f"/v1/withdrawals/{made['id']}"),
                lambda w: w["status"] in ("settled", "failed", "cancelled", "in_review"),
                seen=lambda w: tell(f"{w['status']}  {w.get('waiting_for') or ''}".rstrip()),
                what="the withdrawal to settle",
            )
        if done["status"] != "settled":
            raise DemoFailed(f"the withdrawal ended as {done['status']}")
        self.stage.say(_path(done["events"]))
        self.stage.moved("fee booked", f"{done['fee']['amount']} {asset}")
        receipt = self.node.receipt(done["tx_hash"])
        arrived = self.node.balance(outside, contract)
        if format_amount(arrived, scale) != amount:
            raise DemoFailed(f"the chain shows {format_amount(arrived, scale)} {asset} there")
        self.stage.chain(
            f"{done['tx_hash'][:14]}… status {int(receipt['status'], 16)} in block"
            f" {int(receipt['blockNumber'], 16)}"
        )
        self.stage.chain(f"recipient has exactly {amount} {asset}")

    def _balances(self) -> None:
        self.stage.step("What both hold now")
        rows = []
        for name, api in (("Ada", self.ada), ("Ben", self.ben)):
            for row in api.get("/v1/balances")["data"]:
                rows.append([f"    {name}", row["available"], row["held"], row["asset"]])
        self.stage.table(
            [("    person", "left"), ("available", "right"), ("held", "right"), ("", "left")], rows
        )
