"""Lists: limits, opaque cursors, stable while rows are added; and what balances show."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import cursors
from api.errors import InvalidCursor
from wallet.ids import new_id

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone
CENT = {"amount": "0.01", "asset": "EUR"}


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


class TestCursors:
    @given(st.datetimes(timezones=st.just(UTC), min_value=EPOCH))
    def test_what_was_given_comes_back(self, at: datetime) -> None:
        row_id = new_id("trf")
        assert cursors.decode(cursors.encode(at, row_id)) == (at, row_id)

    @pytest.mark.parametrize(
        "cursor",
        ["", "x", "!!!!", "a" * 500, "é", b64("no bar"), b64("2026-01-01|trf_x"),
         b64("2026-01-01T00:00:00.000000Z|"), b64("2026-01-01T00:00:00.000000Z|a' OR 1=1"),
         b64("9999-99-99T00:00:00.000000Z|trf_1"), b64("2026-01-01T00:00:00.000000Z|trf_1") + "==",
         b64("2026-01-01T00:00:00.000000Z|trf_1\0")],
    )  # fmt: skip
    def test_nothing_else_is_taken(self, cursor: str) -> None:
        with pytest.raises(InvalidCursor):
            cursors.decode(cursor)


class TestPages:
    async def test_pages_meet_without_gap_or_overlap_while_rows_are_added(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        for _ in range(7):
            await ada.post("/v1/transfers", {"to": bob.id, "money": CENT})
        known = [row["id"] for row in (await ada.get("/v1/transfers")).json()["data"]]
        seen: list[str] = []
        cursor: str | None = None
        while True:
            params = {"limit": 3, **({"cursor": cursor} if cursor else {})}
            page = (await ada.get("/v1/transfers", **params)).json()
            assert len(page["data"]) <= 3
            seen.extend(row["id"] for row in page["data"])
            cursor = page["next_cursor"]
            if cursor is None:
                break
            await ada.post("/v1/transfers", {"to": bob.id, "money": CENT})
        assert seen == known

    @pytest.mark.parametrize("path", ["/v1/transfers", "/v1/activity", "/v1/deposits",
        "/v1/withdrawals", "/v1/conversions", "/v1/payments", "/v1/recipients"])  # fmt: skip
    async def test_bad_cursors_and_limits_are_told(self, world: Any, path: str) -> None:
        ada = await world.person()
        refused = await ada.get(path, cursor="nonsense")
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor")
        for limit in ("0", "-1", "201", "1000000", "x", "1.5"):
            refused = await ada.get(path, limit=limit)
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field"), limit
            assert refused.json()["errors"][0]["field"] == "/query/limit"
        assert (await ada.get(path, limit=200)).status_code == 200


class TestActivity:
    async def test_both_sides_see_a_transfer_their_way(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        body = {"to": bob.id, "money": CENT, "note": "for lunch"}
        made = (await ada.post("/v1/transfers", body)).json()
        sent = (await ada.get("/v1/activity")).json()["data"][0]
        got = (await bob.get("/v1/activity")).json()["data"][0]
        assert (sent["direction"], got["direction"]) == ("out", "in")
        assert sent["id"] == got["id"] == made["id"]
        assert sent["note"] == "for lunch"
        assert (await ada.get(sent["links"]["self"])).json() == made
        assert (await bob.get(f"/v1/activity/{made['id']}")).json() == got

    async def test_filters_narrow(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        await ada.post("/v1/transfers", {"to": bob.id, "money": CENT, "note": "100% lunch_"})
        for params, found in (
            ({"kind": "transfer"}, 1), ({"kind": "deposit"}, 0), ({"asset": "EUR"}, 1),
            ({"asset": "USD"}, 0), ({"q": "LUNCH"}, 1), ({"q": "100%"}, 1), ({"q": "100_"}, 0),
            ({"from": "2020-01-01T00:00:00Z"}, 1), ({"to": "2020-01-01T00:00:00Z"}, 0),
        ):  # fmt: skip
            rows = (await ada.get("/v1/activity", **params)).json()["data"]
            assert len(rows) == found, params

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"kind": "theft"}, "invalid_field"), ({"asset": "XXX"}, "unknown_asset"),
            ({"from": "yesterday"}, "invalid_field"),
            ({"from": "2020-01-01T00:00"}, "invalid_field"),
            ({"q": ""}, "invalid_field"), ({"q": "a\x00"}, "invalid_field"),
        ],
    )  # fmt: skip
    async def test_bad_filters_are_told(self, world: Any, params: Any, code: str) -> None:
        ada = await world.person()
        refused = await ada.get("/v1/activity", **params)
        assert (refused.status_code, refused.json()["code"]) == (422, code)


class TestBalances:
    async def test_held_and_available_make_the_total(self, observed: Any) -> None:
        ada = await observed.person(ETH="2.0", EUR="1.00")
        rows = {row["asset"]: row for row in (await ada.get("/v1/balances")).json()["data"]}
        assert rows["ETH"] == {
            "asset": "ETH",
            "available": "2.000000000000000000",
            "held": "0.000000000000000000",
            "pending": "0.000000000000000000",
            "total": "2.000000000000000000",
        }
        assert rows["EUR"]["total"] == "1.00"

    async def test_a_new_person_has_nothing(self, world: Any) -> None:
        ada = await world.person()
        body = (await ada.get("/v1/balances")).json()
        assert body["data"] == []
        assert body["as_of"].endswith("Z")


class TestNetworks:
    async def test_a_network_nobody_watches_is_not_healthy(self, world: Any) -> None:
        row = (await world.http.get("/v1/networks")).json()["data"][0]
        assert (row["network"], row["healthy"], row["head_block"]) == ("local", False, None)

    async def test_a_watched_one_is(self, observed: Any) -> None:
        row = (await observed.http.get("/v1/networks")).json()["data"][0]
        assert (row["healthy"], row["head_block"], row["chain_id"]) == (True, 100, 31337)
        assert row["rpc_url"].startswith("http")
