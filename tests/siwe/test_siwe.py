"""Sign-in with Ethereum: one message, one site, one purpose, one use, one signer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from keys.personal import recover_personal
from tests.api.conftest import PASSWORD
from wallet.identity.siwe import InvalidSiwe, SiweMessage, demand, parse

KEY, OTHER = bytes([41]) * 32, bytes([42]) * 32
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def who(key: bytes = KEY) -> str:
    return str(Account.from_key(key).address)


def sign(message: str, key: bytes = KEY) -> str:
    signed = Account.sign_message(encode_defunct(text=message), key)
    return "0x" + bytes(signed.signature).hex()


async def ask(person: Any, path: str = "/v1/siwe/nonces", key: bytes = KEY) -> str:
    asked = await person.post(path, {"address": who(key)})
    assert asked.status_code == 201, asked.text
    return str(asked.json()["message"])


def signed(message: str, key: bytes = KEY, password: str = PASSWORD) -> dict[str, str]:
    return {"message": message, "signature": sign(message, key), "password": password}


async def linked(world: Any, key: bytes = KEY) -> Any:
    ada = await world.person()
    message = await ask(ada, "/v1/me/wallets/nonces", key)
    done = await ada.post("/v1/me/wallets", signed(message, key))
    assert (done.status_code, done.json()["address"]) == (201, who(key))
    return ada


async def enter(world: Any, message: str, signature: str) -> Any:
    return await world.http.post(
        "/v1/sessions/siwe", json={"message": message, "signature": signature}
    )


class TestSignIn:
    async def test_a_linked_wallet_opens_its_owners_account(self, world: Any) -> None:
        ada = await linked(world)
        message = await ask(ada)
        opened = await enter(world, message, sign(message))
        assert opened.status_code == 201, opened.text
        assert opened.json()["user"]["id"] == ada.id
        me = await world.http.get(
            "/v1/me", headers={"Authorization": f"Bearer {opened.json()['token']}"}
        )
        assert me.json()["id"] == ada.id

    async def test_a_message_is_used_once_also_by_two_at_once(self, world: Any) -> None:
        ada = await linked(world)
        message = await ask(ada)
        signature = sign(message)
        answers = await asyncio.gather(*(enter(world, message, signature) for _ in range(4)))
        assert sorted(a.status_code for a in answers) == [201, 401, 401, 401]
        assert (await enter(world, message, signature)).json()["code"] == "invalid_credentials"

    async def test_strangers_are_told_no_more_than_forgers(self, world: Any) -> None:
        ada = await linked(world)
        stranger = await ask(ada, key=OTHER)
        forged = await ask(ada)
        answers = [
            await enter(world, stranger, sign(stranger, OTHER)),  # linked to nobody
            await enter(world, forged, sign(forged, OTHER)),  # not the address's own signature
            await enter(world, forged, "0x" + "00" * 65),
            await enter(world, forged, sign(forged)[:-2]),
            await enter(world, forged, "no signature"),
        ]
        told = {(a.status_code, a.json()["code"], a.json()["detail"]) for a in answers}
        assert told == {(401, "invalid_credentials", "This signature opens nothing here.")}
        assert (await enter(world, forged, sign(forged))).status_code == 201  # still unused

    async def test_a_mirrored_signature_is_none(self, world: Any) -> None:
        ada = await linked(world)
        message = await ask(ada)
        raw = bytes.fromhex(sign(message)[2:])
        s = ORDER - int.from_bytes(raw[32:64], "big")
        mirrored = "0x" + (raw[:32] + s.to_bytes(32, "big") + bytes([55 - raw[64]])).hex()
        assert recover_personal(message, mirrored) is None
        assert (await enter(world, message, mirrored)).status_code == 401

    async def test_a_link_signs_nobody_in_and_the_other_way_round(self, world: Any) -> None:
        ada = await linked(world)
        link = await ask(ada, "/v1/me/wallets/nonces")
        assert (await enter(world, link, sign(link))).json()["code"] == "siwe_invalid"
        entry = await ask(ada, key=OTHER)
        crossed = await ada.post("/v1/me/wallets", signed(entry, OTHER))
        assert crossed.json()["code"] == "siwe_invalid"

    @pytest.mark.parametrize(
        ("change", "to"),
        [
            ("localhost", "evil.example"),
            ("Version: 1", "Version: 2"),
            ("Chain ID: 31337", "Chain ID: 1"),
            ("This moves no money.", "This moves all money."),
            ("URI: http://", "URI: https://"),
            ("Issued At: 2", "Issued At: 9"),
            ("Expiration Time: 2", "Expiration Time: 1"),
            ("Ethereum account:\n0x", "Ethereum account:\n0X"),
        ],
    )
    async def test_another_site_chain_purpose_or_time(
        self, world: Any, change: str, to: str
    ) -> None:
        ada = await linked(world)
        message = (await ask(ada)).replace(change, to)
        refused = await enter(world, message, sign(message))
        assert (refused.status_code, refused.json()["code"]) == (422, "siwe_invalid")

    @pytest.mark.parametrize("more", ["\n", " ", "\nResources:\n- https://evil.example", "Z"])
    async def test_nothing_may_hang_on(self, world: Any, more: str) -> None:
        ada = await linked(world)
        message = await ask(ada) + more
        assert (await enter(world, message, sign(message))).json()["code"] == "siwe_invalid"

    async def test_too_late(self, world: Any) -> None:
        ada = await linked(world)
        message = await ask(ada)
        past = replace(
            parse(message),
            issued_at=datetime(2020, 1, 1, tzinfo=UTC),
            expires_at=datetime(2020, 1, 1, 0, 5, tzinfo=UTC),
        ).text()
        refused = await enter(world, past, sign(past))
        assert refused.json()["code"] == "siwe_invalid" and "expired" in refused.json()["detail"]

    async def test_a_longer_life_than_we_gave_is_not_taken(self, world: Any) -> None:
        """The nonce's own time counts, whatever the signed text says."""
        ada = await linked(world)
        asked = parse(await ask(ada))
        longer = replace(asked, expires_at=asked.expires_at + timedelta(days=9)).text()
        async with world.services.db.transaction() as session:
            await session.execute(
                text(
                    "UPDATE siwe_nonces SET expires_at = clock_timestamp() - interval '1 second'"
                    " WHERE nonce = :nonce"
                ),
                {"nonce": asked.nonce},
            )
        assert (await enter(world, longer, sign(longer))).status_code == 401
        foreign = replace(asked, nonce="a" * 32).text()
        assert (await enter(world, foreign, sign(foreign))).status_code == 401

    async def test_tries_are_counted(self, world: Any) -> None:
        ada = await linked(world)
        statuses = set()
        for _ in range(70):
            statuses.add((await ada.post("/v1/siwe/nonces", {"address": who()})).status_code)
        assert statuses == {201, 429}


class TestLinking:
    async def test_an_address_has_one_owner(self, world: Any) -> None:
        ada = await linked(world)
        bob = await world.person()
        message = await ask(bob, "/v1/me/wallets/nonces")
        taken = await bob.post("/v1/me/wallets", signed(message))
        assert (taken.status_code, taken.json()["code"]) == (409, "wallet_taken")
        again = await ask(ada, "/v1/me/wallets/nonces")
        assert (await ada.post("/v1/me/wallets", signed(again))).status_code == 201
        assert len((await ada.get("/v1/me/wallets")).json()["data"]) == 1

    async def test_a_message_asked_for_by_another_person(self, world: Any) -> None:
        ada, eve = await world.person(), await world.person()
        message = await ask(ada, "/v1/me/wallets/nonces")
        stolen = await eve.post("/v1/me/wallets", signed(message))
        assert (stolen.status_code, stolen.json()["code"]) == (401, "invalid_credentials")
        assert (await eve.get("/v1/me/wallets")).json()["data"] == []

    async def test_a_session_alone_adds_no_way_in(self, world: Any) -> None:
        ada = await world.person()
        message = await ask(ada, "/v1/me/wallets/nonces")
        for _ in range(3):
            refused = await ada.post("/v1/me/wallets", signed(message, password="not it at all"))
            assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
        without = await ada.post("/v1/me/wallets", {"message": message, "signature": sign(message)})
        assert without.status_code == 422
        assert (await ada.post("/v1/me/wallets", signed(message))).status_code == 201

    async def test_unlinked_opens_nothing(self, world: Any) -> None:
        ada = await linked(world)
        message = await ask(ada)
        bearer = {"Authorization": f"Bearer {ada.token}"}
        path = f"/v1/me/wallets/{who().lower()}"
        assert (await world.http.delete(path, headers=bearer)).status_code == 204
        assert (await enter(world, message, sign(message))).status_code == 401
        assert (await world.http.delete(path, headers=bearer)).status_code == 404

    async def test_signing_in_is_needed_to_link(self, world: Any) -> None:
        for path, body in (
            ("/v1/me/wallets/nonces", {"address": who()}),
            ("/v1/me/wallets", {"message": "x", "signature": "0x", "password": "x"}),
        ):
            assert (await world.http.post(path, json=body)).status_code == 401

    @pytest.mark.parametrize(
        "body",
        [{"address": "0x1"}, {"address": who()[:-1] + "X"}, {"address": who(), "chain_id": 5}],
    )
    async def test_addresses_and_chains_that_cannot_be(self, world: Any, body: Any) -> None:
        refused = await world.http.post("/v1/siwe/nonces", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "siwe_invalid")


class TestTheText:
    BASE = SiweMessage(
        "localhost:8000", who(), "Sign in.", "http://localhost:8000", 1, "a" * 16,
        datetime(2026, 11, 24, 12, 0, tzinfo=UTC), datetime(2026, 11, 24, 12, 5, tzinfo=UTC),
    )  # fmt: skip

    def test_it_is_what_the_standard_writes(self) -> None:
        assert self.BASE.text() == (
            "localhost:8000 wants you to sign in with your Ethereum account:\n"
            f"{who()}\n\nSign in.\n\nURI: http://localhost:8000\nVersion: 1\nChain ID: 1\n"
            "Nonce: aaaaaaaaaaaaaaaa\nIssued At: 2026-11-24T12:00:00Z\n"
            "Expiration Time: 2026-11-24T12:05:00Z"
        )
        assert parse(self.BASE.text()) == self.BASE

    @given(st.data())
    def test_no_other_text_reads_as_one(self, data: st.DataObject) -> None:
        """Any changed character is another message or none at all."""
        original = self.BASE.text()
        at = data.draw(st.integers(0, len(original) - 1))
        other = data.draw(st.characters(blacklist_categories=["Cs"]))
        changed = original[:at] + other + original[at + 1 :]
        try:
            read = parse(changed)
        except InvalidSiwe:
            return
        assert (read == self.BASE) == (changed == original)
        assert read.text() == changed

    def test_not_before_its_time(self) -> None:
        with pytest.raises(InvalidSiwe, match="not valid yet"):
            demand(
                self.BASE, domain="localhost:8000", uri="http://localhost:8000",
                statement="Sign in.", chain_ids={1}, now=datetime(2026, 11, 24, 11, tzinfo=UTC),
            )  # fmt: skip

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"domain": "evil.example"}, "another site"),
            ({"uri": "http://localhost:8000/other"}, "URI"),
            ({"statement": "Pay."}, "another purpose"),
            ({"chain_id": 2}, "chain"),
            ({"issued_at": datetime(2026, 11, 24, 12, 2, tzinfo=UTC)}, "not valid yet"),
            ({"expires_at": datetime(2026, 11, 24, 12, 0, tzinfo=UTC)}, "expired"),
            ({"issued_at": datetime(2026, 11, 24, 12, 1, 1, tzinfo=UTC),
              "expires_at": datetime(2026, 11, 24, 12, 0, 31, tzinfo=UTC)}, "before it was issued"),
        ],
    )  # fmt: skip
    def test_each_field_is_compared_for_itself(self, change: Any, told: str) -> None:
        """One thing wrong, everything else right: the other comparisons cannot stand in for it."""
        now = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
        asked = {
            "domain": "localhost:8000", "uri": "http://localhost:8000", "statement": "Sign in.",
            "chain_ids": {1}, "now": now,
        }  # fmt: skip
        demand(self.BASE, **asked)
        with pytest.raises(InvalidSiwe, match=told):
            demand(parse(replace(self.BASE, **change).text()), **asked)

    @pytest.mark.parametrize("write", [str.lower, lambda a: "0x" + a[2:].upper(), str.swapcase])
    def test_an_address_is_written_with_its_checksum(self, write: Any) -> None:
        other = "0x" + write(who())[2:]
        assert other != who()
        with pytest.raises(InvalidSiwe, match="checksum"):
            parse(self.BASE.text().replace(who(), other))

    @pytest.mark.parametrize("field", ["domain", "statement", "uri", "nonce"])
    @pytest.mark.parametrize("line", ["\n", "\r\n", "\x85", "\u2028"])
    def test_no_line_is_smuggled_in(self, field: str, line: str) -> None:
        evil = getattr(self.BASE, field) + line + "Chain ID: 1"
        with pytest.raises(InvalidSiwe):
            parse(replace(self.BASE, **{field: evil}).text())
