"""The day a hot key is in other hands, and they have used it: what is left still goes to cold."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from chain.address import checked
from chain.client import ChainClient
from chain.testing.fake_node import FakeNode
from chain.transactions import decode_unsigned
from keys.errors import SignerRefused
from keys.request import Kind, SignedTx
from tests.onchain.test_onchain_strangers import _spend_from_hot
from wallet import cli_evacuate, cli_treasury_moves
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import ChainUnavailable, casework, queue, signers, tokens
from wallet.onchain.freeze import freeze_network
from wallet.testing.seam import GWEI, Seam
from wallet.treasury import hot

COLD = checked("0x00000000000000000000000000000000c01d0001")
OUTSIDE = checked("0x00000000000000000000000000000000000A11cE")


async def _opened(db: Database, folder: Path, hot_keys: int = 1) -> Seam:
    return await Seam.open(
        db, "http://fake.invalid", folder / "signer", cold=COLD, confirmations=2,
        transport=FakeNode().transport, hot_keys=hot_keys,
    )  # fmt: skip


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await _opened(db, tmp_path)
    yield seam
    await seam.close()


async def _emptied(seam: Seam, passes: int = 8) -> None:
    for _ in range(passes):
        if await seam.rows("SELECT 1 FROM network_freezes WHERE evacuate_to IS NULL"):
            break
        with suppress(ChainUnavailable):  # the node's word is old on a crowded machine
            await seam.treasury.tick()
            await seam.pass_once()
            await seam.mine(seam.network.confirmations)


async def test_what_a_thief_left_of_a_hot_address_is_evacuated(seam: Seam) -> None:
    """They used a nonce that was never given: that halts the address, for customers only."""
    [address] = await seam.signer.hot_addresses()
    await seam.pay_in(address, "10", "ETH")
    await seam.pay_in(address, "100", "USDC")
    await hot.introduce(seam.db, seam.chain, address)
    await _spend_from_hot(seam, 0)
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'a key is out', :cold, 'ada')"), {"cold": COLD},
        )  # fmt: skip
    async with seam.db.transaction() as session:  # as the payments before it had it
        await signers.halt_signer(
            session, network="local", address=address, reason="foreign_transaction"
        )
    await _emptied(seam)
    assert await seam.on_chain(COLD, "USDC") == 100 * 10**6
    assert (await seam.on_chain(address, "USDC"), await seam.on_chain(address, "ETH")) == (0, 0)
    async with seam.db.transaction() as session:
        assert await signers.lost_anywhere(session, address=address)
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None


@pytest.mark.parametrize("many", [70, 200])
async def test_a_thief_who_uses_more_nonces_than_a_signer_signs_ahead_keeps_nothing_back(
    seam: Seam, many: int
) -> None:
    await seam.fund_house()
    [address] = await seam.signer.hot_addresses()
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    for nonce in range(1, 1 + many):
        await _spend_from_hot(seam, nonce)
        await seam.dev.mine(1)
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await _emptied(seam, 12)
    assert (await seam.on_chain(address, "USDC"), await seam.on_chain(address, "ETH")) == (0, 0)
    assert await seam.on_chain(COLD, "USDC") > 0
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None
    assert await seam.rows("SELECT FROM chain_intents WHERE state = 'in_review'") == []


async def test_an_address_that_is_not_known_yet_keeps_no_other_from_being_emptied(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes differ about the nonces of the second, for as long as one of them lies."""
    seam = await _opened(db, tmp_path, hot_keys=2)
    first, second = await seam.signer.hot_addresses()
    await seam.pay_in(first, "10", "ETH")
    await seam.pay_in(second, "1", "ETH")
    real = hot.introduce

    async def introduce(db: Database, chain: ChainClient, address: str) -> None:
        if address == second:
            raise InvalidState("The nodes say differently how many nonces it has used.")
        await real(db, chain, address)

    await hot.introduce(seam.db, seam.chain, first)
    monkeypatch.setattr(hot, "introduce", introduce)
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await _emptied(seam, 5)
    assert await seam.on_chain(first, "ETH") == 0
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to == COLD
    await seam.close()


async def test_customers_who_wait_are_not_in_the_way_of_an_evacuation(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many: they queued before it, and a thief can see to that."""
    monkeypatch.setattr(queue, "NEW_LOOK", 2)
    await seam.fund_house()
    [address] = await seam.signer.hot_addresses()
    mallory = await seam.funded_person()
    waiting = [await seam.withdraw(mallory, "0.01", "ETH", OUTSIDE) for _ in range(3)]
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await _emptied(seam)
    assert (await seam.on_chain(address, "USDC"), await seam.on_chain(address, "ETH")) == (0, 0)
    assert await seam.on_chain(COLD, "ETH") > 0
    assert {(await seam.withdrawal(mallory, one.id)).status for one in waiting} == {"held"}


@pytest.mark.parametrize("promised", [False, True])
async def test_a_halted_token_goes_too_and_keeps_no_coins_back(seam: Seam, promised: bool) -> None:
    """Halted before it was promised, or after: what lies hot is the thief's, whatever it is."""
    await seam.fund_house()
    [address] = await seam.signer.hot_addresses()
    ada = await seam.funded_person()
    theirs = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    if promised:
        await seam.treasury.tick()
    async with seam.db.transaction() as session:
        await tokens.halt_token(session, network="local", asset="USDC", reason="a look")
    await _emptied(seam)
    assert (await seam.on_chain(address, "USDC"), await seam.on_chain(address, "ETH")) == (0, 0)
    assert await seam.on_chain(COLD, "ETH") > 0 < await seam.on_chain(COLD, "USDC")
    assert (await seam.withdrawal(ada, theirs.id)).status == "held"


async def test_the_command_ends_with_an_address_that_a_thief_had_used(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was halted before, for the thief's transaction: it is given up like the others, so that
    nobody lets it go on by the case that was open about it."""
    [address] = await seam.signer.hot_addresses()
    await seam.pay_in(address, "10", "ETH")
    await hot.introduce(seam.db, seam.chain, address)
    async with seam.db.transaction() as session:
        await casework.halt_signer(
            session, network="local", address=address, reason="foreign_transaction"
        )
    services: Any = SimpleNamespace(
        db=seam.operators, chains={"local": seam.chain}, assets=seam.assets
    )
    chosen = argparse.Namespace(network="local", to=COLD, by="ada", hot_only=True, wait=60.0)

    async def worker() -> None:
        while True:
            with suppress(ChainUnavailable):
                await seam.treasury.tick()
                await seam.pass_once()
                await seam.mine(seam.network.confirmations)
            await asyncio.sleep(0.1)

    working = asyncio.create_task(worker())
    try:
        assert await cli_evacuate.run(services, chosen, ["local"]) == 0
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert "Done in" in capsys.readouterr().out
    [row] = await seam.rows("SELECT halted_reason FROM chain_signers")
    assert row.halted_reason == hot.COMPROMISED
    [case] = await seam.rows("SELECT status, closed_by FROM cases WHERE kind = 'signer_halted'")
    assert (case.status, case.closed_by) == ("closed", "ada")


async def test_a_payment_that_waits_for_the_signers_day_is_not_in_its_way(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the nonce before those of the evacuation, for up to 26 hours; who has the key and
    money here can see to that, too."""
    real = seam.signer.sign_transaction

    async def limited(*, kind: Kind, **asked: Any) -> SignedTx:
        if kind == "pay" and decode_unsigned(asked["payload"]).to == OUTSIDE:
            raise SignerRefused("day_limit_reached")
        return await real(kind=kind, **asked)

    await seam.fund_house()
    [address] = await seam.signer.hot_addresses()
    ada = await seam.funded_person()
    monkeypatch.setattr(seam.signer, "sign_transaction", limited)
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.runner.tick()
    assert (await seam.withdrawal(ada, made.id)).waiting_for == "signer_limit"
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await _emptied(seam, 9)
    assert (await seam.on_chain(address, "USDC"), await seam.on_chain(address, "ETH")) == (0, 0)
    assert await seam.on_chain(COLD, "ETH") > 0
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, done.fee.minor) == ("failed", 0)
    assert (await seam.balance(ada, "ETH")).available_minor == 10 * 10**18


async def test_what_was_promised_of_more_than_a_thief_left_is_promised_anew(seam: Seam) -> None:
    """They spent between the promise and its nonce: it waited for what will never come."""
    [address] = await seam.signer.hot_addresses()
    await seam.pay_in(address, "10", "ETH")
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await seam.treasury.tick()
    await _spend_from_hot(seam, 0)
    await seam.mine()
    await _emptied(seam)
    assert await seam.on_chain(address, "ETH") == 0
    assert await seam.on_chain(COLD, "ETH") > 9 * 10**18
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None


async def test_fees_that_rise_before_it_has_a_nonce_are_offered(seam: Seam) -> None:
    await seam.fund_house()
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await seam.treasury.tick()
    await seam.node("anvil_setNextBlockBaseFeePerGas", hex(60 * GWEI))
    await seam.mine()
    [row] = await seam.rows("SELECT waiting_for FROM chain_intents WHERE state = 'queued'")
    assert row.waiting_for == "fees"
    await seam.node("anvil_setNextBlockBaseFeePerGas", hex(60 * GWEI))
    await seam.mine()
    await seam.treasury.tick()
    await seam.pass_once()
    [there] = await seam.rows("SELECT asset FROM chain_intents WHERE state IN ('sent', 'mined')")
    assert there.asset == "USDC"


async def test_an_address_halted_for_anything_else_is_emptied_too(seam: Seam) -> None:
    """Such as what a restored database contradicts: its coins are as much in danger."""
    [address] = await seam.signer.hot_addresses()
    await seam.pay_in(address, "10", "ETH")
    await hot.introduce(seam.db, seam.chain, address)
    async with seam.db.transaction() as session:
        await casework.halt_signer(
            session, network="local", address=address, reason="signer_nonce_used"
        )
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await _emptied(seam)
    assert await seam.on_chain(address, "ETH") == 0
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to is None


async def test_what_a_thief_does_with_an_emptied_address_stops_nobody(
    db: Database, tmp_path: Path
) -> None:
    """Also where the command did not wait for its end, and the first halt stayed."""
    seam = await _opened(db, tmp_path, hot_keys=2)
    first, second = await seam.signer.hot_addresses()
    await seam.pay_in(first, "10", "ETH")
    for address in (first, second):
        await hot.introduce(seam.db, seam.chain, address)
    async with seam.db.transaction() as session:
        await signers.halt_signer(session, network="local", address=second, reason=hot.STANDBY)
        await casework.halt_signer(
            session, network="local", address=first, reason="foreign_transaction"
        )
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await _emptied(seam)
    async with seam.operators.transaction() as session:
        await session.execute(text("DELETE FROM network_freezes"))
    await seam.pay_in(first, "1", "ETH")
    await _spend_from_hot(seam, 1)
    await seam.pay_in(second, "10", "ETH")
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    await seam.close()


async def test_what_was_promised_and_did_not_leave_stays_when_it_is_broken_off(seam: Seam) -> None:
    await seam.fund_house()
    [address] = await seam.signer.hot_addresses()
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="a key is out", by="ada", to=COLD)
    await seam.treasury.tick()
    services: Any = SimpleNamespace(db=seam.operators, networks={"local": seam.network})
    chosen = argparse.Namespace(action="unfreeze", network="local", by="ada")
    assert await cli_treasury_moves.run(services, chosen) == 0
    await seam.finish()
    assert await seam.on_chain(address, "USDC") == 100_000 * 10**6
    [move] = await seam.rows("SELECT state, reason FROM treasury_moves")
    assert (move.state, move.reason) == ("dismissed", "dismissed by ada")
