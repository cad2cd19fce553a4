"""The fault matrix of receiving, row by row: D16 to D28 (docs/chain.md, "Receiving").

Modules of their own have D22 (test_receive_two_scanners) and D23 (test_receive_amounts).
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from chain.address import to_checksum
from chain.client import ChainClient
from chain.errors import ChainError, NodeGarbage, NodeRejected
from chain.registry import Token
from tests.faults_receive.conftest import Inbox
from wallet import crashpoints
from wallet.db import Database
from wallet.deposits import SurplusFinder
from wallet.deposits.arrivals import arrivals
from wallet.onchain import ChainUnavailable, tokens
from wallet.onchain.intents import IntentDraft, create_intent
from wallet.onchain.tokens import TokenWatch
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import GWEI, Seam

USDC = 10**6
OUTSIDE = "0x00000000000000000000000000000000000A11cE"


class Crash(BaseException):
    """The process dies here."""


async def test_d16_retired_and_unknown_addresses_of_our_seed(inbox: Inbox) -> None:
    seam = inbox.seam
    new = await seam.address(inbox.ada, fresh=True)
    assert new != inbox.address
    await seam.pay_in(inbox.address, "1", "USDC")  # retired: still theirs
    unknown = seam.deriver.address(9)  # given to nobody yet
    await seam.pay_in(unknown, "2", "USDC")
    await seam.pay_in(unknown, "3", "ETH")
    await seam.finish()
    await inbox.finder.tick()
    assert await inbox.total("USDC") == USDC
    async with seam.db.transaction() as session:
        found = {a.money.asset.code: a.money.minor for a in await arrivals(session, seam.assets)}
    assert found == {"USDC": 2 * USDC, "ETH": 3 * 10**18}
    assert await seam.differences() == []


async def test_d16_a_token_that_says_nothing_hides_no_other_s_coins(inbox: Inbox) -> None:
    seam = inbox.seam
    mute = to_checksum("0x" + "d0" * 20)
    await seam.node("anvil_setCode", mute, "0x5f5ffd")  # reverts whatever it is asked
    unknown = seam.deriver.address(9)
    await seam.pay_in(unknown, "2", "USDC")
    await seam.finish()
    network = replace(seam.network, tokens=(Token("MUTE", mute, 6), *seam.network.tokens))
    chain = ChainClient(network, inbox.meddler)
    await SurplusFinder(seam.db, chain, seam.assets, seam.deriver).tick()
    async with seam.db.transaction() as session:
        [found] = await arrivals(session, seam.assets)
    assert (found.money.asset.code, found.money.minor) == ("USDC", 2 * USDC)


async def test_d17_the_right_address_on_the_wrong_chain(inbox: Inbox) -> None:
    """An address made for another network belongs to the same person on this one."""
    seam = inbox.seam
    elsewhere = seam.deriver.address(1)
    await seam.rows(
        "INSERT INTO deposit_addresses (id, principal_id, network, derivation_index, address)"
        " VALUES ('adr_x', :who, 'elsewhere', 1, :address) RETURNING 1",
        who=inbox.ada, address=elsewhere,
    )  # fmt: skip
    await seam.pay_in(elsewhere, "1", "USDC")
    await seam.finish()
    await inbox.finder.tick()
    async with seam.db.transaction() as session:
        [found] = await arrivals(session, seam.assets)
    assert (found.address, found.network, found.money.minor) == (elsewhere, "local", USDC)
    assert await seam.differences() == []


async def test_d18_no_gap_and_a_gap_would_show(inbox: Inbox, database: ScratchDatabase) -> None:
    seam = inbox.seam
    points = ("scanner.before_block", "scanner.before_commit_block", "scanner.after_commit_block")
    for point in points:

        def die(name: str, point: str = point) -> None:
            if name == point:
                raise Crash(name)

        await seam.pay_in(inbox.address, "1", "USDC")
        await seam.dev.mine(3)
        crashpoints.install(die)
        try:
            with pytest.raises(Crash):
                await seam.pass_once()
        finally:
            crashpoints.install(None)
        inbox.stand()
    await seam.finish()
    assert await inbox.total("USDC") == 3 * USDC and await inbox.gaps() == 0
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        await session.execute(text("DELETE FROM chain_blocks WHERE number = 5"))
    assert await inbox.gaps() == 1
    async with owner.transaction() as session:
        await session.execute(text("UPDATE chain_blocks SET hash = '0xbad' WHERE number = 9"))
    assert await inbox.gaps() == 2
    await owner.dispose()


@pytest.mark.parametrize("left_out", ["receipts", "logs", "one log"])
async def test_d19_a_node_that_leaves_logs_out(inbox: Inbox, left_out: str) -> None:
    seam = inbox.seam

    def silent(method: str, _: object, answer: Any) -> Any:
        if method != "eth_getBlockReceipts" or not isinstance(answer, list):
            return answer
        if left_out == "receipts":
            return []
        most = 1 if left_out == "one log" else 0
        return [{**r, "logs": r["logs"][:most]} for r in answer]

    await inbox.pay_together((OUTSIDE, USDC), (inbox.address, USDC))
    await seam.observer.tick()
    inbox.meddler.alter = silent
    for _ in range(3):
        with pytest.raises(NodeGarbage):
            await seam.scanner.tick()
    inbox.meddler.calm()
    await seam.finish()
    assert await inbox.total("USDC") == USDC and await inbox.gaps() == 0


async def test_d19_a_log_that_no_bloom_misses_is_not_lost(inbox: Inbox) -> None:
    """The same words stand in the header by another log of the block: balances tell."""
    seam = inbox.seam

    def shortened(method: str, _: object, answer: Any) -> Any:
        if method != "eth_getBlockReceipts" or not isinstance(answer, list):
            return answer
        return [{**r, "logs": r["logs"][:1]} for r in answer]

    await inbox.pay_together(*[(inbox.address, USDC)] * 3)
    inbox.meddler.alter = shortened
    await seam.finish()
    inbox.meddler.calm()
    await seam.finish()
    assert await inbox.rows() == [("USDC", "quarantined", USDC, "balance_differs")]
    await inbox.finder.tick()
    async with seam.db.transaction() as session:
        [rest] = await arrivals(session, seam.assets)
    assert rest.money.minor == 2 * USDC and rest.address == inbox.address
    assert await inbox.total("USDC") == 0 and await seam.differences() == []


async def test_d20_a_head_that_goes_backwards(inbox: Inbox) -> None:
    seam = inbox.seam
    await seam.pay_in(inbox.address, "1", "USDC")
    await seam.mine(4)
    [before] = await seam.rows("SELECT tip_number, tip_hash, final_number FROM scan_state")
    old = await seam.node("eth_getBlockByNumber", hex(before.tip_number - 3), False)
    inbox.meddler.alter = lambda method, params, answer: (
        old if method == "eth_getBlockByNumber" and next(iter(params)) == "latest" else answer
    )
    for _ in range(3):
        await seam.scanner.tick()
    assert await seam.rows("SELECT tip_number, tip_hash, final_number FROM scan_state") == [before]
    assert [row[1] for row in await inbox.rows()] == ["seen"]
    inbox.meddler.calm()
    await seam.finish()
    assert await inbox.total("USDC") == USDC


@pytest.mark.parametrize("error", ["rate", "cap", "time"])
async def test_d21_a_node_that_refuses_for_a_while(inbox: Inbox, error: str) -> None:
    seam = inbox.seam
    await seam.pay_in(inbox.address, "1", "USDC")
    refusal = NodeRejected(-32005, "limit exceeded" if error == "rate" else "query returned more")
    if error == "time":
        inbox.meddler.lose_after = {"eth_getBlockReceipts", "eth_getTransactionReceipt"}
    else:
        inbox.meddler.alter = lambda method, _, answer: (
            refusal if method == "eth_getBlockReceipts" else answer
        )
    [before] = await seam.rows("SELECT tip_number FROM scan_state")
    for _ in range(3):
        with contextlib.suppress(ChainError):
            await seam.scanner.tick()
    [during] = await seam.rows("SELECT tip_number FROM scan_state")
    assert during.tip_number == before.tip_number  # it waits in front of the block
    inbox.meddler.calm()
    await seam.finish()
    assert await inbox.total("USDC") == USDC and await inbox.gaps() == 0


async def test_d24_decimals_that_change_stop_the_token_alone(inbox: Inbox) -> None:
    seam = inbox.seam
    watch = TokenWatch(seam.db, seam.chain)
    await watch.tick()
    async with seam.db.transaction() as session:
        assert await tokens.halted(session, "local") == {}
    other = await inbox.deploy("TestToken", "USD Coin", "USDC", 18, 10**12, seam.faucet)
    code = await seam.node("eth_getCode", other, "latest")
    await seam.node("anvil_setCode", seam.network.tokens[0].contract, code)
    await watch.tick()
    async with seam.db.transaction() as session:
        assert await tokens.halted(session, "local") == {
            "USDC": "decimals() answers 18, listed were 6"
        }
    await seam.pay_in(inbox.address, "1", "USDC")
    await seam.pay_in(inbox.address, "1", "ETH")
    await seam.finish()
    assert await inbox.rows() == [
        ("USDC", "quarantined", USDC, "token_halted"), ("ETH", "credited", 10**18, None)
    ]  # fmt: skip
    rich = await seam.funded_person(eth="5", usdc="1")
    with pytest.raises(ChainUnavailable):
        await seam.withdraw(rich, "0.5", "USDC", OUTSIDE)
    made = await seam.withdraw(rich, "1", "ETH", OUTSIDE)
    await seam.finish()
    assert (await seam.withdrawal(rich, made.id)).status == "settled"


class _Vouching:
    """Follows the house's own movements in this test."""

    async def intent_moved(self, session: Any, **_: Any) -> None: ...

    async def vouches_for(self, session: Any, intent: Any) -> bool:
        return True


async def test_d25_gas_that_we_send_there_ourselves(inbox: Inbox) -> None:
    seam = inbox.seam
    desk = seam.runner._desk
    desk.followers["top_up"] = _Vouching()  # type: ignore[index]
    async with seam.db.transaction() as session:
        await create_intent(
            session,
            IntentDraft(
                purpose="top_up", ref="one", network="local", asset="ETH",
                to_address=inbox.address, amount_minor=10**15, gas_limit=21_000,
                fee_ceiling_wei=200 * GWEI,
            ),
        )  # fmt: skip
    await seam.finish()
    assert await inbox.rows() == []  # nobody is shown it
    [kept] = await seam.rows("SELECT status, reason FROM deposits WHERE principal_id IS NULL"
                             " AND to_address = :address", address=inbox.address)  # fmt: skip
    assert (kept.status, kept.reason) == ("ignored", "own_transaction")
    assert await inbox.total("ETH") == 0


async def test_d26_a_pending_deposit_that_its_sender_replaces(inbox: Inbox) -> None:
    seam = inbox.seam
    await seam.automine(False)
    sender = (await seam.dev.accounts())[2]
    payment = {"from": sender, "to": inbox.address, "value": hex(10**18), "nonce": "0x0"}
    await seam.node("eth_sendTransaction", {**payment, "maxFeePerGas": hex(10 * GWEI)})
    await seam.pass_once()
    assert await inbox.rows() == []  # what is in no block is nothing
    away = {**payment, "to": OUTSIDE, "maxFeePerGas": hex(100 * GWEI)}
    await seam.node("eth_sendTransaction", away)
    await seam.automine(True)
    await seam.dev.mine(1)
    await seam.finish()
    assert await inbox.rows() == [] and await inbox.total("ETH") == 0


async def test_d27_an_address_has_one_owner(inbox: Inbox) -> None:
    seam = inbox.seam
    bob = await seam.person()
    theirs = await seam.address(bob)
    assert theirs != inbox.address
    for index, address in ((0, "0x" + "1" * 40), (7, inbox.address.lower())):
        with pytest.raises(IntegrityError):
            await seam.rows(
                "INSERT INTO deposit_addresses (id, principal_id, network, derivation_index,"
                " address) VALUES ('adr_y', :who, 'local', :index, :address) RETURNING 1",
                who=bob, index=index, address=address,
            )  # fmt: skip
    for who, address, amount in ((inbox.ada, inbox.address, "1"), (bob, theirs, "2")):
        await seam.pay_in(address, amount, "USDC")
        await seam.finish()
        assert await inbox.total("USDC", who) == int(amount) * USDC


async def test_d28_a_scan_from_genesis_changes_no_byte_of_the_books(
    inbox: Inbox, database: ScratchDatabase
) -> None:
    seam = inbox.seam
    for asset in ("ETH", "USDC"):
        await seam.pay_in(inbox.address, "1", asset)
    await seam.finish()
    before = await _digest(seam)
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        for table in ("scan_state", "chain_blocks"):
            await session.execute(text(f"DELETE FROM {table}"))
    await owner.dispose()
    assert await seam.rows("SELECT 1 FROM chain_blocks") == []
    inbox.stand()
    await seam.finish()
    [scan] = await seam.rows("SELECT started_at_block, tip_number FROM scan_state")
    head = (await seam.chain.head()).number
    assert (scan.started_at_block, scan.tip_number) == (0, head)
    again = await seam.rows("SELECT number FROM chain_blocks ORDER BY number")
    assert [row.number for row in again] == [*range(head + 1)]
    await inbox.finder.tick()
    assert await _digest(seam) == before


async def _digest(seam: Seam) -> str:
    rows = await seam.rows(
        "SELECT e.id, e.kind, e.ref, p.account_id, p.amount_minor FROM entries e"
        " JOIN postings p ON p.entry_id = e.id ORDER BY e.id, p.account_id"
    )
    return hashlib.sha256(repr([tuple(row) for row in rows]).encode()).hexdigest()
