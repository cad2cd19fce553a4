"""However many payments of own accounts there are: a pass has an end, and each has its turn."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import text

from chain.errors import NodeUnavailable
from keys.errors import SignerRefused, SignerUnavailable
from wallet.db import Database
from wallet.selfcustody import SelfCustodyWorker
from wallet.selfcustody.turns import FRESH_PER_TICK, LEFT_PER_TICK, Turns


async def put(
    db: Database, *states: str, network: str = "local", granted: bool = True
) -> list[str]:
    """So many payments, each of an account of its own; their ids."""
    made = []
    async with db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO principals (id, kind) VALUES ('usr_x', 'user') ON CONFLICT DO NOTHING"
            )
        )
        start = await session.scalar(text("SELECT count(*) FROM selfcustody_sends"))
        for n, state in enumerate(states, start=int(start or 0)):
            raw = None if state in ("queued", "allocated") else b"\x02"
            values = {
                "n": f"{n:026}", "address": f"0x{n:040x}", "nonce": f"{n:016x}", "state": state,
                "network": network, "grant": "g" if granted else None, "raw": raw,
                "hash": None if raw is None else f"0x{n:064x}",
                "given": None if state == "queued" else 0,
                "unsigned": None if state == "queued" else b"\x02", "sealed": json.dumps({}),
            }  # fmt: skip
            for statement in (
                "INSERT INTO selfcustody_accounts (id, principal_id, label, address, sealed)"
                " VALUES ('sca_' || :n, 'usr_x', 'x', :address, CAST(:sealed AS jsonb))",
                "INSERT INTO selfcustody_requests (id, principal_id, nonce, purpose, state)"
                " VALUES ('scr_' || :n, 'usr_x', :nonce, 'grant', 'done')",
                "INSERT INTO selfcustody_sends (id, principal_id, account_id, request_id, network,"
                " asset, to_address, amount_minor, max_fee_wei, state, grant_name, nonce, unsigned,"
                " raw, tx_hash) VALUES ('scs_' || :n, 'usr_x', 'sca_' || :n, 'scr_' || :n,"
                " :network, 'ETH', :address, 1, 1, :state, :grant, :given, :unsigned, :raw, :hash)",
            ):
                await session.execute(text(statement), values)
            made.append(f"scs_{n:026}")
    return made


async def taken(db: Database, turns: Turns) -> list[str]:
    async with db.transaction() as session:
        return [row.id for row in await turns.take(session, ["local"])]


async def test_a_pass_is_bounded_and_everybodys_turn_comes(db: Database) -> None:
    left = await put(db, *(["sent", "mined"] * 50))
    turns = Turns()
    passes = [await taken(db, turns) for _ in range(6)]
    assert {len(one) for one in passes} == {LEFT_PER_TICK}
    assert set(passes[0] + passes[1] + passes[2]) == set(left)  # 100 in three passes of 48
    looks = [sum(one.count(send) for one in passes) for send in left]
    assert max(looks) - min(looks) <= 1


async def test_a_new_one_waits_behind_no_crowd_that_has_left(db: Database) -> None:
    await put(db, *["sent"] * (3 * LEFT_PER_TICK))
    turns = Turns()
    await taken(db, turns)
    (fresh,) = await put(db, "queued")
    assert (await taken(db, turns))[0] == fresh


async def test_fresh_ones_that_are_stuck_keep_no_other_from_its_turn(db: Database) -> None:
    await put(db, *["queued"] * (2 * FRESH_PER_TICK))
    turns = Turns()
    await taken(db, turns)
    (new,) = await put(db, "signed")
    seen = [await taken(db, turns) for _ in range(2)]
    assert new in seen[0] + seen[1]


async def test_what_needs_no_look_takes_no_place(db: Database) -> None:
    await put(db, *["queued"] * 5, granted=False)
    await put(db, *["sent"] * 5, network="elsewhere")
    await put(db, "failed", "settled")
    turns = Turns()
    assert await taken(db, turns) == []
    assert await taken(db, turns) == []
    (one,) = await put(db, "mined")
    assert [await taken(db, turns) for _ in range(3)] == [[one]] * 3


async def test_a_node_that_is_away_takes_no_more_of_the_pass(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = await put(db, *["sent"] * 3, network="slow")
    fine = await put(db, *["sent"] * 2)
    asked: list[str] = []

    class Signer:
        async def selfcustody(self, *_: object, **__: object) -> dict[str, Any]:
            return {"public_key": "0" * 64}

    chains: Any = {"local": None, "slow": None}
    worker = SelfCustodyWorker(db, chains, Signer())

    async def move(row: Any) -> None:
        asked.append(row.id)
        if row.network == "slow":
            raise NodeUnavailable("away")

    monkeypatch.setattr(worker, "_move", move)
    await worker.tick()
    assert asked == [slow[0], *fine]


async def test_one_persons_many_boxes_keep_nobody_elses_waiting(db: Database) -> None:
    """Each takes the signer seconds: 60 of them took others past the three minutes of a box."""
    await boxes(db, "usr_eve", 30)
    await boxes(db, "usr_ada", 1)
    await boxes(db, "usr_zoe", 1)
    signer = Asked()
    worker = SelfCustodyWorker(db, {}, signer)
    await worker.tick()
    assert sorted(signer.asked) == ["usr_ada", "usr_eve", "usr_zoe"]
    await worker.tick()
    assert signer.asked[3:] == ["usr_eve"]


async def test_a_box_at_which_the_signer_is_silent_is_behind_the_others_next_time(
    db: Database,
) -> None:
    for who in ("usr_ada", "usr_eve", "usr_zoe"):
        await boxes(db, who, 2)
    signer = Asked(silent="usr_ada")
    worker = SelfCustodyWorker(db, {}, signer)
    await worker.tick()
    await worker.tick()
    assert signer.asked == ["usr_ada", "usr_eve", "usr_zoe", "usr_ada"]


async def test_boxes_that_take_long_keep_payments_waiting_for_no_more_than_one_of_them(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grant lives two minutes, and eight key files take the signer most of one."""
    monkeypatch.setattr("wallet.selfcustody.boxes.ANSWERING_SECONDS", 0.05)
    for who in ("usr_ada", "usr_eve", "usr_zoe"):
        await boxes(db, who, 1)
    signer = Asked(seconds=0.1)
    worker = SelfCustodyWorker(db, {}, signer)
    for count in (1, 2, 3):
        await worker.tick()
        assert len(signer.asked) == count  # and everybody's turn comes


async def test_the_signers_key_is_told_while_boxes_are_opened(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three people's key files at once took longer than the key is good for: own accounts were
    unavailable to everybody else, for as long as anybody liked."""
    monkeypatch.setattr("wallet.selfcustody.telling.TELL_KEY_SECONDS", 0.05)
    await boxes(db, "usr_eve", 1)
    signer = Asked(seconds=0.5)
    await SelfCustodyWorker(db, {}, signer).tick()
    assert signer.keys >= 4


async def boxes(db: Database, who: str, number: int) -> None:
    async with db.transaction() as session:
        await session.execute(
            text("INSERT INTO principals (id, kind) VALUES (:who, 'user')"), {"who": who}
        )
        for n in range(number):
            await session.execute(
                text(
                    "INSERT INTO selfcustody_requests (id, principal_id, nonce, purpose, label,"
                    " box) VALUES (:id, :who, :nonce, 'create', 'x', '{}')"
                ),
                {"id": f"scr_{who}_{n}", "who": who, "nonce": f"{n:016x}"},
            )


class Asked:
    """A signer that refuses every box, and notes whose it was."""

    def __init__(self, silent: str = "", seconds: float = 0.0) -> None:
        self.silent, self.seconds = silent, seconds
        self.asked: list[str] = []
        self.keys = 0

    async def selfcustody(self, method: str, **params: Any) -> dict[str, Any]:
        if method == "key":
            self.keys += 1
            return {"public_key": "0" * 64}
        self.asked.append(params["principal"])
        await asyncio.sleep(self.seconds)
        if params["principal"] == self.silent:
            raise SignerUnavailable("no answer in 30 s")
        raise SignerRefused("box_not_opened")
