"""The fault matrix of sending, row by row: S15 to S28 (docs/chain.md, "Sending").

Modules of their own have S17 (test_send_node_restarts) and S26 (test_send_clock_jumps).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from eth_account import Account
from sqlalchemy import text

from chain.address import checked
from chain.errors import NodeGarbage, NodeRejected
from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.testing import test_seed as seed_of_tests
from tests.faults_send.conftest import OUTSIDE, Case
from wallet import clock, crashpoints
from wallet.custody import InvalidAddress
from wallet.onchain import ChainUnavailable
from wallet.onchain.unsent import UnsentWatch
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


async def test_s15_the_old_one_is_mined_after_a_bump(case: Case) -> None:
    made = await case.broadcast()
    old = case.meddler.sent[0]
    await case.seam.speed_up(case.ada, made.id)
    for _ in range(3):
        await case.seam.runner.tick()
    await case.seam.node("anvil_dropAllTransactions")
    await case.seam.node(SUBMIT, old)
    case.meddler.lose_before = {SUBMIT}
    await case.seam.dev.mine(1)
    await case.settled_once(made)
    done = await case.now(made)
    assert [attempt.status for attempt in done.attempts] == ["mined", "sent"]
    [intent] = await case.seam.rows("SELECT gas_fee_wei FROM chain_intents")
    assert done.fee.minor == int(intent.gas_fee_wei)


async def test_s16_a_cancel_that_the_original_outran(case: Case) -> None:
    """The cancel was signed and in the pool; a miner took the original all the same."""
    made = await case.broadcast()
    old = case.meddler.sent[0]
    await case.seam.cancel(case.ada, made.id)
    for _ in range(3):
        await case.seam.runner.tick()
    assert [kind for kind, _, _ in await case.fields()] == ["pay", "cancel"]
    assert len(set(case.meddler.sent)) == 2
    await case.seam.node("anvil_dropAllTransactions")
    await case.seam.node(SUBMIT, old)
    case.meddler.lose_before = {SUBMIT}
    await case.seam.dev.mine(1)
    await case.settled_once(made)
    assert [one.status for one in (await case.now(made)).attempts] == ["mined", "sent"]
    balance = await case.seam.balance(case.ada, "ETH")
    assert balance.held_minor == 0
    assert balance.total_minor == 9 * ETH - (await case.now(made)).fee.minor


@pytest.mark.parametrize("depth", [1, 3, 6])
async def test_s18_a_reorg_removes_our_transaction(case: Case, depth: int) -> None:
    made = await case.withdraw()
    await case.seam.pass_once()
    await case.seam.mine(depth)
    assert (await case.now(made)).status == "mined"
    await case.seam.node("anvil_reorg", depth + 1, [])
    await case.seam.pass_once()
    await case.settled_once(made)
    assert len(await case.fields()) == 1 and len(set(case.meddler.sent)) == 1


async def test_s19_a_reorg_puts_another_transaction_at_our_nonce(case: Case) -> None:
    made = await case.withdraw()
    await case.seam.pass_once()
    await case.seam.mine(1)
    assert (await case.now(made)).status == "mined"
    await case.seam.node("anvil_reorg", 2, [[foreign(0), 0]])
    await case.finish()
    done = await case.now(made)
    assert (done.status, done.failure_code) == ("in_review", "foreign_transaction")
    assert await case.halted() == "foreign_transaction"
    assert (await case.seam.balance(case.ada, "ETH")).held_minor >= ETH


async def test_s20_status_zero_gives_the_amount_back_and_keeps_the_gas(case: Case) -> None:
    made = await case.broadcast()
    await case.seam.node("anvil_setCode", OUTSIDE, REVERTS)
    await case.finish()
    done = await case.now(made)
    assert (done.status, done.failure_code) == ("failed", "reverted")
    balance = await case.seam.balance(case.ada, "ETH")
    assert (balance.held_minor, balance.total_minor) == (0, 10 * ETH - done.fee.minor)
    assert done.fee.minor > 0
    await case.finish()
    assert len(await case.fields()) == 1  # never again by itself
    assert await case.seam.differences() == []


async def test_s20_a_token_that_reverts_is_given_back_and_its_gas_kept(case: Case) -> None:
    made = await case.broadcast("5", "USDC")
    contract = case.seam.network.tokens[0].contract
    code = await case.seam.node("eth_getCode", contract, "latest")
    await case.seam.node("anvil_setCode", contract, REVERTS)
    await case.seam.automine(True)
    await case.seam.dev.mine(1)
    await case.seam.node("anvil_setCode", contract, code)
    await case.finish()
    done = await case.now(made)
    assert (done.status, done.failure_code) == ("failed", "reverted")
    balance = await case.seam.balance(case.ada, "USDC")
    assert balance.held_minor == 0 and await case.paid("USDC") == 0
    assert done.fee.minor > 0  # in the token that was withdrawn
    assert len(await case.fields()) == 1  # never again by itself
    assert await case.seam.differences() == []


async def test_s21_success_without_a_transfer_is_looked_at(case: Case) -> None:
    made = await case.broadcast("5", "USDC")
    await case.seam.node(
        "anvil_setCode", case.seam.network.tokens[0].contract, RETURNS_TRUE_SILENTLY
    )
    await case.finish()
    done = await case.now(made)
    assert (done.status, done.failure_code) == ("in_review", "no_transfer_event")
    assert (await case.seam.balance(case.ada, "USDC")).held_minor >= 5 * 10**6


async def test_s22_another_chain_id(case: Case) -> None:
    made = await case.withdraw()
    case.meddler.alter = lambda method, _, answer: "0x1" if method == "eth_chainId" else answer
    for _ in range(3):
        await case.seam.observer.tick()
        await case.seam.runner.tick()
    assert case.meddler.sent == [] and await case.fields() == []
    with pytest.raises(ChainUnavailable):
        await case.withdraw()
    [state] = await case.seam.rows("SELECT healthy, detail FROM network_state")
    assert not state.healthy and "chain 1" in state.detail
    case.meddler.calm()
    await case.seam.observer.tick()
    await case.settled_once(made)


async def test_s22_what_has_its_nonce_already_is_not_signed_for_another_chain(case: Case) -> None:
    made = await case.withdraw()
    await crash_at(case, "intent.after_commit_allocated")
    case.meddler.alter = lambda method, _, answer: "0x1" if method == "eth_chainId" else answer
    for _ in range(3):
        await case.seam.observer.tick()
        await case.seam.runner.tick()
    assert [tx_hash for _, _, tx_hash in await case.fields()] == [None]  # given, and not signed
    assert case.meddler.sent == []
    case.meddler.calm()
    await case.seam.observer.tick()
    await case.settled_once(made)


@pytest.mark.parametrize(
    ("method", "lie"),
    [
        ("eth_getTransactionCount", hex(0)),
        ("eth_getBalance", hex(2**200)),
    ],
)
async def test_s23_lies_about_nonce_and_balance(case: Case, method: str, lie: str) -> None:
    first = await case.withdraw("0.5")
    await case.seam.finish()
    assert (await case.now(first)).status == "settled"
    case.meddler.alter = lambda asked, _, answer: lie if asked == method else answer
    made = await case.withdraw("0.5")
    for _ in range(2):
        await case.seam.runner.tick()
    await case.settled_once(made, ETH)
    assert [tx.nonce for _, tx, _ in await case.fields()] == [0, 1]
    done = await case.now(made)
    assert done.fee.minor <= done.fee_max.minor


def gas_is(case: Case, lie: int) -> None:
    case.meddler.alter = lambda asked, _, answer: hex(lie) if asked == "eth_estimateGas" else answer


async def test_s23_less_gas_than_any_such_call_costs_is_garbage(case: Case) -> None:
    made = await case.withdraw("5", "USDC")
    gas_is(case, 21_000)
    with pytest.raises(ChainUnavailable):
        await case.withdraw("5", "USDC")
    await case.seam.runner.tick()
    assert await case.fields() == []
    await case.settled_once(made, 5_000_000)


async def test_s23_less_gas_than_a_token_uses_reverts_and_frees_the_money(case: Case) -> None:
    gas_is(case, 25_000)
    made = await case.withdraw("5", "USDC")
    await case.seam.pass_once()
    await case.finish()
    done = await case.now(made)
    assert (done.status, done.failure_code) == ("failed", "reverted")
    assert 0 < done.fee.minor <= done.fee_max.minor
    assert (await case.seam.balance(case.ada, "USDC")).held_minor == 0
    assert await case.paid("USDC") == 0 and await case.seam.differences() == []


async def test_s23_a_nonce_that_is_too_high_halts_and_burns_nothing(case: Case) -> None:
    made = await case.withdraw()
    await case.seam.runner._introduce_signers(0, set())
    case.meddler.alter = lambda asked, _, answer: (
        hex(7) if asked == "eth_getTransactionCount" else answer
    )
    await case.seam.runner.tick()
    assert await case.halted() == "foreign_transaction"
    assert (await case.now(made)).status == "held" and case.meddler.sent == []


async def test_s24_gas_that_reverts_or_is_huge(case: Case) -> None:
    reverting = await case.withdraw("0.1")
    case.meddler.alter = lambda method, _, answer: (
        NodeRejected(3, "execution reverted") if method == "eth_estimateGas" else answer
    )
    await case.seam.runner.tick()
    case.meddler.calm()
    huge = await case.withdraw("0.1")
    case.meddler.alter = lambda method, _, answer: (
        hex(15_000_000) if method == "eth_estimateGas" else answer
    )
    await case.seam.runner.tick()
    for made, code in ((reverting, "would_revert"), (huge, "gas_above_bound")):
        done = await case.now(made)
        assert (done.status, done.failure_code, done.fee.minor) == ("failed", code, 0)
    assert await case.fields() == []
    assert (await case.seam.balance(case.ada, "ETH")).held_minor == 0
    with pytest.raises(NodeGarbage):
        case.meddler.alter = lambda method, _, answer: (
            hex(10**9) if method == "eth_estimateGas" else answer
        )
        await case.seam.chain.estimate_gas(OUTSIDE, checked(THIEF), 1, b"")


@pytest.mark.parametrize("asset", ["ETH", "USDC"])
async def test_s25_a_hot_wallet_that_is_short(case: Case, asset: str) -> None:
    made = await case.withdraw("1", asset)
    [hot] = await case.seam.signer.hot_addresses()
    before = await case.seam.on_chain(hot, "ETH")
    await case.seam.node("anvil_setBalance", hot, hex(10**12))
    await case.seam.pass_once()
    waiting = await case.now(made)
    assert (waiting.status, waiting.waiting_for) == ("held", "liquidity")
    assert await case.fields() == []  # no nonce burned
    async with case.seam.db.transaction() as session:
        await clock.advance(session, seconds=1_801)
    await UnsentWatch(case.seam.db, case.seam.network).tick()
    [alarm] = await case.seam.rows("SELECT kind, what FROM cases WHERE status = 'open'")
    assert alarm.kind == "payment_unsent" and "holds too little" in alarm.what
    await case.seam.node("anvil_setBalance", hot, hex(before))
    await case.settled_once(made, 10**6 if asset == "USDC" else ETH)


async def test_s25_a_hot_wallet_that_has_gas_and_too_few_tokens(case: Case) -> None:
    made = await case.withdraw("1", "USDC")
    [hot] = await case.seam.signer.hot_addresses()

    def drained(method: str, params: Sequence[object], answer: Any) -> Any:
        asks = method == "eth_call" and f"0x70a08231{hot[2:].lower():0>64}" in str(params).lower()
        return f"0x{10**6 - 1:064x}" if asks else answer

    case.meddler.alter = drained
    await case.seam.pass_once()
    waiting = await case.now(made)
    assert (waiting.status, waiting.waiting_for) == ("held", "liquidity")
    assert await case.fields() == []  # no nonce burned
    case.meddler.calm()
    await case.settled_once(made, 10**6)


@pytest.mark.parametrize("answer", [7, [], {"number": "0x1"}, "0x" + "f" * 5_000, None])
async def test_s27_garbage_in_the_place_of_answers(case: Case, answer: Any) -> None:
    """Sizes, redirects and slow answers are refused below (test_chain_hostile_node)."""
    made = await case.broadcast()
    for method in ("eth_getTransactionReceipt", "eth_getBlockByNumber", SUBMIT,
                   "eth_getTransactionCount", "eth_feeHistory"):  # fmt: skip
        case.meddler.alter = lambda asked, _, honest, method=method: (
            answer if asked == method else honest
        )
        with contextlib.suppress(NodeGarbage):  # the loop logs it and goes on at its next tick
            await case.seam.pass_once()
        assert (await case.now(made)).status in ("broadcast", "mined")
    await case.settled_once(made)
    assert len({tx.nonce for _, tx, _ in await case.fields()}) == 1


@pytest.mark.parametrize(
    "to",
    ["own", "own lower", "token", "hot", "0x" + "0" * 40,
     "0x70997970c51812dc3A010C7d01b50e0d17dc79C8"],
)  # fmt: skip
async def test_s28_recipients_that_nobody_means(case: Case, to: str) -> None:
    own = await case.seam.address(case.ada)
    [hot] = await case.seam.signer.hot_addresses()
    token = case.seam.network.tokens[0].contract
    to = {"own": own, "own lower": own.lower(), "token": token, "hot": hot}.get(to, to)
    with pytest.raises(InvalidAddress):
        await case.seam.withdraw(case.ada, "1", "ETH", to)
    async with case.seam.db.transaction() as session:
        written = await session.scalar(text("SELECT count(*) FROM withdrawals"))
    assert written == 0
