"""D10 to D12 where the node traces: credited by call frames, never twice, else by balances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from chain.errors import NodeRejected
from tests.faults_receive.conftest import Inbox, call_data
from wallet import ledger
from wallet.db import Database
from wallet.deposits.arrivals import arrivals
from wallet.ledger import accounts
from wallet.testing.databases import ScratchDatabase

TRACE = "debug_traceBlockByHash"
CREDITED = ("ETH", "credited", 777, None)


@pytest.fixture
async def tracing(inbox: Inbox) -> Inbox:
    """The same inbox on a network whose node traces."""
    inbox.seam.network = replace(inbox.seam.network, supports=("traces",))
    inbox.stand()
    return inbox


async def settled(inbox: Inbox) -> tuple[int, int, list[str]]:
    """After finality and a look at balances: Ada's coins, what is unattributed, differences."""
    await inbox.seam.finish()
    for _ in range(2):
        await inbox.finder.tick()
    async with inbox.seam.db.transaction() as session:
        aside = await ledger.balance_of(session, accounts.unattributed("local", "ETH"))
    return await inbox.total("ETH"), aside, await inbox.seam.differences()


async def paths(inbox: Inbox) -> list[str]:
    rows = await inbox.seam.rows(
        "SELECT trace_path FROM deposits WHERE principal_id IS NOT NULL ORDER BY trace_path"
    )
    return [row.trace_path for row in rows]


@pytest.mark.parametrize(
    ("row", "how", "path"), [("d10", "pay", "0"), ("d12", "payByEnding", "0.0")]
)
async def test_d10_d12_paid_inside_a_transaction(
    tracing: Inbox, row: str, how: str, path: str
) -> None:
    """Seen at once, credited once it is final, with its payer and its place; nobody is asked."""
    payer = await tracing.deploy("InnerPayments")
    done = await tracing.call(payer, f"{how}(address)", tracing.address, wei=777)
    await tracing.seam.pass_once()
    assert await tracing.rows() == [("ETH", "seen", 777, None)], row
    assert await settled(tracing) == (777, 0, [])
    assert await tracing.rows() == [CREDITED] and await paths(tracing) == [path]
    [deposit] = await tracing.seam.rows(
        "SELECT tx_hash, log_index, from_address FROM deposits WHERE principal_id IS NOT NULL"
    )
    assert (deposit.tx_hash, deposit.log_index) == (done.tx_hash, -1)
    assert how == "payByEnding" or deposit.from_address == payer


async def test_d12_a_contract_that_ends_long_after_it_was_made(tracing: Inbox) -> None:
    seam = tracing.seam
    ending = await tracing.deploy("LateEnding")
    await seam.node("anvil_setBalance", ending, hex(777))
    await tracing.call(ending, "end(address)", tracing.address)
    assert await settled(tracing) == (777, 0, [])
    assert await paths(tracing) == ["0"]


@pytest.mark.parametrize("how", ["payAndUndo", "payAndRevert", "delegateTo"])
async def test_d11_what_was_undone_or_never_moved(tracing: Inbox, how: str) -> None:
    payer = await tracing.deploy("InnerPayments")
    done = await tracing.call(payer, f"{how}(address)", tracing.address, wei=777, gas=200_000)
    assert done.status == (0 if how == "payAndRevert" else 1)
    assert await settled(tracing) == (0, 0, [])
    assert await tracing.rows() == []


async def test_one_transaction_pays_twice_and_the_block_pays_plainly_too(tracing: Inbox) -> None:
    seam = tracing.seam
    payer = await tracing.deploy("InnerPayments")
    await seam.automine(False)
    waiting = await seam.dev.send_native(tracing.address, 50)
    inside = await _call(tracing, payer, "payTwice(address)", wei=20)
    await seam.dev.mine(1)
    for tx in (waiting, inside):
        await seam.dev.wait_mined(tx)
    await seam.automine(True)
    assert await settled(tracing) == (70, 0, [])
    assert await paths(tracing) == ["", "0.0", "1.0.0.0"]


async def test_paid_inside_and_by_a_transaction_that_is_reorganised(tracing: Inbox) -> None:
    """Orphaned with its block, the same deposit in another block, credited once."""
    seam = tracing.seam
    payer = await tracing.deploy("InnerPayments")
    await seam.mine(1)
    done = await tracing.call(payer, "payTwice(address)", tracing.address, wei=1_554)
    raw = await seam.node("eth_getRawTransactionByHash", done.tx_hash)
    await seam.mine(2)
    before = await seam.rows("SELECT id FROM deposits WHERE principal_id IS NOT NULL ORDER BY id")
    await seam.dev.reorg(3)
    await seam.mine(1)
    assert [row[1] for row in await tracing.rows()] == ["orphaned"] * 2
    assert await settled(tracing) == (0, 0, [])
    await seam.node("eth_sendRawTransaction", raw)
    await seam.dev.wait_mined(done.tx_hash)
    assert await settled(tracing) == (1_554, 0, [])
    after = await seam.rows("SELECT id FROM deposits WHERE principal_id IS NOT NULL ORDER BY id")
    assert after == before and await tracing.rows() == [CREDITED, CREDITED]


def _refuse(method: str, params: Sequence[object], result: Any) -> Any:
    return NodeRejected(-32000, "execution timeout") if method == TRACE else result


def _nothing(method: str, params: Sequence[object], result: Any) -> Any:
    return [] if method == TRACE else result


def _lie(method: str, params: Sequence[object], result: Any) -> Any:
    """A frame's value is told a million times what it was."""
    if method == TRACE:
        for item in result:
            for call in item["result"].get("calls", []):
                call["value"] = hex(int(call["value"], 16) * 10**6)
    return result


def _other_block(method: str, params: Sequence[object], result: Any) -> Any:
    if method == TRACE:
        for item in result:
            item["txHash"] = "0x" + "77" * 32
    return result


@pytest.mark.parametrize("alter", [_refuse, _nothing, _lie, _other_block])
async def test_traces_that_fail_or_lie_leave_the_coins_to_the_balance_finder(
    tracing: Inbox, alter: Any
) -> None:
    """Unattributed, never credited to the wrong amount, and the scanner goes on."""
    payer = await tracing.deploy("InnerPayments")
    tracing.meddler.alter = alter
    await tracing.call(payer, "pay(address)", tracing.address, wei=777)
    await tracing.seam.pay_in(tracing.address, "0.5", "ETH")
    assert await settled(tracing) == (5 * 10**17, 777, [])
    assert TRACE in tracing.meddler.asked


async def test_a_node_that_never_answers_a_trace_does_not_stop_the_scanner(
    tracing: Inbox,
) -> None:
    payer = await tracing.deploy("InnerPayments")
    tracing.meddler.lose_before = {TRACE}
    await tracing.call(payer, "pay(address)", tracing.address, wei=777)
    for _ in range(3):
        await tracing.seam.pass_once()
    assert await settled(tracing) == (0, 777, [])


async def test_what_the_balance_finder_booked_is_not_credited_by_a_later_trace(
    tracing: Inbox, database: ScratchDatabase
) -> None:
    """A scan from genesis with traces, after one without: not one wei more in the books."""
    seam = tracing.seam
    payer = await tracing.deploy("InnerPayments")
    tracing.meddler.alter = _refuse
    await tracing.call(payer, "pay(address)", tracing.address, wei=777)
    assert await settled(tracing) == (0, 777, [])
    tracing.meddler.calm()
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        for table in ("scan_state", "chain_blocks"):
            await session.execute(text(f"DELETE FROM {table}"))
    await owner.dispose()
    tracing.stand()
    answered = []
    tracing.meddler.alter = lambda method, _, result: answered.append(method) or result
    await seam.pass_once()  # at once: the node keeps the states of 32 blocks
    assert TRACE in answered and "eth_getBalance" in answered
    assert await settled(tracing) == (0, 777, [])
    await tracing.call(payer, "pay(address)", tracing.address, wei=5)
    assert await settled(tracing) == (5, 777, [])
    async with seam.db.transaction() as session:
        [found] = await arrivals(session, seam.assets)
    assert found.money.minor == 777


async def test_paid_inside_to_a_hot_address_of_the_house(tracing: Inbox) -> None:
    """Known to the books as a deposit of nobody's, where it used to be a difference."""
    [hot] = await tracing.seam.signer.hot_addresses()
    payer = await tracing.deploy("InnerPayments")
    await tracing.call(payer, "pay(address)", hot, wei=777)
    assert await settled(tracing) == (0, 0, [])
    async with tracing.seam.db.transaction() as session:
        house = await ledger.balance_of(session, accounts.unattributed("house", "ETH"))
    assert house == 777


async def _call(inbox: Inbox, contract: str, signature: str, *, wei: int) -> str:
    data = call_data(signature, inbox.address)
    return await inbox.seam.dev.call_contract(contract, data, wei=wei, gas=300_000)
