"""The money table of the contract, on every amount field of every route, with nothing written."""

from __future__ import annotations

import re
from typing import Any

import pytest

from wallet.money import FIAT

OUTSIDE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
WRONG_TYPES: list[Any] = [12, 1.5, 10**400, 0, -1, True, False, None, [], ["1"], {}]
MALFORMED = [
    "", " ", "1_000", "１２", " 5 ", "5 ", "+5", "-5", "-0", "1e3", "1E3", "NaN", "nan", "Infinity",
    "-Infinity", "inf", "1e400", "0x10", "1,5", "1.", ".5", "01", "00", "0.", "1.5.5", "٣", "1\n",
    "1\u200b", "9" * 61, "1." + "0" * 19, "9" * 50_000, "½", "1 000", "$1", "1'000",
]  # fmt: skip
TOO_LARGE = ["9" * 60, str(2**63), str(2**64), str(2**128), str(2**199)]


def transfer(money: Any) -> dict[str, Any]:
    return {"to": "@nobody_here", "money": money}


def withdrawal(money: Any) -> dict[str, Any]:
    return {"network": "local", "money": money, "to_address": OUTSIDE}


def withdrawal_fee(money: Any) -> dict[str, Any]:
    one = {"amount": "1", "asset": "ETH"}
    return {"network": "local", "money": one, "to_address": OUTSIDE, "max_fee": money}


def quote_source(money: Any) -> dict[str, Any]:
    return {
        "source_asset": money["asset"],
        "target_asset": "CHF",
        "source_amount": money["amount"],
        "kind": "conversion",
    }


def quote_target(money: Any) -> dict[str, Any]:
    return {
        "source_asset": "CHF",
        "target_asset": money["asset"],
        "target_amount": money["amount"],
        "kind": "conversion",
    }


def bank_credit(money: Any) -> dict[str, Any]:
    return {"user": "usr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0", "money": money}


def faucet(money: Any) -> dict[str, Any]:
    return {"network": "local", "address": OUTSIDE, "money": money}


# path, body, pointer of the amount, pointer of the asset
FIELDS = [
    pytest.param("/v1/transfers", transfer, "/money/amount", "/money/asset", id="transfer"),
    pytest.param("/v1/withdrawals", withdrawal, "/money/amount", "/money/asset", id="withdrawal"),
    pytest.param(
        "/v1/withdrawals/estimate", withdrawal, "/money/amount", "/money/asset", id="estimate"
    ),
    pytest.param(
        "/v1/withdrawals", withdrawal_fee, "/max_fee/amount", "/max_fee/asset", id="max_fee"
    ),
    pytest.param("/v1/quotes", quote_source, "/source_amount", "/source_asset", id="source"),
    pytest.param("/v1/quotes", quote_target, "/target_amount", "/target_asset", id="target"),
    pytest.param(
        "/sandbox/bank-credits", bank_credit, "/money/amount", "/money/asset", id="bank_credit"
    ),
    pytest.param("/sandbox/faucet", faucet, "/money/amount", "/money/asset", id="faucet"),
]


class TestEveryAmountField:
    """One world a field: the whole table goes through it, and the database stays as it was."""

    @pytest.fixture
    async def ask(self, observed: Any) -> Any:
        ada = await observed.person(EUR="1000.00", ETH="10", USDC="1000", JPY="1000", KWD="9")
        before = await observed.counts()

        async def ask(path: str, body: Any) -> tuple[int, str, str]:
            answered = await ada.post(path, body)
            problem = answered.json()
            assert await observed.counts() == before, f"{body} wrote something"
            errors = problem.get("errors") or [{"field": ""}]
            return answered.status_code, problem.get("code", ""), errors[0]["field"]

        return ask

    @pytest.mark.parametrize(("path", "make", "amount_at", "asset_at"), FIELDS)
    async def test_the_money_table(
        self, ask: Any, path: str, make: Any, amount_at: str, asset_at: str
    ) -> None:
        for value in WRONG_TYPES:
            if value is None and amount_at.count("/") == 1:
                continue  # a bare amount that is null is an absent one: told as such below
            asked = await ask(path, make({"amount": value, "asset": "EUR"}))
            assert asked == (422, "amount_must_be_string", amount_at), repr(value)[:80]
        for text in MALFORMED:
            asked = await ask(path, make({"amount": text, "asset": "EUR"}))
            assert asked == (422, "amount_malformed", amount_at), repr(text)[:80]
        for asset in ("XXX", "eur", "EUR ", "", "BTC", "USDC.e", "€"):
            asked = await ask(path, make({"amount": "1", "asset": asset}))
            assert asked == (422, "unknown_asset", asset_at), asset
        for asset in (5, None, [], {}, True):
            asked = await ask(path, make({"amount": "1", "asset": asset}))
            assert asked == (422, "unknown_asset", asset_at), asset
        precise = {"EUR": "1.001", "JPY": "1.0", "KWD": "1.0001", "USDC": "0.0000001"}
        for asset, text in precise.items():
            asked = await ask(path, make({"amount": text, "asset": asset}))
            assert asked == (422, "amount_precision", amount_at), asset
        for text in TOO_LARGE:
            asked = await ask(path, make({"amount": text, "asset": "EUR"}))
            assert asked == (422, "amount_too_large", amount_at), text
        for asset, text in {"EUR": "0.00", "JPY": "0", "ETH": "0." + "0" * 18}.items():
            asked = await ask(path, make({"amount": text, "asset": asset}))
            assert asked == (422, "amount_not_positive", amount_at), asset

    async def test_a_null_bare_amount_is_no_amount(self, ask: Any) -> None:
        body = quote_source({"amount": None, "asset": "EUR"})
        assert (await ask("/v1/quotes", body))[:2] == (422, "invalid_field")

    async def test_both_or_neither_amount_is_refused(self, ask: Any) -> None:
        both = {**quote_source({"amount": "1", "asset": "EUR"}), "target_amount": "1"}
        neither = {"source_asset": "EUR", "target_asset": "USD", "kind": "conversion"}
        assert (await ask("/v1/quotes", both))[:2] == (422, "invalid_field")
        assert (await ask("/v1/quotes", neither))[:2] == (422, "invalid_field")

    async def test_a_money_that_is_no_object_is_refused(self, ask: Any) -> None:
        for money in ("1.00 EUR", 1, None, [], ["1", "EUR"]):
            assert (await ask("/v1/transfers", transfer(money)))[0] == 422

    async def test_a_refusal_never_repeats_what_was_sent(self, observed: Any) -> None:
        ada = await observed.person()
        marked = "<script>7331</script>"
        answered = await ada.post("/v1/transfers", transfer({"amount": marked, "asset": marked}))
        assert answered.status_code == 422
        assert "7331" not in answered.text


class TestScales:
    async def test_every_amount_that_leaves_has_its_whole_scale(self, world: Any) -> None:
        ada = await world.person(EUR="5", JPY="500", KWD="1", ETH="1", USDC="1")
        bob = await world.person()
        for asset, text, full in (
            ("EUR", "5", "5.00"), ("JPY", "500", "500"), ("KWD", "0.5", "0.500"),
            ("ETH", "0.000000000000000001", "0.000000000000000001"), ("USDC", "1", "1.000000"),
        ):  # fmt: skip
            money = {"amount": text, "asset": asset}
            moved = await ada.post("/v1/transfers", {"to": bob.id, "money": money})
            assert moved.status_code == 201, moved.text
            assert moved.json()["money"] == {"amount": full, "asset": asset}
            assert await bob.available(asset) == full

    async def test_the_listed_fiat_has_iso_4217_scales(self, world: Any) -> None:
        rows = (await world.http.get("/v1/assets")).json()["data"]
        scales = {row["code"]: row["scale"] for row in rows}
        assert {asset.code for asset in FIAT} <= set(scales)
        assert (scales["EUR"], scales["JPY"], scales["KWD"], scales["ETH"]) == (2, 0, 3, 18)
        for row in rows:
            assert re.fullmatch(r"fiat|native|token", row["kind"])
            assert bool(row["networks"]) == (row["kind"] != "fiat")
