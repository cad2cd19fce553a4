"""A signer whose fee ceiling is below the network's: what is dearer waits, and jams nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from chain.testing.fake_node import FakeNode
from keys.request import ApprovalLimits
from tests.treasury.test_treasury_stolen import COLD
from wallet.db import Database
from wallet.onchain.freeze import freeze_network
from wallet.testing.seam import GWEI, Seam
from wallet.withdrawals import Withdrawal, cancel_for

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
HALTED = "SELECT address, halted_reason FROM chain_signers WHERE halted_reason IS NOT NULL"


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, cold=COLD,
        transport=FakeNode().transport,
    )  # fmt: skip
    seam.bump_seconds = 0.0
    seam.runner = seam.new_runner()
    await seam.fund_house()
    yield seam
    await seam.close()


def allow(seam: Seam, gwei: int) -> None:
    """What its policy lets pass from now on, per gas."""
    chains = seam.desk.policy.chains
    chain = replace(chains[31337], fee_ceiling_wei=gwei * GWEI)
    seam.desk.policy = replace(seam.desk.policy, chains={31337: chain})


def tells_nothing(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    """As over the eth1 API."""

    async def limits() -> dict[int, ApprovalLimits]:
        return {}

    monkeypatch.setattr(seam.signer, "approval_limits", limits)


async def blocks(seam: Seam, gwei: int, count: int = 1) -> None:
    for _ in range(count):
        await seam.node("anvil_setNextBlockBaseFeePerGas", hex(gwei * GWEI))
        await seam.mine()


async def let_go(seam: Seam, made: Withdrawal) -> None:
    async with seam.operators.transaction() as session:
        await cancel_for(
            session, withdrawal_id=made.id, by="bea", assets=seam.assets,
            networks={"local": seam.network},
        )  # fmt: skip


@pytest.mark.parametrize("gwei", [100, 140])
async def test_a_spike_halts_no_address(seam: Seam, gwei: int) -> None:
    """The quote is twice the base fee; what the signer lets pass is bid, if it is mined at all."""
    allow(seam, 150)
    ada = await seam.funded_person()
    await blocks(seam, gwei)
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await blocks(seam, gwei, 6)
    now = await seam.withdrawal(ada, made.id)
    assert await seam.rows(HALTED) == []
    waits = ("held", "fees", 0)  # and its owner may still take it back at no cost
    told = (now.status, now.waiting_for, len(now.attempts))
    assert told == (("settled", None, 1) if gwei == 100 else waits)
    await blocks(seam, 10, 6)
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.differences() == []


async def test_nor_where_the_signer_tells_of_no_ceiling(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(seam, 150)
    tells_nothing(seam, monkeypatch)
    ada = await seam.funded_person()
    await blocks(seam, 100)
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await blocks(seam, 100, 10)
    assert await seam.rows(HALTED) == []
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, [one.kind for one in done.attempts]) == ("settled", ["pay", "pay"])
    assert await seam.differences() == []


async def test_nor_a_nonce_that_was_given_before_its_ceiling_was_lowered(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed, and lost on its way: only a transfer of nothing is signed there still."""
    ada = await seam.funded_person()
    await blocks(seam, 100)
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    signs = seam.signer.sign_transaction

    async def lost(**asked: object) -> object:
        await signs(**asked)  # type: ignore[arg-type]
        raise RuntimeError("the worker ends")

    monkeypatch.setattr(seam.signer, "sign_transaction", lost)
    with pytest.raises(RuntimeError):
        await seam.runner.tick()
    monkeypatch.setattr(seam.signer, "sign_transaction", signs)
    allow(seam, 150)
    await blocks(seam, 100, 10)
    assert await seam.rows(HALTED) == []
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, done.failure_code) == ("failed", "signer_fee_above_ceiling")
    assert await seam.on_chain(OUTSIDE, "ETH") == 0
    assert await seam.differences() == []


async def test_coins_are_saved_in_a_spike(seam: Seam) -> None:
    allow(seam, 150)
    await blocks(seam, 100)
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    for _ in range(20):
        await seam.treasury.tick()
        await blocks(seam, 100)
    [address] = await seam.signer.hot_addresses()
    assert await seam.on_chain(address, "ETH") < 10**16  # less than its gas costs
    assert [row.halted_reason for row in await seam.rows(HALTED)] == ["compromised"]
    assert await seam.differences() == []


async def test_an_operator_lets_go_what_was_outbid_often(seam: Seam) -> None:
    """Twenty bids within a bound of dear hours are no reason to jam what is behind it for good."""
    ada = await seam.funded_person()
    await blocks(seam, 100)
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    for _ in range(2):
        await seam.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        await seam.dev.mine(1)
    await seam.automine(False)
    await seam.runner.tick()
    await blocks(seam, 60, 44)
    now = await seam.withdrawal(ada, made.id)
    assert (now.status, now.waiting_for, len(now.attempts)) == ("broadcast", "fees", 20)
    await let_go(seam, made)
    await seam.runner.tick()
    await blocks(seam, 180, 2)  # dearer yet, before it could be mined
    await let_go(seam, made)
    await blocks(seam, 180, 8)
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, done.failure_code) == ("failed", "cancelled_by_operator")
    assert await seam.differences() == []


async def test_a_cancel_that_the_signer_lets_outbid_nothing_waits_for_its_policy(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was bid for less in forty steps, each an attempt: then no more were left."""
    tells_nothing(seam, monkeypatch)
    ada = await seam.funded_person()
    await seam.automine(False)
    await blocks(seam, 20)
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.pass_once()
    [bid] = [one.max_fee_wei for one in (await seam.withdrawal(ada, made.id)).attempts]
    assert bid is not None
    allow(seam, bid // GWEI)
    await blocks(seam, 200, 2)
    await let_go(seam, made)
    for _ in range(60):
        await seam.runner.tick()
    assert len((await seam.withdrawal(ada, made.id)).attempts) < 12
    allow(seam, 500)
    seam.runner = seam.new_runner()
    await blocks(seam, 200, 8)
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, done.failure_code) == ("failed", "cancelled_by_operator")
    assert await seam.differences() == []


async def test_no_batch_is_made_that_the_signer_would_not_sign(
    db: Database, tmp_path: Path
) -> None:
    """It was taken apart after a minute, and its members went one by one ever after."""
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=2, batches=True,
        transport=FakeNode().transport,
    )  # fmt: skip
    try:
        await seam.fund_house()
        ada = await seam.funded_person()
        for _ in range(5):
            await seam.withdraw(ada, "2", "USDC", OUTSIDE)
        await seam.finish()
        await seam.finish()
        allow(seam, 150)
        await blocks(seam, 140)
        made = [await seam.withdraw(ada, "2", "USDC", OUTSIDE) for _ in range(5)]
        batches = "SELECT 1 FROM chain_intents WHERE purpose = 'payout_batch' AND state = 'queued'"
        await blocks(seam, 140, 2)
        assert await seam.rows(batches) == []
        await blocks(seam, 10, 6)
        assert {(await seam.withdrawal(ada, one.id)).status for one in made} == {"settled"}
        done = await seam.rows("SELECT 1 FROM chain_intents WHERE batch_id IS NOT NULL")
        assert len(done) >= 5
        assert await seam.differences() == []
    finally:
        await seam.close()
