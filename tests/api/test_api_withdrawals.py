"""Withdrawals and deposit addresses over HTTP; what leaves and settles is the worker's own test."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from chain.transactions import TxFields, encode_unsigned
from wallet import custody, ledger
from wallet.ledger import accounts
from wallet.money import Money

OUTSIDE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
USDC = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
ETHER = 10**18
HALF = {"amount": "0.5", "asset": "ETH"}


def draft(**changed: Any) -> dict[str, Any]:
    return {"network": "local", "money": HALF, "to_address": OUTSIDE, **changed}


@pytest.fixture
async def house(observed: Any) -> Any:
    """A network that is watched and has a hot wallet."""
    hot = observed.services.house.hot[0]
    async with observed.services.db.transaction() as session:
        await custody.register_house_address(session, network="local", address=hot, place="hot")
    return observed


class TestEstimate:
    async def test_it_says_what_it_would_cost_in_the_same_asset(self, house: Any) -> None:
        ada = await house.person()
        for asset in ("ETH", "USDC"):
            body = draft(money={"amount": "1", "asset": asset})
            told = await ada.send("POST", "/v1/withdrawals/estimate", json=body)
            assert told.status_code == 200, told.text
            assert told.json()["fee_expected"]["asset"] == asset
            assert told.json()["fee_max"]["asset"] == asset
            assert float(told.json()["fee_max"]["amount"]) >= float(
                told.json()["fee_expected"]["amount"]
            )
            assert told.json()["arrives_in_seconds"] > 0

    async def test_it_needs_no_key_and_writes_nothing(self, house: Any) -> None:
        ada = await house.person()
        before = await house.counts()
        await ada.send("POST", "/v1/withdrawals/estimate", json=draft())
        assert await house.counts() == before


class TestCreate:
    async def test_amount_and_bound_are_held_and_the_rest_is_promised(self, house: Any) -> None:
        ada = await house.person(ETH="2")
        made = await ada.post("/v1/withdrawals", draft(), key="w1")
        assert made.status_code == 202, made.text
        body = made.json()
        assert made.headers["location"] == f"/v1/withdrawals/{body['id']}"
        assert body["status"] == "held"
        assert body["waiting_for"]
        assert body["money"] == {"amount": "0.500000000000000000", "asset": "ETH"}
        assert [event["type"] for event in body["events"]] == ["withdrawal.held"]
        again = await ada.post("/v1/withdrawals", draft(), key="w1")
        assert again.content == made.content
        assert (await house.counts())["withdrawals"] == 1
        row = next(
            row for row in (await ada.get("/v1/balances")).json()["data"] if row["asset"] == "ETH"
        )
        assert float(row["held"]) == pytest.approx(0.5 + float(body["fee_max"]["amount"]))
        assert row["total"] == "2.000000000000000000"
        assert (await ada.get(f"/v1/withdrawals/{body['id']}")).json() == body

    @pytest.mark.parametrize(
        "address",
        ["0x0000000000000000000000000000000000000000", USDC, USDC.lower(), "0x1234", "nonsense",
         OUTSIDE[2:], OUTSIDE.replace("C8", "c8"), OUTSIDE.upper(), OUTSIDE + "0", " " + OUTSIDE],
    )  # fmt: skip
    async def test_addresses_that_lose_money_are_refused(self, house: Any, address: str) -> None:
        ada = await house.person(ETH="2")
        before = await house.counts()
        for path in ("/v1/withdrawals/estimate", "/v1/withdrawals"):
            refused = await ada.post(path, draft(to_address=address))
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_address")
            assert refused.json()["errors"][0]["field"] == "/to_address"
        assert await house.counts() == before

    async def test_an_address_of_the_house_or_of_anybody_here_is_refused(self, house: Any) -> None:
        ada, bob = await house.person(ETH="2"), await house.person()
        place = await bob.post("/v1/deposit-addresses", {"network": "local"})
        for address in (house.services.house.hot[0], place.json()["address"]):
            refused = await ada.post("/v1/withdrawals", draft(to_address=address))
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_address")
            assert bob.id not in refused.text

    async def test_a_network_that_is_not_served_is_named(self, house: Any) -> None:
        ada = await house.person(ETH="2")
        refused = await ada.post("/v1/withdrawals", draft(network="mainnet"))
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_network")

    async def test_fiat_does_not_leave_by_a_chain(self, house: Any) -> None:
        ada = await house.person(EUR="100")
        refused = await ada.post("/v1/withdrawals", draft(money={"amount": "1.00", "asset": "EUR"}))
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_asset")

    async def test_amount_without_room_for_the_fee_is_refused(self, house: Any) -> None:
        """L2: the fee is part of what must be there."""
        ada = await house.person(ETH="0.5")
        before = await house.counts()
        refused = await ada.post("/v1/withdrawals", draft())
        assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_funds")
        assert await house.counts() == before

    async def test_a_day_has_a_limit(self, house: Any) -> None:
        ada = await house.person(ETH="100")
        big = draft(money={"amount": "50", "asset": "ETH"})
        refused = await ada.post("/v1/withdrawals", big)
        assert (refused.status_code, refused.json()["code"]) == (403, "limit_exceeded")
        assert refused.json()["remaining"]["amount"] == "10000.00"

    async def test_a_silent_network_is_unavailable_and_the_key_stays_free(self, house: Any) -> None:
        ada = await house.person(ETH="2")
        async with house.services.db.transaction() as session:
            await session.execute(
                text("UPDATE network_state SET as_of = clock_timestamp() - interval '16 seconds'")
            )
        before = await house.counts()
        refused = await ada.post("/v1/withdrawals", draft(), key="w1")
        assert (refused.status_code, refused.json()["code"]) == (503, "chain_unavailable")
        assert "retry-after" in refused.headers
        assert await house.counts() == before
        async with house.services.db.transaction() as session:
            await session.execute(text("UPDATE network_state SET as_of = clock_timestamp()"))
        assert (await ada.post("/v1/withdrawals", draft(), key="w1")).status_code == 202

    async def test_a_replay_asks_no_node(self, house: Any) -> None:
        ada = await house.person(ETH="2")
        first = await ada.post("/v1/withdrawals", draft(), key="w1")
        async with house.services.db.transaction() as session:
            await session.execute(text("UPDATE network_state SET healthy = false"))
        again = await ada.post("/v1/withdrawals", draft(), key="w1")
        assert (again.status_code, again.content) == (202, first.content)
        assert again.headers["idempotent-replayed"] == "true"


async def _given_a_nonce(house: Any, withdrawal_id: str) -> None:
    """What the worker does to it, up to the broadcast; no node is needed for that here."""
    fields = TxFields(31337, 0, 10**9, 2 * 10**9, 21_000, OUTSIDE, 10**16)
    async with house.services.db.transaction() as session:
        found = await session.execute(
            text("SELECT intent_id FROM withdrawals WHERE id = :id"), {"id": withdrawal_id}
        )
        intent_id = found.scalar_one()
        await session.execute(
            text(
                "UPDATE chain_intents SET from_address = :hot, nonce = 0, state = 'sent',"
                " fee_ceiling_wei = 20000000000 WHERE id = :id"
            ),
            {"id": intent_id, "hot": house.services.house.hot[0]},
        )
        await session.execute(
            text(
                "INSERT INTO chain_attempts (intent_id, seq, network, kind, unsigned, tip_wei,"
                " cap_wei, raw, tx_hash, sends) VALUES (:id, 1, 'local', 'pay', :unsigned,"
                " 1000000000, 2000000000, '\\x02', '0xaa', 1)"
            ),
            {"id": intent_id, "unsigned": encode_unsigned(fields)},
        )
        await session.execute(
            text("UPDATE withdrawals SET status = 'broadcast' WHERE id = :id"),
            {"id": withdrawal_id},
        )


class TestCancel:
    async def test_while_held_it_comes_back_whole_and_only_once(self, house: Any) -> None:
        ada = await house.person(ETH="2")
        made = (await ada.post("/v1/withdrawals", draft())).json()
        back = await ada.post(f"/v1/withdrawals/{made['id']}/cancel", key="c1")
        assert (back.status_code, back.json()["status"]) == (200, "cancelled")
        assert await ada.available("ETH") == "2.000000000000000000"
        again = await ada.post(f"/v1/withdrawals/{made['id']}/cancel", key="c1")
        assert again.content == back.content
        late = await ada.post(f"/v1/withdrawals/{made['id']}/cancel", key="c2")
        assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
        assert late.json()["state"] == "cancelled"

    async def test_after_the_nonce_is_given_it_is_a_wish(self, house: Any) -> None:
        """202 until the chain has decided; speed-up answers alike, and 409 names the state."""
        ada = await house.person(ETH="4")
        made = (await ada.post("/v1/withdrawals", draft())).json()
        early = await ada.post(f"/v1/withdrawals/{made['id']}/speed-up")
        assert (early.status_code, early.json()["code"]) == (409, "invalid_state")
        assert early.json()["state"] == "held"
        await _given_a_nonce(house, made["id"])
        faster = await ada.post(f"/v1/withdrawals/{made['id']}/speed-up", key="s1")
        assert (faster.status_code, faster.json()["status"]) == (202, "broadcast")
        back = await ada.post(f"/v1/withdrawals/{made['id']}/cancel", key="c1")
        assert (back.status_code, back.json()["cancel_requested"]) == (202, True)
        assert back.json()["waiting_for"] == "cancellation"
        replay = await ada.post(f"/v1/withdrawals/{made['id']}/cancel", key="c1")
        assert (replay.status_code, replay.content) == (202, back.content)
        refused = await ada.post(f"/v1/withdrawals/{made['id']}/speed-up", key="s2")
        assert refused.status_code == 409
        other = await house.person(ETH="1")
        for action in ("cancel", "speed-up"):
            theirs = await other.post(f"/v1/withdrawals/{made['id']}/{action}")
            assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")

    async def test_a_key_belongs_to_one_concrete_path(self, house: Any) -> None:
        ada = await house.person(ETH="4")
        one = (await ada.post("/v1/withdrawals", draft())).json()
        two = (await ada.post("/v1/withdrawals", draft())).json()
        await ada.post(f"/v1/withdrawals/{one['id']}/cancel", key="c1")
        refused = await ada.post(f"/v1/withdrawals/{two['id']}/cancel", key="c1")
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_mismatch")
        state = await ada.get(f"/v1/withdrawals/{two['id']}")
        assert state.json()["status"] == "held"


class TestDepositAddresses:
    async def test_the_same_until_a_fresh_one_is_asked_for(self, world: Any) -> None:
        ada, bob = await world.person(), await world.person()
        one = await ada.post("/v1/deposit-addresses", {"network": "local"})
        assert one.status_code == 201
        again = await ada.post("/v1/deposit-addresses", {"network": "local"})
        assert again.json() == one.json()
        fresh = await ada.post("/v1/deposit-addresses", {"network": "local", "fresh": True})
        other = await bob.post("/v1/deposit-addresses", {"network": "local"})
        addresses = {made.json()["address"] for made in (one, fresh, other)}
        assert len(addresses) == 3
        assert one.json()["uri"] == f"ethereum:{one.json()['address']}@31337"
        assert "derivation" not in one.text and "m/44" not in one.text
        assert len((await ada.get("/v1/deposit-addresses")).json()["data"]) == 2

    async def test_an_address_swapped_in_the_database_is_never_shown(
        self, world: Any, database: Any
    ) -> None:
        import psycopg

        ada = await world.person()
        await ada.post("/v1/deposit-addresses", {"network": "local"})
        with psycopg.connect(database.conninfo("bifold_owner")) as connection:
            connection.execute("UPDATE deposit_addresses SET address = %s", (OUTSIDE,))
        for method, body in (("POST", {"network": "local"}), ("GET", None)):
            refused = await ada.send(method, "/v1/deposit-addresses", json=body)
            assert (refused.status_code, refused.json()["code"]) == (503, "address_mismatch")
            assert OUTSIDE not in refused.text


class TestNodeAway:
    async def test_the_node_alone_away_is_unavailable(self, house: Any, node: Any) -> None:
        """The observer was here a moment ago; the estimate's own question gets no answer."""
        asset = house.services.assets.get("ETH")
        async with house.services.db.transaction() as session:
            await ledger.post(
                session,
                ledger.Command(
                    kind="test",
                    ref="test",
                    lines=[
                        ledger.Line(accounts.on_chain("local", "ETH", "hot"), Money(-ETHER, asset)),
                        ledger.Line(accounts.capital("ETH"), Money(ETHER, asset)),
                    ],
                ),
            )
        node.away = True
        ada = await house.person(ETH="2")
        before = await house.counts()
        for path in ("/v1/withdrawals/estimate", "/v1/withdrawals"):
            refused = await ada.post(path, draft())
            assert (refused.status_code, refused.json()["code"]) == (503, "chain_unavailable")
        assert await house.counts() == before
