"""Nobody reads or moves what is another's: every route with an id, every route without a token."""

from __future__ import annotations

from typing import Any

import pytest

from wallet.outbox import Relay

OPEN = {
    ("get", "/livez"), ("get", "/readyz"), ("get", "/metrics"), ("post", "/v1/users"),
    ("post", "/v1/sessions"), ("get", "/v1/assets"), ("get", "/v1/networks"),
    ("get", "/v1/corridors"), ("post", "/v1/siwe/nonces"), ("post", "/v1/sessions/siwe"),
}  # fmt: skip


def operations(world: Any) -> list[tuple[str, str, dict[str, Any]]]:
    document = world.http._transport.app.openapi()
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


class TestWithoutAToken:
    async def test_every_route_is_closed_or_listed_as_open(self, world: Any) -> None:
        """A new route is closed, or somebody wrote it down here."""
        for method, path, operation in operations(world):
            if (method, path) in OPEN or path.startswith("/sandbox"):
                assert {"sessionToken": []} not in operation.get("security", [])
                continue
            assert operation["security"] == [{"sessionToken": []}], path
            concrete = path.replace("{", "").replace("}", "")
            answered = await world.http.request(method.upper(), concrete)
            assert (answered.status_code, answered.json()["code"]) == (401, "unauthenticated"), path


# Routes whose body is looked at before the id.
BODIES = {
    "/v1/self-custody/accounts/{account_id}/export": {
        "nonce": "ab" * 16,
        "box": {"key": "00" * 32, "nonce": "00" * 12, "box": "00" * 48},
    }
}


class TestForeignIds:
    @pytest.fixture
    async def made(self, observed: Any) -> dict[str, str]:
        """One of everything that has an id, all of it Ada's."""
        ada, bob = await observed.person(EUR="500.00", ETH="5"), await observed.person()
        self.bystander = await observed.person(EUR="500.00", ETH="5")
        money = {"amount": "1.00", "asset": "EUR"}
        quote = {"source_asset": "EUR", "target_asset": "MXN", "source_amount": "40.00"}
        conversion = await ada.post(
            "/v1/quotes", {**quote, "kind": "conversion", "target_asset": "USD"}
        )
        quoted = await ada.post("/v1/quotes", {**quote, "kind": "payment"})
        to = await ada.post(
            "/v1/recipients",
            {"type": "clabe", "name": "Sofía", "country": "MX", "clabe": "032180000118359719"},
        )
        paid = await ada.post(
            "/v1/payments",
            {"quote_id": quoted.json()["id"], "recipient_id": to.json()["id"], "purpose": "other"},
        )
        transfer = await ada.post("/v1/transfers", {"to": bob.id, "money": money})
        converted = await ada.post("/v1/conversions", {"quote_id": conversion.json()["id"]})
        sessions = await ada.get("/v1/sessions")
        watched = await ada.post("/v1/watched", {"source": "0x" + "ab" * 20, "label": "Ada's own"})
        held = await ada.post(
            "/v1/holds", {"to": bob.id, "money": money, "expires_in_seconds": 600}
        )
        await Relay(observed.services.db).tick()
        events = await ada.get("/v1/events")
        token = await ada.post("/sandbox/card-tokens", {"test_card": "visa_ok"})
        card = await ada.post("/v1/cards", {"token": token.json()["token"]})
        topup = await ada.post("/v1/topups", {"money": money, "method": "bank_transfer"})
        return {
            "card_id": card.json()["id"],
            "topup_id": topup.json()["id"],
            "event_id": events.json()["data"][0]["id"],
            "hold_id": held.json()["id"],
            "quote_id": quoted.json()["id"],
            "recipient_id": to.json()["id"],
            "payment_id": paid.json()["id"],
            "transfer_id": transfer.json()["id"],
            "activity_id": transfer.json()["id"],
            "conversion_id": converted.json()["id"],
            "session_id": sessions.json()["data"][0]["id"],
            "withdrawal_id": "wdr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0",
            "watched_id": watched.json()["id"],
            "account_id": "sca_01JD3VQ4T0Z8Y6X5W4V3T2S1R0",
            "request_id": "scr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0",
            "send_id": "scs_01JD3VQ4T0Z8Y6X5W4V3T2S1R0",
            "deposit_id": "dep_01JD3VQ4T0Z8Y6X5W4V3T2S1R0",
            "address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        }

    async def test_another_persons_id_is_not_found_on_any_route(
        self, observed: Any, made: dict[str, str]
    ) -> None:
        before = await observed.counts()
        tried = 0
        for method, path, _operation in operations(observed):
            if "{" not in path:
                continue
            concrete = path.format(**made)  # a KeyError here: a new id needs its own line above
            answered = await self.bystander.send(
                method.upper(), concrete, json=BODIES.get(path),
                headers={"Idempotency-Key": "foreign"},
            )  # fmt: skip
            told = (answered.status_code, answered.json()["code"])
            # Own accounts answer nobody here: this world has no signer.
            away = path in BODIES and told == (503, "self_custody_unavailable")
            assert away or told == (404, "not_found"), path
            tried += 1
        assert tried >= 10
        assert await observed.counts() == before

    @pytest.mark.parametrize(
        "wrong", ["x", "%00", "a%00b", "..%2f..%2fetc", "'", "usr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0",
                  "9" * 300, "%F0%9F%92%B8", "%ff%fe"]
    )  # fmt: skip
    async def test_ids_that_are_none_are_not_found_either(self, world: Any, wrong: str) -> None:
        ada = await world.person()
        for method, path, _operation in operations(world):
            if "{" not in path:
                continue
            concrete = path[: path.index("{")] + wrong + path[path.index("}") + 1 :]
            answered = await ada.send(
                method.upper(), concrete, json=BODIES.get(path),
                headers={"Idempotency-Key": "wrong"},
            )  # fmt: skip
            assert answered.status_code == 404, (path, answered.text)

    async def test_lists_show_only_ones_own(self, observed: Any, made: dict[str, str]) -> None:
        for path in (
            "/v1/transfers", "/v1/payments", "/v1/recipients", "/v1/conversions", "/v1/deposits",
            "/v1/withdrawals", "/v1/activity", "/v1/deposit-addresses",
            "/v1/watched", "/v1/self-custody/accounts", "/v1/self-custody/sends",
            "/v1/topups", "/v1/cards", "/v1/events",
        ):  # fmt: skip
            assert (await self.bystander.get(path)).json()["data"] == []


class TestUnknownFields:
    @pytest.mark.parametrize(
        "extra",
        ["role", "is_admin", "balance", "status", "tenant_id", "fee", "rate", "kyc_level",
         "principal_id", "payer_id", "__proto__"],
    )  # fmt: skip
    async def test_no_body_takes_a_field_it_does_not_know(self, world: Any, extra: str) -> None:
        ada = await world.person(EUR="10.00")
        for method, path, operation in operations(world):
            if "requestBody" not in operation:
                continue
            concrete = path.replace("{", "").replace("}", "")
            answered = await ada.send(
                method.upper(), concrete, json={extra: "1"}, headers={"Idempotency-Key": "k"}
            )
            assert (answered.status_code, answered.json()["code"]) == (422, "unknown_field"), path
