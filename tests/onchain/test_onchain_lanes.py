"""Several hot addresses as parallel lanes, several workers on them; a lane that must wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chain.outcomes import SendKind, SendOutcome
from chain.testing import AnvilProcess
from keys.errors import SignerRefused
from keys.request import Kind, SignedTx
from wallet import cli_operator
from wallet.bootstrap import Services
from wallet.db import Database
from wallet.onchain import deliver, repository
from wallet.onchain.freeze import freeze_network
from wallet.onchain.prepare import MAX_IN_FLIGHT, share
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


@pytest.fixture
async def lanes(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    """A house with three funded hot addresses."""
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", hot_keys=3)
    await seam.fund_house()
    yield seam
    await seam.close()


async def _nonces(seam: Seam) -> dict[str, list[int]]:
    rows = await seam.rows(
        "SELECT from_address, nonce FROM chain_intents WHERE nonce IS NOT NULL"
        " ORDER BY from_address, nonce"
    )
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row.from_address, []).append(row.nonce)
    return found


def test_a_share_makes_lanes_equally_busy_and_leaves_nobody_waiting() -> None:
    assert share({"a": 0, "b": 0, "c": 0}, "a", 9) == 3
    assert share({"a": 4, "b": 0}, "b", 2) == 3  # as busy as the other would be
    assert share({"a": 4, "b": 0}, "a", 1) == 1  # b may be unable to pay
    assert share({"a": MAX_IN_FLIGHT, "b": 0}, "a", 5) == 0
    assert share({"a": 10}, "a", 64) == MAX_IN_FLIGHT - 10
    assert share({"a": 0}, "halted", 5) == 0


async def test_s11_three_lanes_and_two_workers_pay_each_once(lanes: Seam) -> None:
    ada = await lanes.funded_person()
    made = [await lanes.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(9)]
    workers = [lanes.runner, lanes.new_runner()]
    for _ in range(4):
        await asyncio.gather(*(worker.tick() for worker in workers))
    await lanes.finish()
    for one in made:
        assert (await lanes.withdrawal(ada, one.id)).status == "settled"
    nonces = await _nonces(lanes)
    assert len(nonces) == 3
    assert all(used == list(range(len(used))) for used in nonces.values())
    for address, used in nonces.items():
        assert await lanes.chain.nonce(address) == len(used)
    assert await lanes.on_chain(OUTSIDE, "USDC") == 9_000_000
    assert await lanes.differences() == []


async def test_a_lane_that_cannot_pay_holds_up_nobody(lanes: Seam) -> None:
    ada = await lanes.funded_person()
    poor = (await lanes.signer.hot_addresses())[0]
    await lanes.node("anvil_setBalance", poor, "0x0")
    made = [await lanes.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(4)]
    for _ in range(5):
        await lanes.runner.tick()
    await lanes.finish()
    assert [(await lanes.withdrawal(ada, one.id)).status for one in made] == ["settled"] * 4
    assert poor not in await _nonces(lanes)


async def test_the_signers_day_is_waited_for_and_other_lanes_go_on(
    lanes: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = lanes.signer.sign_transaction, (await lanes.signer.hot_addresses())[0]

    async def limited(*, kind: Kind, **asked: Any) -> SignedTx:
        if asked["address"] == full and kind == "pay":
            raise SignerRefused("day_limit_reached")
        return await real(kind=kind, **asked)

    ada = await lanes.funded_person()
    with monkeypatch.context() as patched:
        patched.setattr(lanes.signer, "sign_transaction", limited)
        stuck = await lanes.withdraw(ada, "1", "USDC", OUTSIDE)
        await lanes.runner.tick()
        others = [await lanes.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(4)]
        await lanes.finish()
        waits = await lanes.withdrawal(ada, stuck.id)
        assert (waits.status, waits.waiting_for) == ("held", "signer_limit")
        assert [(await lanes.withdrawal(ada, one.id)).status for one in others] == ["settled"] * 4
        assert len((await _nonces(lanes))[full]) == 1  # nothing was put behind it
        async with lanes.db.transaction() as session:
            late = await repository.overdue(session, "local", seconds=0)
            soon = await repository.overdue(session, "local", seconds=900)
        assert [(one.state, one.waiting_for) for one in late] == [("allocated", "signer_limit")]
        assert soon == []
    await lanes.finish()  # the next day
    done = await lanes.withdrawal(ada, stuck.id)
    assert (done.status, [one.kind for one in done.attempts]) == ("settled", ["pay"])
    assert await lanes.on_chain(OUTSIDE, "USDC") == 5_000_000
    assert await lanes.differences() == []


async def test_a_bump_above_the_days_fees_is_asked_for_again_and_not_lost(
    lanes: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked_for = lanes.signer.sign_transaction, []

    async def limited(*, kind: Kind, **asked: Any) -> SignedTx:
        if kind == "bump":
            asked_for.append(asked["payload"])
            raise SignerRefused("day_limit_reached")
        return await real(kind=kind, **asked)

    ada = await lanes.funded_person()
    await lanes.automine(False)
    made = await lanes.withdraw(ada, "1", "USDC", OUTSIDE)
    await lanes.runner.tick()
    await lanes.speed_up(ada, made.id)
    with monkeypatch.context() as patched:
        patched.setattr(lanes.signer, "sign_transaction", limited)
        for _ in range(4):
            await lanes.runner.tick()
        assert len(asked_for) == 1  # not in every pass
        monkeypatch.setattr(deliver, "ASKS_AGAIN_SECONDS", 0.0)
        await lanes.new_runner().tick()
        assert len(asked_for) == 2
    again = lanes.new_runner()
    await again.tick()  # the next day
    seen = await lanes.withdrawal(ada, made.id)
    assert [one.kind for one in seen.attempts] == ["pay", "bump"]
    assert seen.tx_hash == seen.attempts[-1].tx_hash is not None
    await lanes.automine(True)
    await lanes.finish()
    assert (await lanes.withdrawal(ada, made.id)).status == "settled"
    assert await lanes.on_chain(OUTSIDE, "USDC") == 1_000_000
    assert await lanes.differences() == []


async def test_what_waits_for_the_signers_day_may_be_cancelled(
    lanes: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lanes.signer.sign_transaction

    async def limited(*, kind: Kind, **asked: Any) -> SignedTx:
        if kind == "pay":
            raise SignerRefused("day_limit_reached")
        return await real(kind=kind, **asked)

    monkeypatch.setattr(lanes.signer, "sign_transaction", limited)
    ada = await lanes.funded_person()
    stuck = await lanes.withdraw(ada, "1", "USDC", OUTSIDE)
    await lanes.runner.tick()
    await lanes.cancel(ada, stuck.id)
    await lanes.finish()
    assert (await lanes.withdrawal(ada, stuck.id)).status == "cancelled"
    assert await lanes.on_chain(OUTSIDE, "USDC") == 0
    assert await lanes.differences() == []


async def test_a_limit_that_never_lifts_ends_in_a_refusal_and_the_money_is_free(
    lanes: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lanes.signer.sign_transaction

    async def limited(*, kind: Kind, **asked: Any) -> SignedTx:
        if kind == "pay":
            raise SignerRefused("day_limit_reached")
        return await real(kind=kind, **asked)

    monkeypatch.setattr(lanes.signer, "sign_transaction", limited)
    monkeypatch.setattr(deliver, "DAY_LIMIT_WAIT_SECONDS", 0.0)
    ada = await lanes.funded_person()
    made = await lanes.withdraw(ada, "1", "USDC", OUTSIDE)
    await lanes.finish()
    done = await lanes.withdrawal(ada, made.id)
    assert (done.status, done.failure_code) == ("failed", "signer_day_limit_reached")
    assert (await lanes.balance(ada, "USDC")).held_minor == 0
    assert await lanes.differences() == []


async def test_bytes_a_node_calls_malformed_are_looked_at_and_may_be_cancelled(
    lanes: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(raw: bytes) -> SendOutcome:
        return SendOutcome(SendKind.MALFORMED, "intrinsic gas too low")

    monkeypatch.setattr(deliver, "MALFORMED_SENDS", 4)
    ada = await lanes.funded_person()
    with monkeypatch.context() as patched:
        patched.setattr(lanes.chain, "send_raw", never)
        made = await lanes.withdraw(ada, "1", "USDC", OUTSIDE)
        seen = []
        for _ in range(6):
            await lanes.runner.tick()
            seen.append((await lanes.withdrawal(ada, made.id)).waiting_for)
        assert "chain" in seen[:3] and seen[-1] == "review"
        assert (await lanes.balance(ada, "USDC")).held_minor >= 1_000_000
    await lanes.cancel(ada, made.id)
    await lanes.finish()
    assert (await lanes.withdrawal(ada, made.id)).status == "cancelled"
    assert await lanes.on_chain(OUTSIDE, "USDC") == 0
    assert await lanes.differences() == []


async def test_a_lane_says_nothing_about_what_another_has_taken(lanes: Seam) -> None:
    ada = await lanes.funded_person()
    await lanes.automine(False)
    made = await lanes.withdraw(ada, "1", "USDC", OUTSIDE)
    await lanes.runner.tick()
    [before] = await lanes.rows("SELECT id, state, waiting_for FROM chain_intents")
    assert before.state == "sent"
    async with lanes.db.transaction() as session:
        await repository.set_waiting(session, [before.id], "liquidity", queued_only=True)
    assert (await lanes.withdrawal(ada, made.id)).waiting_for != "liquidity"


async def test_the_operators_status_names_a_late_payment_and_fails(
    lanes: Seam, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = await lanes.funded_person()
    await lanes.withdraw(ada, "1", "USDC", OUTSIDE)
    services = cast(Services, SimpleNamespace(networks={"local": lanes.network}))
    [intent] = await lanes.rows("SELECT id FROM chain_intents")
    async with lanes.db.transaction() as session:
        assert await cli_operator._status(session, services) == 0
        assert intent.id not in capsys.readouterr().out
        monkeypatch.setattr(cli_operator, "OVERDUE_SECONDS", 0.0)
        assert await cli_operator._status(session, services) == 1
    assert f"payment {intent.id}" in " ".join(capsys.readouterr().out.split())


async def test_the_operators_status_names_a_freeze_and_fails(
    lanes: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    services = cast(Services, SimpleNamespace(networks={"local": lanes.network}))
    async with lanes.operators.transaction() as session:
        await freeze_network(session, "local", reason="a drill", by="ada")
        assert await cli_operator._status(session, services) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "freeze payments of customers waiting a drill" in told
