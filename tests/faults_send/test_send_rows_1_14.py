"""The fault matrix of sending, row by row: S1 to S14 (docs/chain.md, "Sending").

Modules of their own have S9 (test_send_database_gone), S10 and S11 (test_send_two_workers), S12
(test_send_nonce_gaps).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from eth_account import Account

from chain.errors import NodeRejected
from chain.outcomes import SendKind, classify_rejection
from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.testing import test_seed as seed_of_tests
from tests.faults_send.conftest import Case
from wallet import clock, crashpoints
from wallet.onchain.casework import LateWatch
from wallet.testing.meddler import SUBMIT
from wallet.testing.seam import FIRST_HOT_INDEX, GWEI

ETH = 10**18
REVERTS = "0x60006000fd"
RETURNS_TRUE_SILENTLY = "0x600160005260206000f3"
THIEF = "0x0000000000000000000000000000000000badbad"


class Crash(BaseException):
    """The process dies here."""


async def crash_at(case: Case, point: str) -> None:
    """One pass that dies at `point`; then a new worker."""

    def die(name: str) -> None:
        if name == point:
            raise Crash(name)

    crashpoints.install(die)
    try:
        with pytest.raises(Crash):
            for _ in range(3):
                await case.seam.pass_once()
    finally:
        crashpoints.install(None)
    case.stand()


def foreign(nonce: int) -> str:
    """Signed bytes of somebody else who holds the hot key."""
    key = derive_key(seed_of_tests(), path(HOT_ACCOUNT, FIRST_HOT_INDEX))
    signed = Account.sign_transaction(
        {
            "type": 2, "chainId": 31337, "nonce": nonce, "to": bytes.fromhex(THIEF[2:]),
            "value": 5, "gas": 21000, "data": b"",
            "maxFeePerGas": 300 * GWEI, "maxPriorityFeePerGas": 200 * GWEI,
        },
        key.reveal(),
    )  # fmt: skip
    return "0x" + bytes(signed.raw_transaction).hex()


async def test_s01_the_node_took_it_and_its_answer_is_lost(case: Case) -> None:
    case.meddler.lose_after = {SUBMIT}
    made = await case.withdraw()
    await case.seam.pass_once()
    assert (await case.now(made)).status in ("broadcast", "mined")
    await case.settled_once(made)
    assert len(set(case.meddler.sent)) == 1


async def test_s02_the_request_was_lost(case: Case) -> None:
    case.meddler.lose_before = {SUBMIT}
    made = await case.withdraw()
    await case.seam.pass_once()
    assert (await case.now(made)).status == "broadcast"  # maybe
    assert case.meddler.sent == []
    await case.settled_once(made)
    assert [(kind, tx.nonce) for kind, tx, _ in await case.fields()] == [("pay", 0)]


async def test_s03_already_known_and_nonce_too_low_are_maybe_sent(case: Case) -> None:
    made = await case.broadcast()
    case.meddler.alter = lambda method, _, answer: (
        None if method == "eth_getTransactionByHash" else answer
    )
    await case.seam.runner.tick()  # the same bytes again: "already imported"
    assert len(case.meddler.sent) == 2 and len(set(case.meddler.sent)) == 1
    await case.seam.dev.mine(1)
    case.meddler.alter = lambda method, _, answer: (
        NodeRejected(-32003, "nonce too low") if method == SUBMIT
        else hex(0) if method == "eth_getTransactionCount"
        else None if method in ("eth_getTransactionByHash", "eth_getTransactionReceipt")
        else answer
    )  # fmt: skip
    await case.seam.runner.tick()
    assert (await case.now(made)).status == "broadcast"
    await case.settled_once(made)
    for message in ("already known", "transaction already imported", "nonce too low"):
        assert classify_rejection(-32003, message).kind in (
            SendKind.KNOWN, SendKind.NONCE_TOO_LOW
        )  # fmt: skip


async def test_s04_a_foreign_transaction_at_our_nonce(case: Case) -> None:
    made = await case.broadcast()
    await case.seam.node("anvil_dropAllTransactions")
    await case.seam.node(SUBMIT, foreign(0))
    await case.seam.dev.mine(1)
    await case.finish()
    done = await case.now(made)
    assert (done.status, done.failure_code) == ("in_review", "foreign_transaction")
    assert await case.halted() == "foreign_transaction"
    assert (await case.seam.balance(case.ada, "ETH")).held_minor >= ETH
    assert await case.paid() == 0


async def one_set_of_bytes_after(case: Case, point: str, *, sends_before: int) -> None:
    """A crash at `point`; in the end one transaction, one nonce, one set of bytes."""
    made = await case.withdraw()
    await crash_at(case, point)
    assert len(case.meddler.sent) == sends_before
    await case.settled_once(made)
    [(kind, tx, tx_hash)] = await case.fields()
    assert (kind, tx.nonce) == ("pay", 0) and tx_hash is not None
    assert len(set(case.meddler.sent)) == 1


async def test_s05_a_crash_before_signing_keeps_the_nonce(case: Case) -> None:
    await one_set_of_bytes_after(case, "intent.after_commit_allocated", sends_before=0)


async def test_s06_a_crash_before_persisting_signs_the_same_bytes(case: Case) -> None:
    await one_set_of_bytes_after(case, "intent.after_sign", sends_before=0)


async def test_s07_a_crash_before_the_broadcast_sends_what_is_stored(case: Case) -> None:
    await one_set_of_bytes_after(case, "intent.after_commit_signed", sends_before=0)


async def test_s08_a_crash_before_the_mark_sends_it_again(case: Case) -> None:
    await one_set_of_bytes_after(case, "intent.after_send", sends_before=1)


async def test_s09_a_crash_before_the_commit_of_the_mark(case: Case) -> None:
    await one_set_of_bytes_after(case, "intent.before_commit_sent", sends_before=1)


async def test_s13_a_base_fee_above_the_bound_alarms_and_keeps_the_hold(case: Case) -> None:
    made = await case.broadcast()
    await case.seam.node("anvil_dropAllTransactions")
    await case.seam.node("anvil_setNextBlockBaseFeePerGas", hex(400 * GWEI))
    await case.seam.dev.mine(1)
    case.seam.bump_seconds = 0.0
    case.stand()
    for _ in range(12):
        await case.seam.runner.tick()
    waiting = await case.now(made)
    [intent] = await case.seam.rows("SELECT fee_ceiling_wei FROM chain_intents")
    assert (waiting.status, waiting.waiting_for) == ("broadcast", "fees")
    attempts = await case.fields()
    assert len(attempts) > 1 and {tx.nonce for _, tx, _ in attempts} == {0}
    assert all(tx.cap <= intent.fee_ceiling_wei for _, tx, _ in attempts)
    assert (await case.seam.balance(case.ada, "ETH")).held_minor >= ETH
    async with case.seam.db.transaction() as session:
        await clock.advance(session, seconds=901)
    await LateWatch(case.seam.db, case.seam.network).tick()
    [alarm] = await case.seam.rows("SELECT kind, what FROM cases WHERE status = 'open'")
    assert alarm.kind == "payment_late" and "waits for fees" in alarm.what
    await case.seam.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await case.settled_once(made)


async def test_s14_a_replacement_that_is_too_cheap_goes_higher(case: Case) -> None:
    """geth asks for +10 % on both fields; ours are 12.5 % at least, and the old hash stays ours."""
    made = await case.broadcast()
    held: dict[str, Any] = {}

    def like_geth(method: str, params: Sequence[object], answer: Any) -> Any:
        return held.get("refuse") if method == SUBMIT and "refuse" in held else answer

    case.meddler.alter = like_geth
    held["refuse"] = NodeRejected(-32000, "replacement transaction underpriced")
    await case.seam.speed_up(case.ada, made.id)
    for _ in range(3):
        await case.seam.runner.tick()
    assert (await case.now(made)).waiting_for == "fees"
    await case.seam.speed_up(case.ada, made.id)
    del held["refuse"]
    for _ in range(3):
        await case.seam.runner.tick()
    attempts = [tx for _, tx, _ in await case.fields()]
    assert len(attempts) == 3 and {tx.nonce for tx in attempts} == {0}
    for before, after in itertools.pairwise(attempts):
        assert 8 * after.cap >= 9 * before.cap and 8 * after.tip >= 9 * before.tip
    await case.settled_once(made)
