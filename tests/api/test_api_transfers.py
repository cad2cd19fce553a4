"""Transfers over HTTP: who receives, how much exactly, and both ways at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

ONE = {"amount": "1.00", "asset": "EUR"}


class TestRecipients:
    async def test_every_name_of_a_person_reaches_them(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        me = (await bob.get("/v1/me")).json()
        names = [bob.id, me["handle"], f"@{me['handle']}", f"@{me['handle'].upper()}", me["email"],
                 me["email"].upper()]  # fmt: skip
        for name in names:
            made = await ada.post("/v1/transfers", {"to": name, "money": ONE})
            assert made.status_code == 201, (name, made.text)
            assert made.json()["to"]["id"] == bob.id
            assert made.json()["from"]["id"] == ada.id
        assert await bob.available("EUR") == f"{len(names)}.00"

    @pytest.mark.parametrize("to", ["@nobody", "nobody", "nobody@example.org", "usr_x", "' OR 1=1",
        "prn_house", "usr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0", "@", "%", "\u202e"])  # fmt: skip
    async def test_nobody_is_told_as_nobody(self, world: Any, to: str) -> None:
        ada = await world.person(EUR="10.00")
        before = await world.counts()
        refused = await ada.post("/v1/transfers", {"to": to, "money": ONE})
        assert (refused.status_code, refused.json()["code"]) == (404, "recipient_not_found")
        assert await world.counts() == before

    async def test_to_oneself_is_refused(self, world: Any) -> None:
        ada = await world.person(EUR="10.00")
        refused = await ada.post("/v1/transfers", {"to": ada.id, "money": ONE})
        assert (refused.status_code, refused.json()["code"]) == (422, "self_transfer")

    @pytest.mark.parametrize("note", ["x" * 401, "x" * 201, 5, True, ["a"], {"a": 1}])
    async def test_notes_are_one_short_line(self, world: Any, note: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        refused = await ada.post("/v1/transfers", {"to": bob.id, "money": ONE, "note": note})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")

    async def test_what_looks_like_code_stays_text(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        note = "<script>alert(1)</script> =cmd() ${x} 红包 🧧"
        made = await ada.post("/v1/transfers", {"to": bob.id, "money": ONE, "note": note})
        assert made.json()["note"] == note


class TestMoney:
    async def test_another_asset_does_not_pay(self, world: Any) -> None:
        """L8: a balance in EUR is worth nothing in USD here; conversion is its own step."""
        ada, bob = await world.person(EUR="10.00"), await world.person()
        before = await world.counts()
        for asset in ("USD", "USDC", "ETH"):
            money = {"amount": "1", "asset": asset}
            refused = await ada.post("/v1/transfers", {"to": bob.id, "money": money})
            assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_funds")
        assert await world.counts() == before

    @pytest.mark.parametrize("whole", [2**63 // 10**18 + 1, 2**64, 2**128 // 10**18, 10**15 - 1])
    async def test_beyond_machine_words_it_stays_exact(self, world: Any, whole: int) -> None:
        """L7: 2**63, 2**64 and 2**128 wei are ordinary amounts, to the last digit."""
        whole = min(whole, 10**15 - 1)
        amount = f"{whole}.123456789012345678"
        ada, bob = await world.person(ETH=amount), await world.person()
        money = {"amount": amount, "asset": "ETH"}
        made = await ada.post("/v1/transfers", {"to": bob.id, "money": money})
        assert made.json()["money"]["amount"] == amount
        assert await bob.available("ETH") == amount
        assert await ada.available("ETH") == "0.000000000000000000"
        assert await world.bed.imbalance() == {}

    async def test_both_ways_at_once_never_deadlock_into_an_error(self, world: Any) -> None:
        """L14: 32 there, 32 back; every one is answered 201."""
        ada, bob = await world.person(EUR="50.00"), await world.person(EUR="50.00")
        answers = await asyncio.gather(
            *(
                payer.post("/v1/transfers", {"to": payee.id, "money": ONE})
                for _ in range(32)
                for payer, payee in ((ada, bob), (bob, ada))
            )
        )
        assert {answer.status_code for answer in answers} == {201}
        assert await ada.available("EUR") == await bob.available("EUR") == "50.00"
        assert await world.bed.imbalance() == {}

    async def test_a_frozen_account_pays_nothing_and_still_receives(
        self, world: Any, database: Any
    ) -> None:
        import psycopg

        ada, bob = await world.person(EUR="10.00"), await world.person(EUR="10.00")
        with psycopg.connect(database.conninfo("bifold_owner")) as connection:
            connection.execute(
                "UPDATE accounts SET status = 'frozen' WHERE principal_id = %s", (ada.id,)
            )
        refused = await ada.post("/v1/transfers", {"to": bob.id, "money": ONE})
        assert (refused.status_code, refused.json()["code"]) == (403, "account_frozen")
        assert (await bob.post("/v1/transfers", {"to": ada.id, "money": ONE})).status_code == 201
