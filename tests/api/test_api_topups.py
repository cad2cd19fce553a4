"""Top-ups, cards and bank details over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from wallet import payouts
from wallet.topups import IncomingTransfers, SimulatedGateway, TopupTasks, tries

EUR = {"amount": "25.00", "asset": "EUR"}


async def work(world: Any, topup_id: str) -> None:
    """What the worker does within a second or two."""
    gateway = SimulatedGateway(
        world.services.db, world.services.assets, action_base=world.services.settings.base_url
    )
    tasks = TopupTasks(world.services.db, world.services.assets, gateway)
    await gateway.tick()
    await tasks.tick()
    await tasks.advance(topup_id)


async def bind(person: Any, test_card: str = "visa_ok") -> str:
    made = await person.post("/sandbox/card-tokens", {"test_card": test_card})
    bound = await person.post("/v1/cards", {"token": made.json()["token"]})
    assert bound.status_code == 201, bound.text
    return str(bound.json()["id"])


async def pay(person: Any, test_card: str = "visa_ok", **more: Any) -> Any:
    card = await bind(person, test_card)
    return await person.post("/v1/topups", {"money": EUR, "method": "card", "source": card}, **more)


class TestCards:
    async def test_bound_listed_and_removed(self, world: Any) -> None:
        ada = await world.person()
        made = await ada.post("/sandbox/card-tokens", {"test_card": "visa_ok"})
        token = made.json()["token"]
        first, again = [await ada.post("/v1/cards", {"token": token}) for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        card = first.json()
        assert (card["brand"], card["last4"], card["exp_year"]) == ("visa", "4242", 2049)
        assert token not in first.text
        assert (await ada.get("/v1/cards")).json() == {"data": [card]}
        assert (await ada.get(f"/v1/cards/{card['id']}")).json() == card
        gone = await ada.send("DELETE", f"/v1/cards/{card['id']}")
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await ada.get("/v1/cards")).json() == {"data": []}
        assert (await ada.post("/v1/cards", {"token": token})).json()["code"] == "card_not_usable"

    async def test_a_number_is_refused_and_kept_nowhere(
        self, world: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        ada = await world.person()
        number = "4111 1111 1111 1111"
        refused = await ada.post("/v1/cards", {"token": number})
        assert (refused.status_code, refused.json()["code"]) == (422, "card_number_refused")
        assert "1111" not in refused.text
        printed = capfd.readouterr()
        assert "1111" not in printed.out + printed.err
        async with world.services.db.transaction() as session:
            tables = await session.execute(
                text(
                    "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                    " WHERE schemaname IN ('public', 'simgate', 'simbank')"
                    # What the application cannot read it cannot have written.
                    " AND has_table_privilege(format('%I.%I', schemaname, tablename), 'SELECT')"
                )
            )
            for table in tables.scalars().all():
                found = await session.scalar(
                    text(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%1111 1111%'")
                )
                assert found == 0, table

    async def test_a_silent_gateway_is_503(self, world: Any) -> None:
        ada = await world.person()
        made = await ada.post("/sandbox/card-tokens", {"test_card": "visa_ok"})
        await ada.send("PUT", "/sandbox/faults", json={"faults": {"card_silent": True}})
        refused = await ada.post("/v1/cards", {"token": made.json()["token"]})
        assert (refused.status_code, refused.json()["code"]) == (503, "gateway_unavailable")
        assert refused.json()["retryable"] is True

    async def test_unknown_test_cards_are_named(self, world: Any) -> None:
        ada = await world.person()
        refused = await ada.post("/sandbox/card-tokens", {"test_card": "gold"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
        assert "visa_ok" in refused.json()["detail"]


class TestCardTopups:
    async def test_pending_then_credited(self, world: Any) -> None:
        ada = await world.person()
        made = await pay(ada)
        assert made.status_code == 201
        topup = made.json()
        assert made.headers["Location"] == f"/v1/topups/{topup['id']}"
        assert (topup["status"], topup["waiting_for"], topup["next_action"]) == (
            "pending", "gateway_answer", None,
        )  # fmt: skip
        assert await ada.available("EUR") in (None, "0.00")
        await work(world, topup["id"])
        seen = (await ada.get(f"/v1/topups/{topup['id']}")).json()
        assert (seen["status"], seen["card"]["last4"]) == ("succeeded", "4242")
        assert await ada.available("EUR") == "25.00"
        assert (await ada.get("/v1/topups")).json()["data"] == [seen]
        line = (await ada.get("/v1/activity", kind="topup")).json()["data"][0]
        assert (line["id"], line["status"], line["money"]) == (seen["id"], "succeeded", EUR)
        assert line["links"]["self"] == f"/v1/topups/{seen['id']}"

    async def test_one_key_is_one_top_up(self, world: Any) -> None:
        ada = await world.person()
        card = await bind(ada)
        body = {"money": EUR, "method": "card", "source": card}
        answers = await asyncio.gather(
            *(ada.post("/v1/topups", body, key="once") for _ in range(8))
        )
        assert {one.status_code for one in answers} == {201}
        assert len({one.text for one in answers}) == 1
        other = await ada.post("/v1/topups", {**body, "money": {**EUR, "amount": "1"}}, key="once")
        assert other.json()["code"] == "idempotency_mismatch"
        missing = await ada.send("POST", "/v1/topups", json=body)
        assert missing.json()["code"] == "idempotency_key_required"
        assert len((await ada.get("/v1/topups")).json()["data"]) == 1

    async def test_three_d_secure(self, world: Any) -> None:
        ada = await world.person()
        topup = (await pay(ada, "mastercard_three_d_secure")).json()
        await work(world, topup["id"])
        seen = (await ada.get(f"/v1/topups/{topup['id']}")).json()
        assert seen["next_action"] == {
            "type": "three_d_secure",
            "url": f"http://localhost:8000/top-up/{topup['id']}/check",
            "bank_details": None,
        }
        said = await ada.post("/sandbox/card-checks", {"topup": topup["id"], "agreed": True})
        assert said.json() == {"topup": topup["id"], "status": "succeeded"}
        await work(world, topup["id"])
        assert (await ada.get(f"/v1/topups/{topup['id']}")).json()["status"] == "succeeded"
        again = await ada.post("/sandbox/card-checks", {"topup": topup["id"], "agreed": True})
        assert (again.status_code, again.json()["code"]) == (409, "invalid_state")

    async def test_charged_back_after_it_was_spent(self, world: Any) -> None:
        ada, bob = await world.person(), await world.person()
        topup = (await pay(ada)).json()
        await work(world, topup["id"])
        money = {"amount": "20.00", "asset": "EUR"}
        assert (await ada.post("/v1/transfers", {"to": bob.id, "money": money})).status_code == 201
        back = await ada.post("/sandbox/charge-backs", {"topup": topup["id"]})
        assert back.json()["status"] == "charged_back"
        await work(world, topup["id"])
        assert (await ada.get(f"/v1/topups/{topup['id']}")).json()["status"] == "charged_back"
        assert await ada.available("EUR") == "0.00"
        refused = await ada.post(
            "/v1/transfers", {"to": bob.id, "money": {"amount": "0.01", "asset": "EUR"}}
        )
        assert (refused.status_code, refused.json()["code"]) == (403, "account_frozen")

    @pytest.mark.parametrize(
        ("body", "code", "field"),
        [
            ({"money": EUR, "method": "card"}, "invalid_field", "/source"),
            ({"money": EUR, "method": "card", "source": "crd_x"}, "invalid_field", "/source"),
            ({"money": EUR, "method": "bank_transfer", "source": "crd_x"}, "invalid_field",
             "/source"),
            ({"money": {"amount": "1", "asset": "ETH"}, "method": "bank_transfer"},
             "invalid_field", "/money/asset"),
            ({"money": {"amount": "1.234", "asset": "EUR"}, "method": "bank_transfer"},
             "amount_precision", "/money/amount"),
            ({"money": {"amount": "0", "asset": "EUR"}, "method": "bank_transfer"},
             "amount_not_positive", "/money/amount"),
            ({"money": EUR, "method": "cash"}, "invalid_field", "/method"),
        ],
    )  # fmt: skip
    async def test_what_cannot_be_is_refused(
        self, world: Any, body: dict[str, Any], code: str, field: str
    ) -> None:
        ada = await world.person()
        refused = await ada.post("/v1/topups", body)
        told = refused.json()
        assert (refused.status_code, told["code"]) == (422, code)
        assert told["errors"][0]["field"] == field
        assert (await ada.get("/v1/topups")).json()["data"] == []


class TestBankTransfers:
    async def test_details_name_the_person_always_alike(self, world: Any) -> None:
        ada, bob = await world.person(), await world.person()
        first, again = [(await ada.get("/v1/bank-details")).json() for _ in range(2)]
        assert first == again
        assert (first["asset"], first["account"], first["bank"]) == (
            "EUR", "SIM-EUR", "Simulated Bank",
        )  # fmt: skip
        other = (await bob.get("/v1/bank-details", asset="USD")).json()
        assert other["account"] == "SIM-USD" and other["reference"] != first["reference"]
        unlisted = (await ada.get("/v1/bank-details", asset="XXX")).json()
        assert unlisted["code"] == "unknown_asset"

    async def test_announced_sent_and_credited(self, world: Any) -> None:
        ada = await world.person()
        made = await ada.post("/v1/topups", {"money": EUR, "method": "bank_transfer"})
        topup = made.json()
        details = (await ada.get("/v1/bank-details")).json()
        assert topup["next_action"] == {
            "type": "bank_transfer", "url": None, "bank_details": details,
        }  # fmt: skip
        arrived = await ada.post("/sandbox/bank-credits", {"user": ada.id, "money": EUR})
        assert (arrived.json()["id"], arrived.json()["status"]) == (topup["id"], "succeeded")
        seen = (await ada.get(f"/v1/topups/{topup['id']}")).json()
        assert (seen["status"], seen["next_action"]) == ("succeeded", None)
        assert await ada.available("EUR") == "25.00"

    async def test_a_wrong_reference_credits_nobody(self, world: Any) -> None:
        ada = await world.person()
        arrived = await ada.post(
            "/sandbox/bank-credits", {"user": ada.id, "money": EUR, "reference": "my rent"}
        )
        assert arrived.status_code == 201
        assert (arrived.json()["id"], arrived.json()["status"]) == (None, "unattributed")
        assert (await ada.get("/v1/topups")).json()["data"] == []

    async def test_another_s_reference_credits_them(self, world: Any) -> None:
        ada, bob = await world.person(), await world.person()
        reference = (await bob.get("/v1/bank-details")).json()["reference"]
        bank = payouts.SimulatedBank(world.services.db)
        money = world.bed.money("3.00", "EUR")
        await bank.receive(reference="b-1", money=money, about=f"for {reference}")
        await payouts.StatementReader(
            world.services.db, bank, world.services.assets, IncomingTransfers()
        ).tick()
        assert await bob.available("EUR") == "3.00"
        assert await ada.available("EUR") in (None, "0.00")


class TestTries:
    """Cards are tried so often and no more: by person and by client, whatever becomes of it."""

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tries, "TRIES_PER_PERSON", 3)
        monkeypatch.setattr(tries, "TRIES_PER_CLIENT", 5)

    async def test_declined_payments_count_and_the_gateway_hears_of_no_more(
        self, world: Any
    ) -> None:
        ada = await world.person()
        card = await bind(ada, "visa_declined")
        body = {"money": EUR, "method": "card", "source": card}
        for _ in range(3):
            made = await ada.post("/v1/topups", body)
            await work(world, made.json()["id"])
            seen = await ada.get(f"/v1/topups/{made.json()['id']}")
            assert seen.json()["status"] == "failed"
        refused = await ada.post("/v1/topups", body)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 0 < int(refused.headers["Retry-After"]) <= tries.WINDOW_SECONDS
        assert len((await ada.get("/v1/topups")).json()["data"]) == 3
        by_bank = await ada.post("/v1/topups", {"money": EUR, "method": "bank_transfer"})
        assert by_bank.status_code == 201

    async def test_unknown_tokens_count(self, world: Any) -> None:
        ada = await world.person()
        codes = [
            (await ada.post("/v1/cards", {"token": f"tok_sim_{n:024}x"})).json()["code"]
            for n in range(4)
        ]
        assert codes == ["card_not_usable"] * 3 + ["rate_limited"]

    async def test_many_people_of_one_client_share_its_count(self, world: Any) -> None:
        people = [await world.person() for _ in range(3)]
        cards = [await bind(person) for person in people]
        answers = []
        for person, card in zip(people, cards, strict=True):
            for _ in range(2):
                made = await person.post(
                    "/v1/topups", {"money": EUR, "method": "card", "source": card}
                )
                answers.append(made.status_code)
        assert answers == [201] * 5 + [429]

    async def test_the_same_request_again_is_not_counted(self, world: Any) -> None:
        ada = await world.person()
        card = await bind(ada)
        body = {"money": EUR, "method": "card", "source": card}
        answers = [
            (await ada.post("/v1/topups", body, key="the same key")).status_code for _ in range(6)
        ]
        assert answers == [201] * 6

    async def test_one_who_is_over_their_own_count_keeps_nobody_out(self, world: Any) -> None:
        ada, bob = await world.person(), await world.person()
        for n in range(20):
            await ada.post("/v1/cards", {"token": f"tok_sim_{n:024}x"})
        await bind(bob)
