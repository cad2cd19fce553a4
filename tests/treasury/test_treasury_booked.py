"""A move of the house's own that a restored database holds as queued, and that the scanner has
booked as an arrival from nobody before its row comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.testing import AnvilProcess
from tests.onchain.older_copy import OlderCopy
from tests.onchain.test_onchain_lost_rows import _lose
from tests.treasury.warm import (
    ADA,
    BOB,
    COLD,
    OUTSIDE,
    approve,
    fill,
    listed,
    propose,
    run,
    sign,
    warm_of,
)
from wallet import ledger
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.ledger import accounts
from wallet.onchain.freeze import freeze_network
from wallet.onchain.review import resolve
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.seam import Seam
from wallet.treasury import moves


@pytest.fixture
async def copy(
    db: Database, anvil: AnvilProcess, tmp_path: Path, database: ScratchDatabase,
    cluster: ScratchCluster,
) -> AsyncIterator[OlderCopy]:  # fmt: skip
    seam = await Seam.open(
        db, anvil.url, tmp_path / "signer", cold=COLD, warm=[ADA.address, BOB.address],
        contract_name="RegulatedToken", confirmations=2,
    )  # fmt: skip
    await seam.fund_house()
    await fill(seam)
    yield OlderCopy(seam, database, cluster)
    await seam.close()


async def _promised(copy: OlderCopy, kind: Any, asset: str) -> str:
    """A move that waits for its nonce; the payment's id."""
    seam = copy.seam
    [hot] = await seam.signer.hot_addresses()
    to = {"to_cold": COLD, "warm_to_cold": COLD, "to_warm": warm_of(seam), "to_hot": hot}
    proposer, amount = "cy", {"ETH": "3", "USDC": "700"}[asset]
    move_id = await propose(seam, kind, amount, asset, to.get(kind, OUTSIDE), by=proposer)
    intent_id = await approve(seam, move_id, "bob")
    if kind in ("to_hot", "warm_to_cold"):
        await sign(seam, intent_id, ADA, "ada")
        await sign(seam, intent_id, BOB, "bob")
    return intent_id


async def _ended(seam: Seam, intent_id: str) -> tuple[str, str]:
    [row] = await seam.rows(
        "SELECT m.state, i.state AS sent FROM treasury_moves m"
        " JOIN chain_intents i ON i.id = m.intent_id WHERE i.id = :id", id=intent_id,
    )  # fmt: skip
    return row.state, row.sent


@pytest.mark.parametrize(
    ("kind", "asset"),
    [
        ("to_cold", "USDC"), ("to_cold", "ETH"), ("to_warm", "ETH"), ("to_hot", "USDC"),
        ("warm_to_cold", "ETH"),
    ],
)  # fmt: skip
async def test_a_move_that_is_booked_as_an_arrival_takes_from_nobody_what_it_brought(
    copy: OlderCopy, kind: str, asset: str
) -> None:
    seam = copy.seam
    intent_id = await _promised(copy, kind, asset)
    await copy.take()
    await seam.finish()
    assert await _ended(seam, intent_id) == ("done", "final_ok")
    assert await copy.unexplained() == []
    as_it_was = await copy.balances()
    assert not any(path.startswith("unattributed") for path in as_it_was)
    for _ in range(2):
        await copy.put_back()
        await copy.scan_first()
        assert any(path.startswith("unattributed") for path in await copy.balances())
        await seam.finish()
        assert await _ended(seam, intent_id) == ("done", "final_ok")
        assert await copy.unexplained() == []
        assert await copy.balances() == as_it_was


async def test_what_the_house_sent_itself_is_not_told_as_capital(copy: OlderCopy) -> None:
    """`unattributed:house` was below zero once the payment's row was back and had ended."""
    seam = copy.seam
    intent_id = await _promised(copy, "to_cold", "ETH")
    await copy.take()
    await seam.finish()
    as_it_was = await copy.balances()
    await copy.put_back()
    await copy.scan_first()
    with pytest.raises(InvalidState, match="of the house"):
        async with seam.operators.transaction() as session:
            await moves.fund(session, money=seam.money("1", "ETH"), by="bea")
    await seam.finish()
    assert await _ended(seam, intent_id) == ("done", "final_ok")
    assert await copy.balances() == as_it_was


async def test_what_two_people_booked_of_it_holds_up_no_capital(copy: OlderCopy) -> None:
    """Its payment never ends; what the owners send afterwards was refused for good."""
    seam = copy.seam
    await _promised(copy, "to_cold", "ETH")
    await copy.take()
    await seam.finish()
    await copy.put_back()
    await copy.scan_first()
    nobodys, eth = accounts.unattributed("house", "ETH"), seam.money("3", "ETH")
    async with seam.operators.transaction() as session:
        await ledger.post(
            session,
            ledger.Command(
                kind="correction",
                ref="cor_1",
                lines=[
                    ledger.Line(nobodys, replace(eth, minor=-eth.minor)),
                    ledger.Line(accounts.on_chain(seam.network.name, "ETH", "hot"), eth),
                ],
            ),
        )
    owner = "0x" + "22" * 20
    await seam.node("anvil_setBalance", owner, hex(10**19))
    await seam.node("anvil_impersonateAccount", owner)
    await seam.node("eth_sendTransaction", {"from": owner, "to": COLD, "value": hex(10**18)})
    await copy.scan_first()
    async with seam.operators.transaction() as session:
        assert await ledger.balance_of(session, nobodys) == 10**18
        assert await moves.fund(session, money=seam.money("1", "ETH"), by="bea") is not None


async def test_a_move_that_reverted_brought_nothing_and_costs_its_gas(copy: OlderCopy) -> None:
    seam = copy.seam
    intent_id = await _promised(copy, "to_cold", "USDC")
    await copy.take()
    await seam.automine(False)
    await seam.pass_once()
    [token] = seam.network.tokens
    await seam.node(
        "eth_sendTransaction",
        {"from": seam.faucet, "to": token.contract, "data": "0x8456cb59",
         "maxPriorityFeePerGas": hex(10**11), "maxFeePerGas": hex(2 * 10**11)},
    )  # fmt: skip
    await seam.automine(True)
    await seam.finish()
    assert await _ended(seam, intent_id) == ("failed", "final_reverted")
    as_it_was = await copy.balances()
    await copy.put_back()
    await copy.scan_first()
    await seam.finish()
    assert await _ended(seam, intent_id) == ("failed", "final_reverted")
    assert await copy.balances() == as_it_was
    assert await copy.unexplained() == []


async def test_one_that_was_mined_as_dearer_bytes_is_ended_by_an_operator(copy: OlderCopy) -> None:
    """The signer tells the first bytes at a nonce; the chain has others that pay the same."""
    seam = copy.seam
    intent_id = await _promised(copy, "to_cold", "ETH")
    await copy.take()
    await seam.automine(False)
    await seam.pass_once()
    await seam.rows("UPDATE chain_intents SET speed_up_requested_at = bifold_now() RETURNING 1")
    for _ in range(3):
        await seam.pass_once()
    attempts = await seam.rows("SELECT kind FROM chain_attempts WHERE intent_id = :i", i=intent_id)
    assert sorted(one.kind for one in attempts) == ["bump", "pay"]
    await seam.automine(True)
    await seam.finish()
    assert await _ended(seam, intent_id) == ("done", "final_ok")
    as_it_was = await copy.balances()
    await copy.put_back()
    await copy.scan_first()
    await seam.finish()
    assert await _ended(seam, intent_id) == ("approved", "in_review")
    await resolve(replace(seam.runner._desk, db=seam.operators), intent_id, by="bea")
    assert await _ended(seam, intent_id) == ("done", "final_ok")
    assert await copy.balances() == as_it_was
    assert {one.split()[0] for one in await copy.unexplained()} == {"signer_halted"}


@pytest.mark.parametrize("waited", ["for nothing", "liquidity"])
async def test_what_an_evacuation_saved_is_not_booked_twice(copy: OlderCopy, waited: str) -> None:
    """Nor is it taken back since it lies there no more: it left."""
    seam = copy.seam
    async with seam.operators.transaction() as session:
        await freeze_network(session, "local", reason="evacuation", by="ada", to=COLD)
    for _ in range(8):
        await seam.treasury.tick()
        waiting = await seam.rows(
            "SELECT id FROM chain_intents WHERE state = 'queued' AND asset = 'ETH'"
            " AND pinned_address <> :warm", warm=warm_of(seam),
        )  # fmt: skip
        if waiting:
            break
        await seam.mine(seam.network.confirmations)
    [coins] = waiting
    if waited == "liquidity":
        await seam.rows("UPDATE chain_intents SET waiting_for = 'liquidity' WHERE id = :id"
                        " RETURNING 1", id=coins.id)  # fmt: skip
    await copy.take()
    await seam.finish()
    assert await _ended(seam, coins.id) == ("done", "final_ok")
    as_it_was = await copy.balances()
    await copy.put_back()
    await copy.scan_first()
    assert await copy.balances() != as_it_was
    for _ in range(3):
        await seam.treasury.tick()
        await seam.finish()
    assert await _ended(seam, coins.id) == ("done", "final_ok")
    assert await copy.balances() == as_it_was
    assert await seam.differences() == []


async def test_nobody_takes_a_move_off_the_list_that_the_lost_copy_may_have_made(
    copy: OlderCopy,
) -> None:
    """What it moved was in no entry, and its gas neither."""
    seam = copy.seam
    intent_id = await _promised(copy, "to_cold", "USDC")
    await copy.take()
    await seam.finish()
    as_it_was = await copy.balances()
    await copy.put_back()
    [move] = await listed(seam)
    with pytest.raises(InvalidState, match="held these books"):
        await run(seam, "dismiss", move.id, "--by", "ops")
    await copy.scan_first()
    await seam.finish()
    assert await _ended(seam, intent_id) == ("done", "final_ok")
    assert await copy.balances() == as_it_was


async def test_what_a_fork_took_since_is_waited_for(copy: OlderCopy) -> None:
    """Booked once, lost, and perhaps coming back by itself: until then the end is not booked."""
    seam = copy.seam
    intent_id = await _promised(copy, "to_cold", "USDC")
    await copy.take()
    await seam.finish()
    as_it_was = await copy.balances()
    await copy.put_back()
    await copy.scan_first()
    _lose(
        copy.database,
        "INSERT INTO deposit_losses (id, deposit_id, network, fork_number, entry_id)"
        " SELECT 'los_1', id, network, 1, entry_id FROM deposits WHERE asset = 'USDC'"
        f" AND to_address = '{COLD}'",
    )  # fmt: skip
    await seam.runner.tick()
    for _ in range(2):
        await seam.observer.tick()
        await seam.runner.tick()
    assert await _ended(seam, intent_id) == ("approved", "mined")
    _lose(copy.database, "DELETE FROM deposit_losses")
    await seam.finish()
    assert await _ended(seam, intent_id) == ("done", "final_ok")
    assert await copy.balances() == as_it_was
