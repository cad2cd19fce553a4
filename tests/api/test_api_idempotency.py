"""One effect for one key: L15 to L21 of the fault matrix, and the race of 32."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from wallet import crashpoints
from wallet.idempotency import (
    Answer,
    Claim,
    IdempotencyInProgress,
    canonical_json,
    claim,
    fingerprint,
    once,
    store,
)

HALF = {"amount": "0.50", "asset": "EUR"}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


def transfer_to(person: Any, money: dict[str, str] | None = None) -> dict[str, Any]:
    return {"to": person.id, "money": money or HALF}


class TestReplay:
    async def test_a_repeat_gets_the_first_answer_to_the_byte(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        first = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        again = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert first.headers["location"] == again.headers["location"]
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert await bob.available("EUR") == "0.50"

    async def test_key_order_and_spaces_do_not_matter(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k1"}
        one = f'{{"to": "{bob.id}", "money": {{"amount": "0.50", "asset": "EUR"}}}}'
        two = f'{{"money":{{"asset":"EUR",\n"amount":"\\u0030.50"}},"to":"{bob.id}"}}'
        first = await ada.send("POST", "/v1/transfers", content=one, headers=headers)
        again = await ada.send("POST", "/v1/transfers", content=two, headers=headers)
        assert first.content == again.content
        assert again.headers["idempotent-replayed"] == "true"

    async def test_another_body_is_a_mismatch(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        other = transfer_to(bob, {"amount": "0.51", "asset": "EUR"})
        refused = await ada.post("/v1/transfers", other, key="k1")
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_mismatch")
        assert await bob.available("EUR") == "0.50"

    async def test_another_query_is_a_mismatch(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        refused = await ada.post("/v1/transfers?x=1", transfer_to(bob), key="k1")
        assert refused.json()["code"] == "idempotency_mismatch"

    async def test_keys_belong_to_one_principal_and_one_route(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person(EUR="10.00")
        first = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        other = await bob.post("/v1/transfers", transfer_to(ada), key="k1")
        assert first.status_code == other.status_code == 201
        assert first.json()["id"] != other.json()["id"]
        quote = {"source_asset": "EUR", "target_asset": "USD", "source_amount": "1.00",
                 "kind": "conversion"}  # fmt: skip
        assert (await ada.post("/v1/quotes", quote, key="k1")).status_code == 201

    async def test_a_refusal_leaves_the_key_free(self, world: Any) -> None:
        ada, bob = await world.person(), await world.person()
        for bad in ({"amount": "0", "asset": "EUR"}, {"amount": "0.50", "asset": "XXX"}):
            refused = await ada.post("/v1/transfers", transfer_to(bob, bad), key="k1")
            assert refused.status_code == 422
        short = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        assert short.json()["code"] == "insufficient_funds"
        await world.bed.give(ada.id, "1.00", "EUR")
        done = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        assert done.status_code == 201
        assert "idempotent-replayed" not in done.headers

    async def test_an_answer_never_expires(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        first = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        await world.bed.advance(366 * 86_400)
        again = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        assert again.content == first.content
        assert await bob.available("EUR") == "0.50"

    async def test_a_crash_after_the_commit_replays(self, world: Any) -> None:
        """L18: the answer is in the database before it is on the wire."""
        ada, bob = await world.person(EUR="10.00"), await world.person()

        def die(point: str) -> None:
            if point == "idempotency.after_commit":
                raise RuntimeError("the process ends here")

        crashpoints.install(die)
        try:
            lost = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        finally:
            crashpoints.install(None)
        assert lost.status_code == 500
        again = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        assert again.status_code == 201
        assert again.headers["idempotent-replayed"] == "true"
        assert await bob.available("EUR") == "0.50"

    async def test_a_crash_before_the_commit_leaves_nothing(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()

        def die(point: str) -> None:
            if point == "idempotency.before_commit":
                raise RuntimeError("the process ends here")

        before = await world.counts()
        crashpoints.install(die)
        try:
            lost = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        finally:
            crashpoints.install(None)
        assert lost.status_code == 500
        assert await world.counts() == before
        done = await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        assert done.status_code == 201 and "idempotent-replayed" not in done.headers


class TestKeys:
    @pytest.mark.parametrize("key", [None, "", "x" * 256, "tab\there", "é", "nul\x00"])
    async def test_a_bad_key_is_refused(self, world: Any, key: str | None) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        headers = {} if key is None else {"Idempotency-Key": key.encode("latin-1")}
        before = await world.counts()
        refused = await ada.send("POST", "/v1/transfers", json=transfer_to(bob), headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_required")
        assert await world.counts() == before

    async def test_two_keys_are_none(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b"), *ada.headers.items()]
        refused = await world.http.post("/v1/transfers", json=transfer_to(bob), headers=headers)
        assert refused.json()["code"] == "idempotency_key_required"

    @pytest.mark.parametrize("key", ["a", "x" * 255, "with space ~ and !"])
    async def test_any_printable_ascii_will_do(self, world: Any, key: str) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        assert (await ada.post("/v1/transfers", transfer_to(bob), key=key)).status_code == 201


class TestRivals:
    async def test_of_32_at_once_one_has_the_effect_and_all_the_answer(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        answers = await asyncio.gather(
            *(ada.post("/v1/transfers", transfer_to(bob), key="k1") for _ in range(32))
        )
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        replayed = [answer.headers.get("idempotent-replayed") for answer in answers]
        assert (replayed.count(None), replayed.count("true")) == (1, 31)
        assert await bob.available("EUR") == "0.50"

    async def test_64_spends_of_one_balance_never_overdraw(self, world: Any) -> None:
        """L1 over HTTP: 10.00 pays twenty times 0.50, and not once more."""
        ada, bob = await world.person(EUR="10.00"), await world.person()
        answers = await asyncio.gather(
            *(ada.post("/v1/transfers", transfer_to(bob)) for _ in range(64))
        )
        codes = [answer.status_code for answer in answers]
        assert (codes.count(201), codes.count(409)) == (20, 44)
        assert await ada.available("EUR") == "0.00"
        assert await bob.available("EUR") == "10.00"
        assert await world.bed.imbalance() == {}

    async def test_a_rival_gives_up_politely(self, world: Any) -> None:
        ada = await world.person()
        asked = Claim(ada.id, "POST", "/v1/x", "k", b"f" * 32)
        work = Patient()
        db = world.services.db
        first = asyncio.create_task(once(db, asked, work))
        await work.begun.wait()
        with pytest.raises(IdempotencyInProgress):
            await once(db, asked, work, wait_seconds=0.1)
        work.end.set()
        assert not (await first).replayed

    async def test_waiting_rivals_hold_no_connection(self, world: Any) -> None:
        """The pool has 16 connections; 40 waiting rivals leave it free for others."""
        ada = await world.person(EUR="1.00")
        asked = Claim(ada.id, "POST", "/v1/x", "k", b"f" * 32)
        work = Patient()
        db = world.services.db
        rivals = [asyncio.create_task(once(db, asked, work, wait_seconds=60)) for _ in range(41)]
        await work.begun.wait()
        await asyncio.sleep(0.3)
        assert await ada.available("EUR") == "1.00"  # with a full pool: 503 after ten seconds
        assert not any(rival.done() for rival in rivals)
        work.end.set()
        outcomes = await asyncio.gather(*rivals)
        assert sum(not outcome.replayed for outcome in outcomes) == 1

    async def test_a_stored_answer_is_told_while_another_repeat_has_the_key(
        self, world: Any
    ) -> None:
        """Of 32 at once, 31 waited for each other: two seconds where one commit is enough."""
        ada = await world.person()
        asked = Claim(ada.id, "POST", "/v1/x", "k", b"f" * 32)
        work = Patient()
        work.end.set()
        db = world.services.db
        await once(db, asked, work)
        async with db.transaction() as session:
            assert await claim(session, asked)
            assert (await once(db, asked, work, wait_seconds=0.1)).replayed


class Patient:
    """Work that ends when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()

    async def __call__(self, _session: Any) -> Answer:
        self.begun.set()
        await self.end.wait()
        return Answer(201, "{}")


class TestRoom:
    async def test_only_2xx_are_kept(self, world: Any) -> None:
        ada = await world.person()
        async with world.services.db.transaction() as session:
            with pytest.raises(ValueError, match="2xx"):
                await store(session, Claim(ada.id, "POST", "/x", "k", b"f"), Answer(409, "{}"))

    async def test_the_lock_ends_with_its_transaction(self, world: Any) -> None:
        ada = await world.person()
        asked = Claim(ada.id, "POST", "/x", "k", b"f")
        db = world.services.db
        async with db.transaction() as one, db.transaction() as two:
            assert await claim(one, asked)
            assert not await claim(two, asked)
        async with db.transaction() as three:
            assert await claim(three, asked)

    async def test_a_stored_answer_cannot_be_changed(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        await ada.post("/v1/transfers", transfer_to(bob), key="k1")
        with pytest.raises(Exception, match="permission denied"):
            async with world.services.db.transaction() as session:
                await session.execute(text("UPDATE idempotency_answers SET body = '{}'"))

    def test_equal_values_have_equal_bytes(self) -> None:
        assert canonical_json({"b": 1, "a": [True, None]}) == b'{"a":[true,null],"b":1}'
        assert canonical_json({"a": 2**70}) != canonical_json({"a": 2**70 + 1})
        assert canonical_json(Decimal("1.5")) != canonical_json("1.5")

    @given(body=BODIES)
    def test_the_bytes_are_those_that_stored_fingerprints_were_made_of(self, body: Any) -> None:
        before = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert canonical_json(body) == before.encode()

    async def test_huge_numbers_in_a_body_are_refused_like_any_other(self, world: Any) -> None:
        ada = await world.person()
        for number in ("9" * 30, "9" * 5_000, "1e400", "0.1"):
            refused = await ada.send(
                "POST",
                "/v1/transfers",
                content=f'{{"to": {number}}}',
                headers={"Content-Type": "application/json", "Idempotency-Key": "k"},
            )
            assert refused.status_code == 422, refused.text

    def test_parts_cannot_pose_as_one_another(self) -> None:
        one = fingerprint(path="/a", query="b", body=None)
        two = fingerprint(path="/ab", query="", body=None)
        assert one != two
