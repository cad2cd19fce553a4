"""The fault matrix of receiving, row by row: D1 to D15 (docs/chain.md, "Receiving").

D14 has a module of its own, test_receive_poisoning.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from chain.testing import AnvilProcess
from tests.faults_receive.conftest import Inbox
from wallet import ledger
from wallet.db import Database
from wallet.deposits.arrivals import FourEyesRequired, approve, arrivals, propose
from wallet.errors import InvalidState
from wallet.ledger import accounts
from wallet.onchain import ChainUnavailable
from wallet.sweeps import Sweeper
from wallet.testing.operators import as_operator
from wallet.testing.seam import Seam

USDC = 10**6
OUTSIDE = "0x00000000000000000000000000000000000A11cE"
HOLDS_A_LOT = 2**256 - 1


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("depth", [1, 4, 6])
@pytest.mark.parametrize("asset", ["ETH", "USDC"])
async def test_d01_a_reorg_before_finality(inbox: Inbox, asset: str, depth: int) -> None:
    seam = inbox.seam
    mined = await seam.pay_in(inbox.address, "1", asset)
    raw = await seam.node("eth_getRawTransactionByHash", mined.tx_hash)
    await seam.mine(depth - 1) if depth > 1 else await seam.pass_once()
    assert [row[1] for row in await inbox.rows()] == ["seen"]
    await seam.dev.reorg(depth)
    await seam.mine(1)
    assert [row[1] for row in await inbox.rows()] == ["orphaned"]
    await seam.finish()
    assert await inbox.total(asset) == 0  # it never came back, so it never arrived
    await seam.node("eth_sendRawTransaction", raw)
    await seam.dev.wait_mined(mined.tx_hash)
    await seam.finish()
    assert [row[1] for row in await inbox.rows()] == ["credited"]
    assert await inbox.total(asset) == seam.money("1", asset).minor
    assert await seam.differences() == []


async def test_d02_a_reorg_below_finality_halts_and_takes_nothing_silently(inbox: Inbox) -> None:
    seam = inbox.seam
    await seam.pay_in(inbox.address, "1", "ETH")
    await seam.mine(3 * seam.network.confirmations)
    assert await inbox.total("ETH") == 10**18
    await seam.dev.reorg(seam.network.confirmations + 18)
    await seam.mine(30)
    [state] = await seam.rows("SELECT halted_reason FROM network_state")
    assert "reorganised" in state.halted_reason
    assert await inbox.total("ETH") == 10**18  # never a silent negative
    with pytest.raises(ChainUnavailable):
        await seam.withdraw(inbox.ada, "0.1", "ETH", OUTSIDE)
    other = await seam.person()
    await seam.pay_in(await seam.address(other), "1", "ETH")
    await seam.finish()
    assert await inbox.total("ETH", other) == 0


async def test_d03_mined_again_at_another_place_is_one_deposit(inbox: Inbox) -> None:
    seam = inbox.seam
    await seam.automine(False)
    first = await seam.dev.send_token(seam.network.tokens[0].contract, OUTSIDE, 5)
    mine = await seam.dev.send_token(seam.network.tokens[0].contract, inbox.address, 7)
    raws = [await seam.node("eth_getRawTransactionByHash", tx) for tx in (first, mine)]
    await seam.dev.mine(1)
    await seam.mine(1)
    [before] = await seam.rows("SELECT log_index, block_hash FROM deposits WHERE amount_minor = 7")
    await seam.node("anvil_reorg", 2, [[raws[0], 0], [raws[1], 1]])
    await seam.automine(True)
    await seam.finish()
    [after] = await seam.rows("SELECT log_index, block_hash FROM deposits WHERE amount_minor = 7")
    assert (before.log_index, after.log_index) == (1, 0)
    assert before.block_hash != after.block_hash
    assert await inbox.total("USDC") == 7


async def test_d04_five_hundred_logs_in_one_transaction(inbox: Inbox) -> None:
    seam = inbox.seam
    bob = await seam.person()
    sprayer = await inbox.deploy("ManyTransfers")
    await seam.pay_in(sprayer, "1000", "USDC")
    token = seam.network.tokens[0].contract
    spray = "spray(address,address,uint256,uint256)"
    await inbox.call(sprayer, spray, token, inbox.address, 11, 500)
    await inbox.call(sprayer, spray, token, await seam.address(bob), 13, 2)
    await seam.finish()
    assert (await inbox.total("USDC"), await inbox.total("USDC", bob)) == (5_500, 26)
    assert len(await inbox.rows()) == 502


async def test_d04_one_transaction_that_pays_several_people(inbox: Inbox) -> None:
    """Each log to whom it names, whatever stands beside it."""
    seam = inbox.seam
    bob = await seam.person()
    payees = [inbox.address, await seam.address(bob), OUTSIDE, inbox.address]
    mined = await inbox.pay_together(*((to, 10 + n) for n, to in enumerate(payees)))
    await seam.finish()
    assert mined.status == 1 and len(mined.logs) == 4
    assert (await inbox.total("USDC"), await inbox.total("USDC", bob)) == (10 + 13, 11)
    assert sorted(row[2] for row in await inbox.rows()) == [10, 11, 13]
    assert await seam.differences() == []


async def test_d05_a_fake_token_of_the_same_name(inbox: Inbox) -> None:
    seam = inbox.seam
    fake = await inbox.deploy("TestToken", "USD Coin", "USDC", 6, 10**12, seam.faucet)
    await seam.dev.wait_mined(await seam.dev.send_token(fake, inbox.address, 5 * USDC))
    await seam.finish()
    assert await inbox.rows() == [] and await inbox.total("USDC") == 0


@pytest.fixture
async def lying(db: Database, anvil: AnvilProcess, tmp_path: Path) -> Any:
    """A network that lists a token which logs what it never moves."""
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", contract_name="LyingToken")
    ada = await seam.person()
    inbox = Inbox(seam, None, ada, await seam.address(ada))  # type: ignore[arg-type]
    yield inbox
    await seam.close()


@pytest.mark.parametrize("lie", ["lieLikeNft", "lieWithDirtyTopic", "lieWithShortData"])
async def test_d06_logs_that_only_look_like_transfers(lying: Inbox, lie: str) -> None:
    contract = lying.seam.network.tokens[0].contract
    await lying.call(contract, f"{lie}(address,uint256)", lying.address, 5 * USDC)
    await lying.seam.finish()
    assert await lying.rows() == []


async def test_d06_an_approval_has_the_shape_of_a_transfer_and_is_none(inbox: Inbox) -> None:
    """Of a listed token, three topics and one word: only the event's name says what it is."""
    contract = inbox.seam.network.tokens[0].contract
    await inbox.call(contract, "approve(address,uint256)", inbox.address, 5 * USDC)
    await inbox.seam.finish()
    assert await inbox.rows() == []


async def test_d07_a_log_without_a_change_of_balance(lying: Inbox) -> None:
    contract = lying.seam.network.tokens[0].contract
    await lying.call(contract, "transfer(address,uint256)", lying.address, 5 * USDC)
    await lying.seam.finish()
    assert await lying.rows() == [("USDC", "quarantined", 5 * USDC, "balance_differs")]
    assert await lying.total("USDC") == 0


async def test_d08_a_transfer_that_returned_false(inbox: Inbox) -> None:
    seam = inbox.seam
    await seam.node(
        "anvil_setCode", seam.network.tokens[0].contract,
        "0x60006000526020" + "6000f3",
    )  # fmt: skip
    done = await inbox.call(
        seam.network.tokens[0].contract, "transfer(address,uint256)", inbox.address, 9
    )
    assert done.status == 1
    await seam.finish()
    assert await inbox.rows() == []


async def test_d09_a_reverted_transaction_with_value(inbox: Inbox) -> None:
    seam = inbox.seam
    listed = seam.network.tokens[0].contract  # which tells of a transfer, and reverts
    code = await seam.node("eth_getCode", await inbox.deploy("RevertingToken"), "latest")
    await seam.node("anvil_setCode", listed, code)
    done = await inbox.call(listed, "transfer(address,uint256)", inbox.address, 9, gas=100_000)
    assert done.status == 0
    await seam.node("anvil_setCode", inbox.address, "0x60006000fd")
    tx = await seam.dev.call_contract(inbox.address, b"", wei=10**18, gas=50_000)
    assert (await seam.dev.wait_mined(tx)).status == 0
    await seam.finish()
    assert await inbox.rows() == [] and await inbox.total("ETH") == 0


@pytest.mark.parametrize(("row", "how"), [("d10", "pay"), ("d12", "payByEnding")])
async def test_d10_d12_value_without_a_transaction_to_the_address(
    inbox: Inbox, row: str, how: str
) -> None:
    """Not seen by the scanner, never lost: booked as unattributed, assigned under four eyes."""
    seam = inbox.seam
    payer = await inbox.deploy("InnerPayments")
    done = await inbox.call(payer, f"{how}(address)", inbox.address, wei=777)
    await seam.finish()
    assert await inbox.rows() == [], row
    for _ in range(2):
        await inbox.finder.tick()
    assert await seam.differences() == []
    async with seam.db.transaction() as session:
        aside = await ledger.balance_of(session, accounts.unattributed("local", "ETH"))
        [found] = await arrivals(session, seam.assets)
    assert (aside, found.money.minor, found.address) == (777, 777, inbox.address)
    agree = functools.partial(approve, arrival_id=found.id, assets=seam.assets)
    bob = await seam.person()
    async with as_operator(seam.db) as session:
        with pytest.raises(InvalidState):
            await agree(session, principal_id=inbox.ada, by="bea")
    async with as_operator(seam.db) as session:
        await propose(
            session, arrival_id=found.id, principal_id=inbox.ada, tx_hash=done.tx_hash,
            by="al", assets=seam.assets,
        )  # fmt: skip
    async with as_operator(seam.db) as session:
        with pytest.raises(FourEyesRequired):
            await agree(session, principal_id=inbox.ada, by="al")
    async with as_operator(seam.db) as session:
        with pytest.raises(InvalidState):  # bea had seen another proposal than this one
            await agree(session, principal_id=bob, by="bea")
    async with as_operator(seam.db) as session:
        await agree(session, principal_id=inbox.ada, by="bea")
    async with as_operator(seam.db) as session:
        with pytest.raises(InvalidState):
            await agree(session, principal_id=inbox.ada, by="cleo")
    assert await inbox.total("ETH") == 777
    assert [row[:3] for row in await inbox.rows()] == [("ETH", "credited", 777)]
    await seam.finish()
    await inbox.finder.tick()
    async with seam.db.transaction() as session:
        assert await arrivals(session, seam.assets) == []
    assert await seam.differences() == []


async def test_d11_a_payment_that_was_undone_inside(inbox: Inbox) -> None:
    seam = inbox.seam
    payer = await inbox.deploy("InnerPayments")
    done = await inbox.call(payer, "payAndUndo(address)", inbox.address, wei=777)
    assert done.status == 1
    await seam.finish()
    await inbox.finder.tick()
    async with seam.db.transaction() as session:
        assert await arrivals(session, seam.assets) == []
    assert await inbox.rows() == [] and await inbox.total("ETH") == 0


@pytest.mark.parametrize("how", ["coinbase", "withdrawal"])
async def test_d12_what_the_chain_itself_pays(inbox: Inbox, how: str) -> None:
    """A block's fees, or coins that a consensus layer hands out: no transaction brings them."""
    seam = inbox.seam
    if how == "coinbase":
        nobody = (await seam.node("eth_coinbase")) or "0x" + "00" * 20
        await seam.node("anvil_setCoinbase", inbox.address)
        await seam.dev.wait_mined(await seam.dev.send_native(OUTSIDE, 1))
        await seam.node("anvil_setCoinbase", nobody)
    else:
        await seam.node("anvil_setBalance", inbox.address, hex(777))
    came = await seam.on_chain(inbox.address, "ETH")
    await seam.finish()
    assert came > 0 and await inbox.rows() == []
    for _ in range(2):
        await inbox.finder.tick()
    async with seam.db.transaction() as session:
        [found] = await arrivals(session, seam.assets)
    assert (found.money.minor, found.address) == (came, inbox.address)
    assert await inbox.total("ETH") == 0 and await seam.differences() == []


async def test_d13_a_token_that_rebases(inbox: Inbox) -> None:
    """What a person was credited stays; more is nobody's yet, less is named."""
    seam = inbox.seam
    await seam.pay_in(inbox.address, "1", "USDC")
    await seam.finish()

    async def becomes(minor: int) -> None:
        slot = keccak(encode(["address", "uint256"], [inbox.address, 0]))
        word = "0x" + minor.to_bytes(32, "big").hex()
        await seam.node(
            "anvil_setStorageAt", seam.network.tokens[0].contract, "0x" + slot.hex(), word
        )
        await seam.finish()
        await inbox.finder.tick()

    await becomes(3 * USDC)
    assert await inbox.total("USDC") == USDC
    async with seam.db.transaction() as session:
        [found] = await arrivals(session, seam.assets)
    assert found.money.minor == 2 * USDC and await seam.differences() == []
    await becomes(USDC // 2)
    assert await inbox.total("USDC") == USDC
    [case] = await seam.rows("SELECT kind, status FROM cases WHERE kind = 'deposit_shortfall'")
    assert case.status == "open"
    assert len(await seam.differences()) == 1


async def test_d13_a_token_that_keeps_a_fee(inbox: Inbox) -> None:
    """What arrived is credited, to the unit, and what balances contradict is not."""
    seam = inbox.seam
    fee_token = await inbox.deploy("FeeToken", 10**15)
    code = await seam.node("eth_getCode", fee_token, "latest")
    contract = seam.network.tokens[0].contract
    await seam.node("anvil_setCode", contract, code)
    await inbox.call(contract, "transfer(address,uint256)", inbox.address, 1_000)
    await seam.finish()
    assert await inbox.rows() == [("USDC", "credited", 989, None)]
    assert await seam.on_chain(inbox.address, "USDC") == 989 == await inbox.total("USDC")


async def test_d15_dust_is_credited_and_costs_nothing(inbox: Inbox) -> None:
    seam = inbox.seam
    for _ in range(3):
        await seam.pay_in(inbox.address, "0.000001", "USDC")
        await seam.pay_in(inbox.address, "0.000000000000000001", "ETH")
    await seam.finish()
    assert (await inbox.total("USDC"), await inbox.total("ETH")) == (3, 3)
    hot = (await seam.signer.hot_addresses())[0]
    seam.network = replace(seam.network, contracts={"treasury": hot})
    inbox.stand()
    sweeper = Sweeper(seam.db, seam.chain, seam.assets, seam.signer, patience_seconds=0.0)
    await sweeper.tick()
    assert await seam.rows("SELECT 1 FROM chain_intents") == []  # nothing is sent for it
    await seam.pay_in(inbox.address, "1", "ETH")
    await seam.finish()
    await sweeper.tick()
    assert len(await seam.rows("SELECT 1 FROM chain_intents")) == 1  # for more, it is
