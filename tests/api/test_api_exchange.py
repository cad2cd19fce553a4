"""Quotes, conversions, recipients and payments over HTTP: L22 and the story's steps 4 and 5."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

CLABE = "032180000118359719"
IBAN = "DE89370400440532013000"


def quote(kind: str = "conversion", source: str = "EUR", target: str = "USD") -> dict[str, Any]:
    return {
        "source_asset": source,
        "target_asset": target,
        "source_amount": "40.00",
        "kind": kind,
    }


async def locked(person: Any, **changed: Any) -> dict[str, Any]:
    made = await person.post("/v1/quotes", {**quote(), **changed})
    assert made.status_code == 201, made.text
    body: dict[str, Any] = made.json()
    return body


async def recipient(person: Any, **changed: Any) -> dict[str, Any]:
    draft = {"type": "clabe", "name": "Sofía Hernández", "country": "MX", "clabe": CLABE}
    made = await person.post("/v1/recipients", {**draft, **changed})
    assert made.status_code == 201, made.text
    body: dict[str, Any] = made.json()
    return body


class TestQuotes:
    async def test_a_quote_says_everything(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        made = await ada.post("/v1/quotes", quote())
        body = made.json()
        assert made.headers["location"] == f"/v1/quotes/{body['id']}"
        assert body["source"] == {"amount": "40.00", "asset": "EUR"}
        assert body["target"]["asset"] == "USD"
        for member in (
            "rate",
            "mid_rate",
            "spread",
            "fees",
            "total_cost",
            "rounding",
            "expires_at",
        ):
            assert body[member] is not None
        assert body["simulated"] is True
        assert (await ada.get(f"/v1/quotes/{body['id']}")).json() == body

    async def test_outside_the_limit_the_limits_are_told(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        body = {**quote("payment", "EUR", "MXN"), "source_amount": "0.10"}
        refused = await ada.post("/v1/quotes", body)
        assert (refused.status_code, refused.json()["code"]) == (422, "amount_outside_limit")
        assert refused.json()["min"]["asset"] == refused.json()["max"]["asset"] == "EUR"

    async def test_without_a_fresh_rate_nothing_is_promised(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        await world.bed.fault("rate_stale", on=True)
        refused = await ada.post("/v1/quotes", quote())
        assert (refused.status_code, refused.json()["code"]) == (503, "rate_stale")
        assert refused.json()["retryable"] is True
        assert "retry-after" in refused.headers

    async def test_corridors_are_public_and_carry_their_schema(self, world: Any) -> None:
        rows = (await world.http.get("/v1/corridors")).json()["data"]
        ids = {row["id"] for row in rows}
        assert {"EUR-MX", "USDC-EU"} <= ids
        assert all(row["recipient_schema"]["type"] == "object" for row in rows)


class TestConversions:
    async def test_a_quote_converts_once(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        made = await locked(ada)
        done = await ada.post("/v1/conversions", {"quote_id": made["id"]})
        assert (done.status_code, done.json()["status"]) == (201, "completed")
        assert done.json()["target"] == made["target"]
        again = await ada.post("/v1/conversions", {"quote_id": made["id"]})
        assert (again.status_code, again.json()["code"]) == (409, "quote_used")
        assert await ada.available("EUR") == "60.00"
        assert await ada.available("USD") == made["target"]["amount"]
        assert await world.bed.imbalance() == {}

    async def test_32_keys_for_one_quote_convert_once(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        made = await locked(ada)
        answers = await asyncio.gather(
            *(ada.post("/v1/conversions", {"quote_id": made["id"]}) for _ in range(32))
        )
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [201] + [409] * 31
        assert await ada.available("EUR") == "60.00"

    async def test_a_second_late_is_too_late(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        made = await locked(ada)
        await world.bed.advance(61)
        refused = await ada.post("/v1/conversions", {"quote_id": made["id"]})
        assert (refused.status_code, refused.json()["code"]) == (410, "quote_expired")
        assert await ada.available("EUR") == "100.00"

    @pytest.mark.parametrize(
        "quote_id", ["quo_01JD3VQ4T0Z8Y6X5W4V3T2S1R0", "nonsense", "", "trf_x"]
    )
    async def test_an_unknown_quote_is_not_found(self, world: Any, quote_id: str) -> None:
        ada = await world.person(EUR="100.00")
        refused = await ada.post("/v1/conversions", {"quote_id": quote_id})
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")

    async def test_somebody_elses_quote_is_not_found_and_stays_good(self, world: Any) -> None:
        ada, eve = await world.person(EUR="100.00"), await world.person(EUR="100.00")
        made = await locked(ada)
        stolen = await eve.post("/v1/conversions", {"quote_id": made["id"]})
        assert (stolen.status_code, stolen.json()["code"]) == (404, "not_found")
        assert (await ada.post("/v1/conversions", {"quote_id": made["id"]})).status_code == 201

    async def test_the_amount_of_a_quote_cannot_be_altered(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        made = await locked(ada)
        body = {"quote_id": made["id"], "source": {"amount": "1.00", "asset": "EUR"}}
        refused = await ada.post("/v1/conversions", body)
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_field")

    async def test_a_payment_quote_does_not_convert(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        made = await locked(ada, kind="payment", target_asset="MXN")
        refused = await ada.post("/v1/conversions", {"quote_id": made["id"]})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")


class TestRecipients:
    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"clabe": CLABE[:-1] + "8"}, "/clabe"),
            ({"clabe": "123"}, "/clabe"),
            ({"country": "DE"}, "/country"),
            ({"country": "mx"}, "/country"),
            ({"name": "\u202eevil"}, "/name"),
            ({"clabe": None}, "/clabe"),
            ({"iban": IBAN}, "/iban"),
            ({"type": "cash"}, "/type"),
            ({"type": "iban", "clabe": None, "iban": IBAN[:-1] + "1", "country": "DE"}, "/iban"),
        ],
    )
    async def test_what_is_wrong_is_pointed_at(
        self, world: Any, changed: dict[str, Any], field: str
    ) -> None:
        ada = await world.person()
        draft = {"type": "clabe", "name": "Sofía", "country": "MX", "clabe": CLABE, **changed}
        refused = await ada.post("/v1/recipients", draft)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
        assert refused.json()["errors"][0]["field"] == field

    async def test_a_checked_one_is_kept_in_canonical_form(self, world: Any) -> None:
        ada = await world.person()
        made = await recipient(
            ada, type="iban", clabe=None, iban="de89 3704 0044 0532 0130 00", country="DE"
        )
        assert made["iban"] == IBAN
        assert "clabe" not in made
        listed = (await ada.get("/v1/recipients")).json()["data"]
        assert [row["id"] for row in listed] == [made["id"]]


class TestPayments:
    async def test_a_payment_takes_the_money_and_promises_the_rest(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        made = await locked(ada, kind="payment", target_asset="MXN")
        to = await recipient(ada)
        body = {"quote_id": made["id"], "recipient_id": to["id"], "purpose": "family_support"}
        paid = await ada.post("/v1/payments", body, key="p1")
        assert paid.status_code == 202, paid.text
        payment = paid.json()
        assert payment["status"] == "funded"
        assert payment["legs"][0]["kind"] == "funding"
        assert payment["quote"]["id"] == made["id"]
        assert payment["recipient"]["clabe"] == CLABE
        assert len(payment["uetr"]) == 36
        again = await ada.post("/v1/payments", body, key="p1")
        assert again.content == paid.content
        assert await ada.available("EUR") == "60.00"
        limits = (await ada.get("/v1/me/limits")).json()["data"][0]
        assert limits["used"] == "40.00"

    async def test_it_can_be_taken_back_whole(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        made = await locked(ada, kind="payment", target_asset="MXN")
        to = await recipient(ada)
        body = {"quote_id": made["id"], "recipient_id": to["id"], "purpose": "other"}
        payment = (await ada.post("/v1/payments", body)).json()
        back = await ada.post(f"/v1/payments/{payment['id']}/cancel")
        assert (back.status_code, back.json()["status"]) == (200, "cancelled")
        assert await ada.available("EUR") == "100.00"
        late = await ada.post(f"/v1/payments/{payment['id']}/cancel")
        assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
        assert late.json()["state"] == "cancelled"
        assert await world.bed.imbalance() == {}

    async def test_a_recipient_of_somebody_else_is_not_found(self, world: Any) -> None:
        ada, eve = await world.person(EUR="100.00"), await world.person()
        made = await locked(ada, kind="payment", target_asset="MXN")
        to = await recipient(eve)
        body = {"quote_id": made["id"], "recipient_id": to["id"], "purpose": "other"}
        refused = await ada.post("/v1/payments", body)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
        assert await ada.available("EUR") == "100.00"

    async def test_a_late_quote_pays_nobody(self, world: Any) -> None:
        ada = await world.person(EUR="100.00")
        made = await locked(ada, kind="payment", target_asset="MXN")
        to = await recipient(ada)
        await world.bed.advance(30 * 60 + 1)
        body = {"quote_id": made["id"], "recipient_id": to["id"], "purpose": "other"}
        refused = await ada.post("/v1/payments", body)
        assert (refused.status_code, refused.json()["code"]) == (410, "quote_expired")
        assert await ada.available("EUR") == "100.00"
