"""Sandbox routes: what they do, and who may not call them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from api.app import create_app
from api.routes import health
from wallet import cases
from wallet.settings import Settings

OUTSIDE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def draw(amount: str = "1.5", asset: str = "USDC", **changed: Any) -> dict[str, Any]:
    money = {"amount": amount, "asset": asset}
    return {"network": "local", "address": OUTSIDE, "money": money, **changed}


class TestFaucet:
    @pytest.mark.parametrize("asset", ["ETH", "USDC"])
    async def test_real_coins_move(self, world: Any, node: Any, asset: str) -> None:
        chain = world.services.chains["local"]
        head = (await chain.head()).number
        sent = await world.http.post("/sandbox/faucet", json=draw(asset=asset))
        assert sent.status_code == 200, sent.text
        assert sent.json()["durable"] is True
        assert sent.json()["block_number"] == head + 1
        held = await chain.balances([OUTSIDE], asset, head + 1)
        assert held == [1_500_000 if asset == "USDC" else 15 * 10**17]

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (draw(address="0x123"), 422, "invalid_address"),
            (draw(address=OUTSIDE.replace("C8", "c8")), 422, "invalid_address"),
            (draw(network="moon"), 422, "unknown_network"),
            (draw(asset="EUR"), 422, "unknown_asset"),
            (draw(amount="999999999999"), 409, "faucet_refused"),
        ],
    )
    async def test_what_cannot_be_is_told(
        self, world: Any, body: dict[str, Any], status: int, code: str
    ) -> None:
        refused = await world.http.post("/sandbox/faucet", json=body)
        assert (refused.status_code, refused.json()["code"]) == (status, code)

    async def test_a_node_that_is_away_is_503(self, world: Any, node: Any) -> None:
        node.away = True
        refused = await world.http.post("/sandbox/faucet", json=draw())
        assert (refused.status_code, refused.json()["code"]) == (503, "chain_unavailable")

    async def test_it_waits_for_the_snapshot_that_keeps_it(self, observed: Any) -> None:
        """On a node we snapshot ourselves, coins that a kill could take back are not yet given."""
        networks = observed.services.networks
        networks["local"] = replace(networks["local"], local_snapshots=True)
        async with observed.services.db.transaction() as session:
            await session.execute(text("UPDATE network_state SET snapshot_block = 0"))
        asked = asyncio.create_task(observed.http.post("/sandbox/faucet", json=draw()))
        await asyncio.sleep(0.6)
        assert not asked.done()
        async with observed.services.db.transaction() as session:
            await session.execute(text("UPDATE network_state SET snapshot_block = 99"))
        assert (await asked).json()["durable"] is True

    async def test_a_draw_that_a_killed_node_lost_is_not_durable(
        self, observed: Any, node: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It came back from an older snapshot, and a later one is as high without the draw."""
        monkeypatch.setattr("api.sandbox.chain.SNAPSHOT_WAIT_SECONDS", 3.0)
        networks = observed.services.networks
        networks["local"] = replace(networks["local"], local_snapshots=True)
        async with observed.services.db.transaction() as session:
            await session.execute(text("UPDATE network_state SET snapshot_block = 0"))
        head = node.chain.head.number
        asked = asyncio.create_task(observed.http.post("/sandbox/faucet", json=draw()))
        while node.chain.head.number == head:  # noqa: ASYNC110 - the node has no bell
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)  # it has its receipt
        assert not asked.done()
        node.chain.reorg(1)
        async with observed.services.db.transaction() as session:
            await session.execute(text("UPDATE network_state SET snapshot_block = 99"))
        assert (await asked).json()["durable"] is False

    async def test_a_snapshot_of_a_fork_that_was_left_keeps_nothing(
        self, observed: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("api.sandbox.chain.SNAPSHOT_WAIT_SECONDS", 1.5)
        networks = observed.services.networks
        networks["local"] = replace(networks["local"], local_snapshots=True)
        async with observed.services.db.transaction() as session:
            await session.execute(
                text("UPDATE network_state SET snapshot_block = 1, snapshot_hash = '0xother'")
            )
        assert (await observed.http.post("/sandbox/faucet", json=draw())).json()["durable"] is False


class TestBlocks:
    async def test_mine_and_reorg_tell_the_head(self, world: Any) -> None:
        mined = await world.http.post("/sandbox/mine", json={"network": "local", "blocks": 5})
        assert mined.status_code == 200, mined.text
        head = mined.json()["head_block"]
        again = await world.http.post("/sandbox/reorg", json={"network": "local", "depth": 2})
        assert again.json()["head_block"] == head
        deep = {"network": "local", "depth": head + 1}
        refused = await world.http.post("/sandbox/reorg", json=deep)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
        assert refused.json()["errors"][0]["field"] == "/depth"
        assert refused.json()["detail"].startswith(f"At most {head} now: ")

    @pytest.mark.parametrize("blocks", [0, -1, 1_001, 1.5, "5", True, None])
    async def test_odd_numbers_of_blocks_are_refused(self, world: Any, blocks: Any) -> None:
        refused = await world.http.post(
            "/sandbox/mine", json={"network": "local", "blocks": blocks}
        )
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")


class TestHouse:
    async def test_time_moves_forward_only(self, world: Any) -> None:
        moved = await world.http.post("/sandbox/clock", json={"advance_seconds": 3600})
        assert moved.json()["offset_seconds"] == 3600
        for seconds in (0, -5, 10**12, "60", 1.5):
            refused = await world.http.post("/sandbox/clock", json={"advance_seconds": seconds})
            assert refused.status_code == 422

    async def test_a_bank_transfer_is_credited_at_once(self, world: Any) -> None:
        ada = await world.person()
        body = {"user": ada.id, "money": {"amount": "250.00", "asset": "EUR"}}
        made = await world.http.post("/sandbox/bank-credits", json=body)
        assert made.status_code == 201, made.text
        assert await ada.available("EUR") == "250.00"
        line = (await ada.get("/v1/activity")).json()["data"][0]
        assert (line["kind"], line["status"], line["id"]) == (
            "topup", "succeeded", made.json()["id"],
        )  # fmt: skip
        assert await world.bed.imbalance() == {}

    async def test_nobody_and_coins_are_refused(self, world: Any) -> None:
        ada = await world.person()
        euro = {"amount": "1.00", "asset": "EUR"}
        for user in ("usr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0", "nobody", "prn_house"):
            refused = await world.http.post(
                "/sandbox/bank-credits", json={"user": user, "money": euro}
            )
            assert (refused.status_code, refused.json()["code"]) == (404, "recipient_not_found")
        coins = {"user": ada.id, "money": {"amount": "1", "asset": "ETH"}}
        assert (await world.http.post("/sandbox/bank-credits", json=coins)).status_code == 422

    async def test_faults_are_listed_and_switched_in_both_forms(self, world: Any) -> None:
        listed = (await world.http.get("/sandbox/faults")).json()["data"]
        assert {row["name"] for row in listed} >= {"rpc_drops_reply", "node_away", "payout_silent"}
        assert not any(row["enabled"] for row in listed)
        await world.http.put("/sandbox/faults", json={"faults": {"node_away": True}})
        put = await world.http.put(
            "/sandbox/faults", json={"name": "payout_silent", "enabled": True}
        )
        on = {row["name"] for row in put.json()["data"] if row["enabled"]}
        assert on == {"node_away", "payout_silent"}
        assert world.services.faults.names == on

    @pytest.mark.parametrize(
        "body",
        [{}, {"name": "node_away"}, {"enabled": True}, {"faults": {"meteor": True}},
         {"faults": {"node_away": 1}}, {"faults": {"node_away": True}, "name": "node_away"},
         {"faults": [], "name": "node_away", "enabled": True}],
    )  # fmt: skip
    async def test_half_a_switch_is_refused(self, world: Any, body: dict[str, Any]) -> None:
        refused = await world.http.put("/sandbox/faults", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
        listed = (await world.http.get("/sandbox/faults")).json()["data"]
        assert not any(row["enabled"] for row in listed)


class TestGuard:
    BODY = '{"network": "local", "blocks": 1}'
    JSON = {"Content-Type": "application/json"}  # noqa: RUF012 - read only

    @pytest.mark.parametrize(
        ("headers", "status", "code"),
        [
            ({"Host": "evil.example"}, 400, "host_not_allowed"),
            ({"Host": "localhost.evil.example:8000"}, 400, "host_not_allowed"),
            ({"Host": "169.254.169.254"}, 400, "host_not_allowed"),
            ({"Host": ""}, 400, "host_not_allowed"),
            ({"Origin": "https://evil.example"}, 403, "origin_not_allowed"),
            ({"Origin": "null"}, 403, "origin_not_allowed"),
            ({"Origin": "http://localhost.evil.example"}, 403, "origin_not_allowed"),
            ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
            ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ],
    )
    async def test_another_sites_page_gets_nothing(
        self, world: Any, node: Any, headers: dict[str, str], status: int, code: str
    ) -> None:
        head = node.chain.head.number
        refused = await world.http.post(
            "/sandbox/mine", content=self.BODY, headers={**self.JSON, **headers}
        )
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert node.chain.head.number == head

    @pytest.mark.parametrize(
        "host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "localhost"]
    )
    async def test_this_machine_may(self, world: Any, host: str) -> None:
        headers = {**self.JSON, "Host": host, "Origin": f"http://{host}"}
        done = await world.http.post("/sandbox/mine", content=self.BODY, headers=headers)
        assert done.status_code == 200, done.text

    async def test_beyond_loopback_only_with_the_token(self, world: Any) -> None:
        world.services.settings = Settings(
            mode="sandbox",
            database_url=world.services.settings.database_url,
            host="0.0.0.0",
            public_url="http://box.example:8000",
            sandbox_token="let-me-play",
        )
        transport = httpx2.ASGITransport(app=create_app(world.services), raise_app_exceptions=False)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://box.example:8000"
        ) as http:
            for headers, status in (
                ({}, 401), ({"Authorization": "Bearer wrong"}, 401),
                ({"Authorization": "Bearer let-me-play"}, 200),
                ({"Authorization": "Bearer let-me-play", "Host": "localhost:8000"}, 400),
            ):  # fmt: skip
                got = await http.get("/sandbox/faults", headers=headers)
                assert got.status_code == status, headers


class TestHealth:
    async def test_what_is_down_is_named(self, world: Any) -> None:
        ready = await world.http.get("/readyz")
        assert (ready.status_code, ready.json()["down"]) == (503, ["network:local"])

    async def test_ready_when_all_is_well(self, observed: Any) -> None:
        ready = await observed.http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "down": []})

    async def test_a_silent_process_is_named_and_one_living_worker_is_enough(
        self, observed: Any
    ) -> None:
        async with observed.services.db.transaction() as session:
            await session.execute(
                text(
                    "INSERT INTO process_state (name, healthy, detail, at) VALUES"
                    " ('signer', false, 'dead', clock_timestamp()),"
                    " ('anvil', true, '', clock_timestamp() - interval '1 minute'),"
                    " ('worker:a:1', true, '', clock_timestamp() - interval '1 minute'),"
                    " ('worker:a:2', true, '', clock_timestamp())"
                )
            )
        ready = await observed.http.get("/readyz")
        assert ready.json()["down"] == ["process:anvil", "process:signer"]

    async def test_a_halted_network_is_down(self, observed: Any) -> None:
        async with observed.services.db.transaction() as session:
            await session.execute(text("UPDATE network_state SET halted_reason = 'deep reorg'"))
        assert (await observed.http.get("/readyz")).json()["down"] == ["network:local"]

    async def test_many_who_ask_at_once_cost_one_look(
        self, observed: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Anybody may ask, and a look reads every network's blocks: forty a second kept both
        processors and all connections from everybody."""
        looks = []
        look = health.vitals

        async def counted(session: Any) -> Any:
            looks.append(session)
            return await look(session)

        monkeypatch.setattr(health, "vitals", counted)
        asked = await asyncio.gather(*(observed.http.get("/readyz") for _ in range(50)))
        assert {ready.status_code for ready in asked} == {200}
        assert len(looks) == 1
        await asyncio.sleep(health.LOOK_SECONDS)
        await observed.http.get("/readyz")
        assert len(looks) == 2

    async def test_an_older_schema_is_down(self, observed: Any, database: Any) -> None:
        import psycopg

        with psycopg.connect(database.conninfo("bifold_owner")) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'r0001'")
        assert "migrations" in (await observed.http.get("/readyz")).json()["down"]

    async def test_open_cases_are_counted_by_kind(self, observed: Any) -> None:
        async with observed.services.db.transaction() as session:
            await cases.open_case(session, kind="signer_halted", subject="local/0x1", what="It is.")
        figures = (await observed.http.get("/metrics")).text
        assert 'bifold_open_cases{kind="signer_halted"} 1.0' in figures
        assert 'bifold_open_cases{kind="payment_late"} 0.0' in figures

    async def test_the_age_of_what_was_last_known_is_told_by_source(self, observed: Any) -> None:
        """A network that is not known now is as old as its last reading; one that never was, older
        than any alarm."""
        async with observed.services.db.transaction() as session:
            for run, minutes, known in (("rec_1", 9, "a"), ("rec_2", 0, "b")):
                await session.execute(
                    text("INSERT INTO reconcile_runs (id, outcome, started_at) VALUES"
                         " (:run, 'unknown', clock_timestamp() - make_interval(mins => :minutes))"),
                    {"run": run, "minutes": minutes},
                )  # fmt: skip
                for name in ("a", "b", "c"):
                    await session.execute(
                        text("INSERT INTO reconcile_reads (run_id, source, unknown_reason)"
                             " VALUES (:run, :source, :why)"),
                        {"run": run, "source": f"chain:{name}",
                         "why": None if name == known else "away"},
                    )  # fmt: skip
        figures = (await observed.http.get("/metrics")).text
        ages = {
            line.split('"')[1]: float(line.split()[-1])
            for line in figures.splitlines()
            if line.startswith("bifold_reconcile_age_seconds{")
        }
        assert 540 <= ages["chain:a"] < 600 and 0 <= ages["chain:b"] < 60
        assert ages["chain:c"] == float("inf")

    async def test_lag_gaps_and_age_of_a_network_are_told(
        self, observed: Any, database: Any
    ) -> None:
        import psycopg

        def told(figures: str) -> dict[str, str]:
            lines = [line.split() for line in figures.splitlines() if '{network="local"}' in line]
            return {name.removesuffix('{network="local"}'): figure for name, figure in lines}

        with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as owner:
            owner.execute(
                "INSERT INTO scan_state (network, tip_number, tip_hash, started_at_block)"
                " VALUES ('local', 93, '0x93', 90)"
            )
            owner.execute(
                "INSERT INTO chain_blocks (network, number, hash, parent_hash, block_time)"
                " SELECT 'local', n, '0x' || n, '0x' || n - 1, now() FROM generate_series(90, 93) n"
            )
            whole = told((await observed.http.get("/metrics")).text)
            assert whole["bifold_scanner_lag_blocks"] == "7.0"  # the head is 100
            assert whole["bifold_scanner_gaps"] == "0.0"
            assert 0 <= float(whole["bifold_network_head_age_seconds"]) < 15
            owner.execute("DELETE FROM chain_blocks WHERE number = 92")
            owner.execute("UPDATE network_state SET as_of = NULL")  # as `wrong_chain` leaves it
            torn = told((await observed.http.get("/metrics")).text)
            assert torn["bifold_scanner_gaps"] == "1.0"
            assert torn["bifold_network_head_age_seconds"] == "+Inf"

    async def test_figures_are_by_route_and_never_by_id(self, observed: Any) -> None:
        ada = await observed.person()
        await ada.get("/v1/transfers/trf_01JD3VQ4T0Z8Y6X5W4V3T2S1R0")
        await ada.get("/v1/nothing/secret-path")
        figures = (await observed.http.get("/metrics")).text
        assert 'route="/v1/transfers/{transfer_id}",status="404"' in figures
        assert "01JD3VQ4" not in figures and "secret-path" not in figures
        assert "bifold_network_head_age_seconds" in figures
