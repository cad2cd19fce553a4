"""Import, list, remove: one's own only, never twice, never a secret, never ours, never mixed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import text

from chain.testing.fake_node import FAUCET, FakeNode
from keys import derivation
from keys.hd import HdNode
from keys.mnemonic import from_entropy, to_seed
from keys.secret import Secret, SecretText
from tests.api.conftest import PHRASE, USDC_CONTRACT
from wallet import custody
from wallet.watch import BalanceReader
from wallet.watch.service import MAX_WATCHED, MAX_XPUBS

SEED = to_seed(from_entropy(Secret(bytes(range(16))), "english"))
HOUSE = to_seed(SecretText(PHRASE))
COLD = "0x8ba1f109551bD432803012645Ac136ddd64DBA72"
OTHER = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
SECRETS = {
    "xprv": HdNode.from_seed(SEED).derive("m/44'/60'/0'").xprv().reveal(),
    "key": "0x" + Secret(bytes(range(1, 33))).reveal().hex(),
    "phrase": from_entropy(Secret(bytes(range(16))), "english").reveal(),
    "french": from_entropy(Secret(bytes(range(32))), "french").reveal(),
}


def xpub(account: int = 3) -> str:
    return derivation.account_xpub(SEED, account)


def child(account: int, index: int) -> str:
    path = derivation.path(account, index)
    return derivation.address_of(derivation.derive_key(SEED, path))


async def watch(person: Any, source: str = COLD, label: str = "Cold", **more: Any) -> Any:
    return await person.post("/v1/watched", {"source": source, "label": label}, **more)


def reader(world: Any, **more: Any) -> BalanceReader:
    """One that finds everything due at once."""
    values = {"read_again_seconds": 0.0, "read_empty_again_seconds": 0.0, **more}
    return BalanceReader(world.services.db, world.services.chains["local"], **values)


async def one(world: Any, statement: str, **values: Any) -> Any:
    async with world.services.db.transaction() as session:
        return await session.scalar(text(statement), values)


def sums(item: dict[str, Any]) -> dict[str, str]:
    return {held["money"]["asset"]: held["money"]["amount"] for held in item["balances"]}


class TestImport:
    async def test_an_address_with_its_balances(self, observed: Any, node: FakeNode) -> None:
        ada = await observed.person(ETH="2")
        made = await watch(ada, COLD.lower())
        body = made.json()
        assert made.status_code == 201, made.text
        assert made.headers["location"] == f"/v1/watched/{body['id']}"
        assert (body["kind"], body["address"], body["held_here"]) == ("address", COLD, False)
        assert (body["balances"], body["complete"]) == ([], False)
        node.fund(COLD, 7 * 10**17)
        node.chain.state.tokens[(USDC_CONTRACT.lower(), COLD.lower())] = 1_234_567
        node.chain.seal_genesis()
        assert await reader(observed).tick() == 1
        [item] = (await ada.get("/v1/watched")).json()["data"]
        assert sums(item) == {"ETH": "0.700000000000000000", "USDC": "1.234567"}
        assert item["complete"] is True
        for held in item["balances"]:
            assert held["network"] == "local"
            assert held["block_number"] == node.chain.head.number
            assert held["as_of"].endswith("Z")
            assert 0 <= held["age_seconds"] < 60
        assert await ada.available("ETH") == "2.000000000000000000"
        assert await ada.available("USDC") is None

    async def test_an_xpub_gives_its_receiving_addresses(self, observed: Any) -> None:
        ada = await observed.person()
        body = (await watch(ada, xpub(), "Ledger")).json()
        assert [one["address"] for one in body["addresses"]] == [
            child(3, index) for index in range(20)
        ]
        assert [one["index"] for one in body["addresses"]] == list(range(20))
        assert body["address"] is None
        assert body["xpub"] == f"{xpub()[:8]}…{xpub()[-8:]}"
        assert body["fingerprint"] == derivation.fingerprint(xpub())
        assert xpub() not in (await ada.get(f"/v1/watched/{body['id']}")).text

    @pytest.mark.parametrize(
        ("source", "code"),
        [("0x8ba1f109551bd432803012645Ac136ddd64DBA72", "invalid_field"),  # checksum
         ("0x" + "0" * 40, "invalid_field"), ("0x12", "invalid_field"),
         ("ada.eth", "invalid_field"),
         ("xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD"
          "265TMg7usUDFdp6W1EGMcet8", "invalid_field"),  # a master key, no account
         ("zpub6jftahH18ngZxLmXaKw3GSZzZsszmt9WqedkyZdezFtWRFBZqsQH5hyUmb4pCEeZGmVfQuP5bedXTB8is6fT"
          "v19U1GQRyQUKQGUTzyHACMF", "invalid_field"), ("", "invalid_field"), (7, "invalid_field")],
    )  # fmt: skip
    async def test_what_is_neither_is_refused(self, world: Any, source: Any, code: str) -> None:
        ada = await world.person()
        refused = await watch(ada, source)
        assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
        assert refused.json()["errors"][0]["field"] == "/source"

    @pytest.mark.parametrize("label", ["", "   ", "x" * 61, "a\u202eb", "a\u200bb"])
    async def test_a_label_is_short_and_visible(self, world: Any, label: str) -> None:
        refused = await watch(await world.person(), COLD, label)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
        assert refused.json()["errors"][0]["field"] == "/label"

    async def test_a_repeat_gets_the_first_answer(self, world: Any) -> None:
        ada = await world.person()
        first, second = await watch(ada, key="k"), await watch(ada, key="k")
        assert first.json() == second.json()
        assert second.headers["idempotent-replayed"] == "true"
        other = await watch(ada, OTHER, key="k")
        assert other.json()["code"] == "idempotency_mismatch"
        assert (await ada.send("POST", "/v1/watched", json={})).status_code in (400, 422)
        assert await one(world, "SELECT count(*) FROM watched") == 1

    async def test_the_same_is_watched_once_by_one_person(self, world: Any) -> None:
        ada, bob = await world.person(), await world.person()
        first = (await watch(ada, COLD)).json()
        again = await watch(ada, COLD.lower(), "Other name")
        assert (again.status_code, again.json()["code"]) == (409, "already_watched")
        assert again.json()["id"] == first["id"]
        assert (await watch(bob, COLD)).status_code == 201
        assert (await watch(ada, xpub())).status_code == 201
        assert (await watch(ada, xpub())).json()["code"] == "already_watched"

    async def test_twenty_at_once_make_one(self, world: Any) -> None:
        ada = await world.person()
        answers = await asyncio.gather(*(watch(ada) for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19

    async def test_a_person_has_so_many_and_no_more(self, world: Any) -> None:
        ada = await world.person()
        for account in range(MAX_XPUBS):
            assert (await watch(ada, xpub(account))).status_code == 201
        refused = await watch(ada, xpub(MAX_XPUBS))
        assert (refused.status_code, refused.json()["code"]) == (409, "too_many_watched")
        rest = MAX_WATCHED - MAX_XPUBS
        for index in range(rest):
            assert (await watch(ada, child(50, index))).status_code == 201
        assert (await watch(ada, child(50, rest))).json()["code"] == "too_many_watched"
        first = (await ada.get("/v1/watched")).json()["data"][0]["id"]
        assert (await ada.send("DELETE", f"/v1/watched/{first}")).status_code == 204
        assert (await watch(ada, child(50, rest))).status_code == 201


class TestSecrets:
    @pytest.mark.parametrize("kind", sorted(SECRETS))
    @pytest.mark.parametrize("field", ["source", "label"])
    async def test_a_secret_is_refused_and_found_nowhere(
        self, world: Any, kind: str, field: str, caplog: Any, capfd: Any
    ) -> None:
        caplog.set_level(logging.DEBUG)
        ada, secret = await world.person(), SECRETS[kind]
        body = {"source": COLD, "label": "Cold", field: secret}
        refused = await ada.post("/v1/watched", body, key="k")
        assert (refused.status_code, refused.json()["code"]) == (422, "secret_refused")
        assert refused.json()["errors"][0]["field"] == f"/{field}"
        assert "compromised" in refused.json()["detail"]
        said = refused.text + caplog.text + "".join(capfd.readouterr())
        assert not [part for part in (secret, secret[6:40]) if part in said]
        assert await one(world, "SELECT count(*) FROM watched") == 0
        assert await one(world, "SELECT count(*) FROM idempotency_answers") == 0
        assert (await watch(ada, key="k")).status_code == 201  # the key is free

    async def test_the_database_itself_takes_no_private_key(self, world: Any) -> None:
        ada = await world.person()
        for column, value in (("xpub", SECRETS["xprv"]), ("label", SECRETS["xprv"][:60])):
            row = {"label": "x", "xpub": xpub(), column: value}
            with pytest.raises(Exception, match="watched"):
                await one(
                    world,
                    "INSERT INTO watched (id, principal_id, kind, label, identity, xpub) VALUES"
                    " ('wat_x', :who, 'xpub', :label, repeat('a', 64), :xpub) RETURNING id",
                    who=ada.id, **row,
                )  # fmt: skip


class TestOurs:
    async def test_what_is_ours_is_not_watched(self, world: Any) -> None:
        ada, bob = await world.person(), await world.person()
        hot = world.services.house.hot[0]
        async with world.services.db.transaction() as session:
            await custody.register_house_address(session, network="local", address=hot, place="hot")
            await custody.register_house_address(
                session, network="local", address=derivation.address_of(Secret(b"\7" * 32)),
                place="faucet",
            )  # fmt: skip
        issued = (await bob.post("/v1/deposit-addresses", {"network": "local"})).json()["address"]
        ours = [
            hot, issued, issued.lower(),
            derivation.account_xpub(HOUSE, derivation.HOT_ACCOUNT),
            derivation.account_xpub(HOUSE, derivation.DEPOSIT_ACCOUNT),
        ]  # fmt: skip
        for source in ours:
            refused = await watch(ada, source)
            assert (refused.status_code, refused.json()["code"]) == (422, "address_is_ours")
        outside = derivation.address_of(Secret(b"\7" * 32))
        assert (await watch(ada, outside)).status_code == 201

    async def test_our_deposit_key_is_known_before_anybody_has_an_address(self, world: Any) -> None:
        ada = await world.person()
        refused = await watch(ada, derivation.account_xpub(HOUSE, derivation.DEPOSIT_ACCOUNT))
        assert refused.json()["code"] == "address_is_ours"


class TestIsolation:
    async def test_nobody_sees_or_removes_anothers(self, observed: Any) -> None:
        ada, bob = await observed.person(), await observed.person()
        mine = (await watch(ada)).json()["id"]
        await reader(observed).tick()
        for method in ("GET", "DELETE"):
            refused = await bob.send(method, f"/v1/watched/{mine}")
            assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
        assert (await bob.get("/v1/watched")).json()["data"] == []
        theirs = (await watch(bob)).json()
        assert theirs["balances"] == []  # not even that somebody had it read
        assert (await ada.get(f"/v1/watched/{mine}")).json()["label"] == "Cold"

    async def test_removed_with_all_that_was_read(self, observed: Any) -> None:
        ada = await observed.person()
        mine = (await watch(ada, xpub())).json()["id"]
        await reader(observed).tick()
        assert await one(observed, "SELECT count(*) FROM watched_balances") == 40
        assert (await ada.send("DELETE", f"/v1/watched/{mine}")).status_code == 204
        assert (await ada.send("DELETE", f"/v1/watched/{mine}")).status_code == 404
        for table in ("watched", "watched_addresses", "watched_balances"):
            assert await one(observed, f"SELECT count(*) FROM {table}") == 0
        assert (await watch(ada, xpub())).status_code == 201

    async def test_pages(self, world: Any) -> None:
        ada = await world.person()
        made = [(await watch(ada, child(60, index))).json()["id"] for index in range(3)]
        first = (await ada.get("/v1/watched", limit=2)).json()
        rest = (await ada.get("/v1/watched", limit=2, cursor=first["next_cursor"])).json()
        assert [item["id"] for item in first["data"] + rest["data"]] == made[::-1]
        assert rest["next_cursor"] is None


class TestReading:
    async def test_a_used_address_moves_the_gap(self, observed: Any, node: FakeNode) -> None:
        """BIP-44: always 20 unused ones behind the last used, up to the cap."""
        ada = await observed.person()
        mine = (await watch(ada, xpub())).json()["id"]
        node.fund(child(3, 19), 5)
        await reader(observed).tick()
        item = (await ada.get(f"/v1/watched/{mine}")).json()
        assert (item["address_count"], item["used_count"]) == (40, 1)
        assert item["addresses"][39]["address"] == child(3, 39)
        assert item["complete"] is False  # twenty of them were not read yet
        node.fund(child(3, 25), 6)
        await reader(observed).tick()
        item = (await ada.get(f"/v1/watched/{mine}")).json()
        assert (item["address_count"], item["used_count"]) == (46, 2)
        await reader(observed).tick()
        item = (await ada.get(f"/v1/watched/{mine}")).json()
        assert item["complete"] is True
        assert sums(item)["ETH"] == "0.000000000000000011"
        used = [one for one in item["addresses"] if one["used"]]
        assert [one["index"] for one in used] == [19, 25]
        assert sums(used[1])["ETH"] == "0.000000000000000006"

    async def test_the_cap_is_told(self, observed: Any, node: FakeNode) -> None:
        ada = await observed.person()
        mine = (await watch(ada, xpub())).json()["id"]
        for index in range(15, 100, 15):
            node.fund(child(3, index), 1)
        for _ in range(8):
            await reader(observed).tick()
        item = (await ada.get(f"/v1/watched/{mine}")).json()
        assert (item["address_count"], item["capped"], item["complete"]) == (100, True, True)
        assert sums(item)["ETH"] == "0.000000000000000006"

    async def test_an_emptied_address_stays_used(self, observed: Any, node: FakeNode) -> None:
        """Sent everything away: the nonce tells, and what was seen once is not forgotten."""
        ada = await observed.person()
        mine = (await watch(ada, COLD)).json()["id"]
        node.chain.state.nonces[COLD.lower()] = 1
        node.chain.seal_genesis()
        await reader(observed).tick()
        node.chain.state.nonces[COLD.lower()] = 0
        node.chain.seal_genesis()
        await reader(observed).tick()
        item = (await ada.get(f"/v1/watched/{mine}")).json()
        assert item["addresses"][0]["used"] is True
        assert sums(item) == {"ETH": "0.000000000000000000", "USDC": "0.000000"}

    async def test_a_node_that_is_away_lets_figures_grow_old(
        self, observed: Any, node: FakeNode
    ) -> None:
        ada = await observed.person()
        await watch(ada)
        node.fund(COLD, 9)
        await reader(observed).tick()
        await one(
            observed,
            "UPDATE watched_balances SET read_at = read_at - interval '1 hour' RETURNING 1",
        )
        node.away = True
        assert await reader(observed).tick() == 0
        [item] = (await ada.get("/v1/watched")).json()["data"]
        assert sums(item)["ETH"] == "0.000000000000000009"
        assert {3600 <= held["age_seconds"] < 3700 for held in item["balances"]} == {True}

    async def test_a_wrong_chain_is_not_believed(self, observed: Any, node: FakeNode) -> None:
        """The observer takes its word back; nothing is read until it gives it again."""
        await watch(await observed.person())
        await one(observed, "UPDATE network_state SET as_of = NULL RETURNING 1")
        asked = len(node.requests)
        assert await reader(observed).tick() == 0
        assert len(node.requests) == asked

    async def test_a_token_that_answers_nothing_stops_nothing(
        self, observed: Any, node: FakeNode
    ) -> None:
        ada = await observed.person()
        await watch(ada)
        node.fund(COLD, 9)
        del node.chain.world.tokens[USDC_CONTRACT.lower()]
        await reader(observed).tick()
        [item] = (await ada.get("/v1/watched")).json()["data"]
        assert sums(item) == {"ETH": "0.000000000000000009"}
        assert item["complete"] is False  # said, not hidden

    async def test_reading_is_batched_and_the_oldest_goes_first(
        self, observed: Any, node: FakeNode
    ) -> None:
        ada, bob = await observed.person(), await observed.person()
        for person in (ada, bob):
            await watch(person, COLD)
        await watch(ada, FAUCET)
        asked = len(node.requests)
        assert await reader(observed).tick() == 3
        # One head, then nonce, coins and a token of two addresses: the shared one is asked once.
        assert len(node.requests) - asked == 1 + 2 * 3
        assert (
            await BalanceReader(observed.services.db, observed.services.chains["local"]).tick() == 0
        )  # nothing is due
        await watch(bob, OTHER)
        assert (
            await BalanceReader(observed.services.db, observed.services.chains["local"]).tick() == 1
        )

    async def test_removed_while_it_was_read(self, observed: Any, node: FakeNode) -> None:
        """Between the question and the answer its owner removed it: nothing comes back."""
        ada = await observed.person()
        mine = (await watch(ada, xpub())).json()["id"]
        node.fund(child(3, 19), 5)
        chain = observed.services.chains["local"]
        holdings = chain.holdings

        async def meanwhile(addresses: Any, number: int) -> Any:
            assert (await ada.send("DELETE", f"/v1/watched/{mine}")).status_code == 204
            return await holdings(addresses, number)

        chain.holdings = meanwhile
        await reader(observed).tick()
        for table in ("watched", "watched_addresses", "watched_balances"):
            assert await one(observed, f"SELECT count(*) FROM {table}") == 0
