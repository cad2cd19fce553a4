"""Holds over HTTP: made by the payer, captured by the payee, given back by either, once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from wallet import holds, ledger
from wallet.errors import WalletError
from wallet.group_commit import GroupWriter
from wallet.holds import expiry, service
from wallet.idempotency import Answer, Claim
from wallet.money import AssetBook, parse_amount
from wallet.testing.pace import patience


def hold_for(payee: Any, amount: str = "6.00", seconds: int = 3_600, **more: Any) -> dict[str, Any]:
    return {
        "to": payee.id,
        "money": {"amount": amount, "asset": "EUR"},
        "expires_in_seconds": seconds,
        **more,
    }


async def open_hold(payer: Any, payee: Any, amount: str = "6.00", seconds: int = 3_600) -> str:
    made = await payer.post("/v1/holds", hold_for(payee, amount, seconds))
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def open_holds(world: Any) -> int:
    async with world.services.db.transaction() as session:
        return int(await session.scalar(text("SELECT count(*) FROM holds WHERE status = 'open'")))


async def one_waits(session: Any) -> None:
    """Until another session of this database waits for a lock."""
    async with asyncio.timeout(patience(10)):
        while not await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database() AND pid <> pg_backend_pid())"
            )
        ):
            await session.execute(text("SELECT pg_stat_clear_snapshot()"))
            await asyncio.sleep(0.02)


async def expire(world: Any) -> int:
    return await holds.expire(world.services.db, world.services.assets)


def eur(amount: str) -> dict[str, Any]:
    return {"money": {"amount": amount, "asset": "EUR"}}


class TestMaking:
    async def test_the_money_stays_the_payers_and_cannot_be_spent(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        made = await ada.post("/v1/holds", hold_for(bob, note="  for   the bike "))
        assert made.status_code == 201
        view = made.json()
        assert made.headers["location"] == f"/v1/holds/{view['id']}"
        assert (view["status"], view["remaining"]["amount"]) == ("open", "6.00")
        assert (view["from"]["id"], view["to"]["id"]) == (ada.id, bob.id)
        assert view["note"] == "for the bike"
        row = (await ada.get("/v1/balances")).json()["data"][0]
        assert (row["available"], row["held"], row["total"]) == ("4.00", "6.00", "10.00")
        over = await ada.post("/v1/holds", hold_for(bob, "4.01"))
        assert (over.status_code, over.json()["code"]) == (409, "insufficient_funds")
        assert await bob.available("EUR") is None

    @pytest.mark.parametrize("seconds", [0, -1, 59, 30 * 86_400 + 1, 10**30])
    async def test_the_time_has_bounds(self, world: Any, seconds: int) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        before = await world.counts()
        refused = await ada.post("/v1/holds", hold_for(bob, seconds=seconds))
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
        assert refused.json()["errors"][0]["field"] == "/expires_in_seconds"
        assert await world.counts() == before

    @pytest.mark.parametrize("seconds", ["60", 60.5, None, True])
    async def test_the_time_is_a_whole_number(self, world: Any, seconds: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        refused = await ada.post("/v1/holds", {**hold_for(bob), "expires_in_seconds": seconds})
        assert refused.status_code == 422

    async def test_nobody_and_oneself(self, world: Any) -> None:
        ada = await world.person(EUR="10.00")
        body = hold_for(ada)
        refused = await ada.post("/v1/holds", body)
        assert (refused.status_code, refused.json()["code"]) == (422, "self_transfer")
        refused = await ada.post("/v1/holds", {**body, "to": "@nobody"})
        assert (refused.status_code, refused.json()["code"]) == (404, "recipient_not_found")

    async def test_a_key_is_needed(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        refused = await world.http.post("/v1/holds", json=hold_for(bob), headers=ada.headers)
        assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_required")


class TestHowManyAreOpen:
    async def test_no_more_than_the_bound_at_once_and_a_void_makes_room(self, world: Any) -> None:
        """In every asset together; nobody else's count."""
        world.services.settings = world.services.settings.model_copy(update={"holds_per_payer": 5})
        ada, bob = await world.person(EUR="10.00", USD="10.00"), await world.person(EUR="1.00")
        both = [
            {**hold_for(bob, "0.10"), "money": {"amount": "0.10", "asset": asset}}
            for asset in ("EUR", "USD")
        ]
        before = await world.counts()
        answers = await asyncio.gather(*(ada.post("/v1/holds", both[n % 2]) for n in range(24)))
        made = [one.json()["id"] for one in answers if one.status_code == 201]
        refused = [one for one in answers if one.status_code != 201]
        assert (len(made), await open_holds(world)) == (5, 5)
        assert {(one.status_code, one.json()["code"]) for one in refused} == {(429, "rate_limited")}
        assert {one.headers["retry-after"] for one in refused} == {"60"}
        after = await world.counts()
        assert after["idempotency_answers"] - before["idempotency_answers"] == 5
        assert (await bob.post("/v1/holds", hold_for(ada, "0.10"))).status_code == 201
        assert (await ada.post(f"/v1/holds/{made[0]}/void")).status_code == 200
        for status in (201, 429):
            assert (await ada.post("/v1/holds", both[0])).status_code == status

    async def test_two_processes_keep_one_bound(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00", USD="10.00"), await world.person()
        writers = [GroupWriter(world.services.db) for _ in range(2)]

        async def ask(n: int) -> Any:
            wanted = holds.HoldWanted(
                ada.id,
                bob.id,
                parse_amount("0.10", world.services.assets.get(("EUR", "USD")[n % 2])),
                3_600,
                None,
            )
            asked = Claim(ada.id, "POST", "/v1/test", f"k{n}", b"m" * 32)
            return await writers[n % 2].submit(
                asked, holds.OpenFlow(7), wanted, lambda made: Answer(201, made.id)
            )

        try:
            told = await asyncio.gather(*(ask(n) for n in range(60)), return_exceptions=True)
        finally:
            for writer in writers:
                await writer.aclose()
        codes = [one.code for one in told if isinstance(one, WalletError)]
        assert codes == ["rate_limited"] * 53
        assert await open_holds(world) == 7


class TestCapturing:
    async def test_in_parts_until_nothing_remains(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob)
        first = await bob.post(f"/v1/holds/{hold}/capture", eur("2.50"))
        assert first.status_code == 200
        assert (first.json()["status"], first.json()["remaining"]["amount"]) == ("open", "3.50")
        over = await bob.post(f"/v1/holds/{hold}/capture", eur("3.51"))
        assert (over.status_code, over.json()["code"]) == (409, "hold_exceeded")
        rest = await bob.post(f"/v1/holds/{hold}/capture")  # no body: all that remains
        assert (rest.json()["status"], rest.json()["captured"]["amount"]) == ("captured", "6.00")
        late = await bob.post(f"/v1/holds/{hold}/capture", eur("0.01"))
        assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
        assert late.json()["state"] == "captured"
        assert (await ada.available("EUR"), await bob.available("EUR")) == ("4.00", "6.00")
        shown = (await bob.get(f"/v1/holds/{hold}")).json()
        assert [one["money"]["amount"] for one in shown["captures"]] == ["2.50", "3.50"]

    async def test_the_payee_alone_captures(self, world: Any) -> None:
        ada, bob, eve = await world.person(EUR="10.00"), await world.person(), await world.person()
        hold = await open_hold(ada, bob)
        for other, told in ((ada, (403, "forbidden")), (eve, (404, "not_found"))):
            refused = await other.post(f"/v1/holds/{hold}/capture", eur("1.00"))
            assert (refused.status_code, refused.json()["code"]) == told
        assert (await eve.get(f"/v1/holds/{hold}")).status_code == 404
        assert (await eve.post(f"/v1/holds/{hold}/void")).status_code == 404

    async def test_in_its_own_asset(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob)
        refused = await bob.post(
            f"/v1/holds/{hold}/capture", {"money": {"amount": "1.00", "asset": "USD"}}
        )
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
        assert refused.json()["errors"][0]["field"] == "/money/asset"

    async def test_of_a_frozen_payer_goes_through(self, world: Any) -> None:
        """It was set aside before: the payee can count on it."""
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob)
        async with world.services.db.transaction() as session:
            account = await ledger.account_id(session, ledger.accounts.customer(ada.id, "EUR"))
            await session.execute(text("SELECT ledger_set_status(:id, 'frozen')"), {"id": account})
        refused = await ada.post("/v1/holds", hold_for(bob, "1.00"))
        assert (refused.status_code, refused.json()["code"]) == (403, "account_frozen")
        done = await bob.post(f"/v1/holds/{hold}/capture", {})
        assert (done.status_code, await bob.available("EUR")) == (200, "6.00")

    async def test_many_at_once_take_no_more_than_there_is(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob, "5.00")
        answers = await asyncio.gather(
            *(bob.post(f"/v1/holds/{hold}/capture", eur("1.00")) for _ in range(12))
        )
        done = [one.json() for one in answers if one.status_code == 200]
        # Each answer tells the hold as it was after that very capture.
        assert sorted((one["captured"]["amount"], one["remaining"]["amount"], one["status"])
                      for one in done) == [
            (f"{n}.00", f"{5 - n}.00", "open" if n < 5 else "captured") for n in range(1, 6)
        ]  # fmt: skip
        assert {one.json()["code"] for one in answers if one.status_code != 200} <= {
            "hold_exceeded", "invalid_state",
        }  # fmt: skip
        assert (await ada.available("EUR"), await bob.available("EUR")) == ("5.00", "5.00")

    async def test_a_repeat_gets_the_first_answer(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob)
        first = await bob.post(f"/v1/holds/{hold}/capture", eur("2.00"), key="k")
        again = await bob.post(f"/v1/holds/{hold}/capture", eur("2.00"), key="k")
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert await bob.available("EUR") == "2.00"
        other = await open_hold(ada, bob, "1.00")
        mixed = await bob.post(f"/v1/holds/{other}/capture", eur("2.00"), key="k")
        assert (mixed.status_code, mixed.json()["code"]) == (422, "idempotency_mismatch")

    async def test_by_code_that_errs_pays_nobody_and_disturbs_nobody(
        self, world: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database refuses to pay somebody else; who shares the batch is served."""
        ada, bob, eve = [await world.person(EUR="10.00") for _ in range(3)]
        hold = await open_hold(ada, bob)
        real = service.accounts.customer

        def astray(principal: str, asset: str) -> ledger.AccountSpec:
            return real(eve.id if principal == bob.id else principal, asset)

        with monkeypatch.context() as broken:
            broken.setattr(service, "accounts", SimpleNamespace(customer=astray))
            answers = await asyncio.gather(
                bob.post(f"/v1/holds/{hold}/capture", eur("1.00")),
                *(eve.post("/v1/holds", hold_for(ada, "1.00")) for _ in range(4)),
            )
        assert [one.status_code for one in answers] == [500, 201, 201, 201, 201]
        assert await bob.available("EUR") == "10.00"
        assert (await bob.post(f"/v1/holds/{hold}/capture", eur("1.00"))).status_code == 200
        assert await bob.available("EUR") == "11.00"


class TestTwoProcesses:
    async def test_answers_are_true_when_two_processes_take_at_once(self, world: Any) -> None:
        """Another writer's captures come between a look and its booking: nobody's answer is old."""
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob, "8.00")
        assets = world.services.assets
        writers = [GroupWriter(world.services.db) for _ in range(2)]
        one = parse_amount("1.00", assets.get("EUR"))

        async def take(n: int) -> Any:
            asked = Claim(bob.id, "POST", "/v1/test", f"k{n}", b"m" * 32)
            return await writers[n % 2].submit(
                asked, holds.CaptureFlow(assets), holds.Capture(bob.id, hold, one),
                lambda made: Answer(200, made.captured.amount),
            )  # fmt: skip

        try:
            told = await asyncio.gather(*(take(n) for n in range(8)), return_exceptions=True)
        finally:
            for writer in writers:
                await writer.aclose()
        done = sorted(answer.answer.body for answer in told if not isinstance(answer, Exception))
        # Whoever lost every race is told so (busy), and nothing of it is booked.
        assert all(error.code == "busy" for error in told if isinstance(error, WalletError))
        assert done == [f"{n}.00" for n in range(1, len(done) + 1)]
        assert await bob.available("EUR") == f"{len(done)}.00"


class TestEnding:
    @pytest.mark.parametrize("side", ["payer", "payee"])
    async def test_either_side_voids_what_remains(self, world: Any, side: str) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob)
        await bob.post(f"/v1/holds/{hold}/capture", eur("1.00"))
        voided = await (ada if side == "payer" else bob).post(f"/v1/holds/{hold}/void")
        assert voided.status_code == 200
        view = voided.json()
        assert (view["status"], view["released"]["amount"]) == ("voided", "5.00")
        assert view["remaining"]["amount"] == "0.00"
        again = await ada.post(f"/v1/holds/{hold}/void")
        assert (again.status_code, again.json()["state"]) == (409, "voided")
        late = await bob.post(f"/v1/holds/{hold}/capture", eur("1.00"))
        assert (late.status_code, late.json()["code"]) == (409, "invalid_state")
        assert (await ada.available("EUR"), await bob.available("EUR")) == ("9.00", "1.00")

    async def test_capture_and_void_at_once_divide_it(self, world: Any) -> None:
        """Whoever is first, every cent is in one place; a void gives back what is left then."""
        for _ in range(5):
            ada, bob = await world.person(EUR="10.00"), await world.person()
            hold = await open_hold(ada, bob)
            taken, voided = await asyncio.gather(
                bob.post(f"/v1/holds/{hold}/capture", eur("2.00")),
                ada.post(f"/v1/holds/{hold}/void"),
            )
            assert voided.status_code == 200
            got = "2.00" if taken.status_code == 200 else None
            assert voided.json()["captured"]["amount"] == (got or "0.00")
            assert await bob.available("EUR") == got
            assert await ada.available("EUR") == ("8.00" if got else "10.00")

    async def test_late_is_late_before_the_sweep_and_after(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob, seconds=60)
        await world.bed.advance(61)
        for swept in (False, True):
            refused = await bob.post(f"/v1/holds/{hold}/capture", {})
            assert (refused.status_code, refused.json()["code"]) == (409, "hold_expired")
            assert (await ada.get(f"/v1/holds/{hold}")).json()["status"] == "expired"
            if not swept:
                assert await expire(world) == 1
        assert await ada.available("EUR") == "10.00"
        assert await expire(world) == 0

    async def test_two_workers_sweep_once(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        for _ in range(8):
            await open_hold(ada, bob, "1.00", seconds=60)
        await world.bed.advance(61)
        swept = await asyncio.gather(*(expire(world) for _ in range(6)))
        assert sum(swept) == 8
        assert await ada.available("EUR") == "10.00"
        async with world.services.db.transaction() as session:
            told = await session.scalar(
                text("SELECT count(*) FROM outbox WHERE type = 'hold.expired'")
            )
        assert told == 16

    async def test_what_ended_first_goes_back_first(self, world: Any, monkeypatch: Any) -> None:
        """Whose account is older, or who made many, holds nobody up."""
        monkeypatch.setattr(expiry, "BATCH", 2)
        eve, bob, ada = [await world.person(EUR="10.00") for _ in range(3)]
        await open_hold(ada, bob, "4.00", seconds=60)
        for _ in range(4):
            await open_hold(eve, bob, "1.00", seconds=61)
        await world.bed.advance(62)
        assert await expire(world) == 2
        assert await ada.available("EUR") == "10.00"
        assert await holds.expire_all(world.services.db, world.services.assets) == 3
        assert await eve.available("EUR") == "10.00"

    async def test_an_asset_that_is_listed_no_more_holds_up_no_other(self, world: Any) -> None:
        """Its network was taken out of the file: what is held in it waits, the rest goes back."""
        eve, ada, bob = [await world.person(EUR="10.00", USD="10.00") for _ in range(3)]
        wanted = hold_for(bob, seconds=60) | {"money": {"amount": "6.00", "asset": "USD"}}
        assert (await eve.post("/v1/holds", wanted)).status_code == 201
        await open_hold(ada, bob, seconds=61)
        await world.bed.advance(62)
        listed = AssetBook(one for one in world.services.assets if one.code != "USD")
        assert await holds.expire(world.services.db, listed) == 1
        assert await ada.available("EUR") == "10.00"
        assert await expire(world) == 1
        assert await eve.available("USD") == "10.00"

    async def test_voids_beside_the_sweep_give_each_back_once(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        made = [await open_hold(ada, bob, "1.00", seconds=60) for _ in range(8)]
        await world.bed.advance(61)
        swept, *answers = await asyncio.gather(
            expire(world), *(ada.post(f"/v1/holds/{hold}/void") for hold in made)
        )
        voided = [answer.status_code for answer in answers].count(200)
        assert swept + voided == 8
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert await ada.available("EUR") == "10.00"

    @pytest.mark.parametrize("ending", ["sweep", "void", "capture"])
    async def test_whoever_ends_a_hold_locks_the_account_before_the_row(
        self, world: Any, ending: str
    ) -> None:
        """While one waits for the account it keeps nothing that another would then wait for."""
        ada, bob = await world.person(EUR="10.00"), await world.person(EUR="1.00")
        hold = await open_hold(ada, bob, seconds=60)
        if ending == "sweep":
            await world.bed.advance(61)
        async with world.services.db.transaction() as session:
            await session.execute(text("SELECT ledger_lock_hold(:id)"), {"id": hold})
            task = asyncio.create_task(
                expire(world)
                if ending == "sweep"
                else (bob if ending == "capture" else ada).post(f"/v1/holds/{hold}/{ending}")
            )
            await one_waits(session)
            await session.execute(
                text("SELECT FROM payment_holds WHERE id = :id FOR NO KEY UPDATE NOWAIT"),
                {"id": hold},
            )
        done = await task
        assert done == 1 if ending == "sweep" else done.status_code == 200

    async def test_the_sweep_leaves_what_is_not_late(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob, seconds=120)
        await world.bed.advance(61)
        assert await expire(world) == 0
        assert (await ada.get(f"/v1/holds/{hold}")).json()["status"] == "open"

    async def test_both_sides_list_it(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        made = [await open_hold(ada, bob, "1.00") for _ in range(3)]
        for person in (ada, bob):
            first = (await person.get("/v1/holds", limit=2)).json()
            rest = (await person.get("/v1/holds", limit=2, cursor=first["next_cursor"])).json()
            listed = [one["id"] for one in first["data"] + rest["data"]]
            assert listed == made[::-1]
            assert rest["next_cursor"] is None

    async def test_both_timelines_show_it(self, world: Any) -> None:
        ada, bob = await world.person(EUR="10.00"), await world.person()
        hold = await open_hold(ada, bob)
        for status, amount in (("open", "6.00"), ("open", "1.00"), ("voided", "1.00")):
            for person, direction in ((ada, "out"), (bob, "in")):
                (line,) = (await person.get("/v1/activity", kind="hold")).json()["data"]
                assert (line["id"], line["status"]) == (hold, status)
                assert (line["direction"], line["money"]["amount"]) == (direction, amount)
                assert line["links"]["self"] == f"/v1/holds/{hold}"
            if amount == "6.00":
                await bob.post(f"/v1/holds/{hold}/capture", eur("1.00"))
            else:
                await ada.post(f"/v1/holds/{hold}/void")
