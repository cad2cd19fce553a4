"""S12 of the fault matrix: the payment with nonce n is lost, those behind it are queued.

The same bytes go again; another transaction takes n only by rule: its owner's cancel, or a payment
that the signer never signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from eth_account import Account

from chain.errors import NodeTimeout
from chain.rpc import Answer, Call
from chain.transactions import TxFields, decode_signed, encode_unsigned
from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.errors import SignerRefused
from keys.request import Kind, SignedTx
from keys.testing import test_seed as seed_of_tests
from tests.faults_send.conftest import OUTSIDE, Case
from tests.onchain.older_signer import silent
from wallet import clock
from wallet.errors import InvalidState
from wallet.onchain import casework
from wallet.onchain.casework import LateWatch
from wallet.onchain.review import resolve
from wallet.testing.meddler import SUBMIT, Meddler
from wallet.testing.seam import FIRST_HOT_INDEX, GWEI, Seam
from wallet.withdrawals import Withdrawal

ETH = 10**18
LOST = 1  # the nonce n


class Losing(Meddler):
    """Loses every submission with one nonce before the node has it, whatever its bytes."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.nonce: int | None = LOST
        self.lost: list[str] = []

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        for method, params in calls:
            raw = str(params[0]) if method == SUBMIT else None
            if raw and decode_signed(bytes.fromhex(raw[2:]))[0].nonce == self.nonce:
                self.lost.append(raw)
                raise NodeTimeout("the request was lost")
        return await super().batch_answers(calls)


@pytest.fixture
async def losing(case: Case) -> Losing:
    case.meddler = losing = Losing(case.meddler.inner)
    case.stand()
    return losing


async def pool(case: Case) -> tuple[int, int]:
    """How many the node could mine now, and how many wait for a nonce it does not have."""
    told = await case.seam.node("txpool_status")
    assert isinstance(told, dict)
    return int(str(told["pending"]), 16), int(str(told["queued"]), 16)


async def stuck(case: Case, losing: Losing) -> list[Withdrawal]:
    """Four payments: the first is mined, the second never arrives, two wait behind it."""
    made = [await case.withdraw("0.25") for _ in range(4)]
    for _ in range(3):
        await case.seam.mine(1)
    assert await pool(case) == (0, 2)
    [hot] = await case.seam.signer.hot_addresses()
    assert await case.seam.node("eth_getTransactionCount", hot, "latest") == hex(LOST)
    states = [(await case.now(one)).status for one in made]
    assert states == ["mined", "broadcast", "broadcast", "broadcast"]
    return made


async def test_s12_a_gap_is_filled_with_the_same_bytes(case: Case, losing: Losing) -> None:
    """It is sent again in every pass, alone: those behind it are there. Nothing else is signed."""
    made = await stuck(case, losing)
    assert len(losing.lost) >= 3 and len(set(losing.lost)) == 1
    others = [raw for raw in losing.sent if raw not in losing.lost]
    assert len(others) == len(set(others)) == 3  # each was given to the node once
    assert [kind for kind, _, _ in await case.fields()] == ["pay"] * 4
    async with case.seam.db.transaction() as session:
        await clock.advance(session, seconds=901)
    await LateWatch(case.seam.db, case.seam.network).tick()
    late = await case.seam.rows("SELECT kind FROM cases WHERE status = 'open'")
    assert [one.kind for one in late] == ["payment_late"] * 3  # it and all that it keeps waiting
    await case.seam.observer.tick()
    losing.nonce = None
    await case.seam.runner.tick()
    assert losing.sent[3:] == losing.lost[:1]
    await case.settled_once(made[0], ETH)
    await LateWatch(case.seam.db, case.seam.network).tick()
    assert await case.seam.rows("SELECT kind FROM cases WHERE status = 'open'") == []
    assert [(kind, tx.nonce) for kind, tx, _ in await case.fields()] == [
        ("pay", nonce) for nonce in range(4)
    ]


async def test_s12_a_pool_that_forgot_one_in_the_middle(case: Case) -> None:
    await case.seam.automine(False)
    made = [await case.withdraw("0.1") for _ in range(3)]
    await case.seam.pass_once()
    second = (await case.fields())[1][2]
    await case.seam.node("anvil_dropTransaction", second)
    await case.seam.dev.mine(1)
    await case.seam.pass_once()
    again = case.meddler.sent[3:]
    assert case.meddler.sent[1] in again and set(again) <= set(case.meddler.sent[:3])
    await case.settled_once(made[0], 3 * ETH // 10)
    assert [kind for kind, _, _ in await case.fields()] == ["pay"] * 3


async def test_s12_its_owner_s_cancel_fills_the_gap_with_nothing(
    case: Case, losing: Losing
) -> None:
    made = await stuck(case, losing)
    await case.seam.cancel(case.ada, made[1].id)
    for _ in range(2):
        await case.seam.runner.tick()
    losing.nonce = None
    [hot] = await case.seam.signer.hot_addresses()
    await case.finish()
    done = [await case.now(one) for one in made]
    assert [one.status for one in done] == ["settled", "cancelled", "settled", "settled"]
    at_n = [(kind, tx) for kind, tx, _ in await case.fields() if tx.nonce == LOST]
    assert [kind for kind, _ in at_n] == ["pay", "cancel"]
    nothing = at_n[1][1]
    assert (nothing.to, nothing.value, nothing.data) == (hot, 0, b"")
    assert await case.paid() == 3 * ETH // 4
    assert (await case.seam.balance(case.ada, "ETH")).held_minor == 0
    assert await case.seam.differences() == []


async def test_s12_what_is_never_signed_is_filled_with_nothing_and_the_rest_goes_on(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By rule: the signer's policy refuses the payment for good, so its nonce is used up."""
    real = case.seam.signer.sign_transaction
    made = [await case.withdraw("0.25") for _ in range(3)]
    [second] = await case.seam.rows(
        "SELECT intent_id FROM withdrawals WHERE id = :id", id=made[1].id
    )

    async def choosy(*, kind: Kind, intent_id: str, **asked: Any) -> SignedTx:
        if intent_id == second.intent_id and kind == "pay":
            raise SignerRefused("above_transaction_limit")
        return await real(kind=kind, intent_id=intent_id, **asked)

    monkeypatch.setattr(case.seam.signer, "sign_transaction", choosy)
    await case.finish()
    ends = [(await case.now(one)).status for one in made]
    assert ends == ["settled", "failed", "settled"]
    [hot] = await case.seam.signer.hot_addresses()
    attempts = [(kind, tx.nonce, tx.to, tx.value) for kind, tx, _ in await case.fields()]
    assert [one[:2] for one in attempts] == [("pay", 0), ("pay", 1), ("noop", 1), ("pay", 2)]
    assert attempts[2][2:] == (hot, 0)
    assert await case.paid() == ETH // 2
    assert (await case.seam.balance(case.ada, "ETH")).held_minor == 0
    assert await case.seam.differences() == []


async def _lost_at_zero(seam: Seam) -> str:
    """The signer has signed a payment at nonce 0 which the copy does not know; the hot address."""
    await seam.automine(False)
    [hot] = await seam.signer.hot_addresses()
    lost = TxFields(31337, 0, 10**9, 10**10, 21_000, OUTSIDE, 7)
    await seam.signer.sign_transaction(
        address=hot, payload=encode_unsigned(lost), intent_id="int_lost", kind="pay"
    )
    return hot


async def _filled_by_hand(seam: Seam, hot: str) -> str:
    """A transfer of nothing at nonce 0, made with the house's words; its hash."""
    nothing = {
        "type": 2, "chainId": 31337, "nonce": 0, "to": hot, "value": 0, "gas": 21_000, "data": b"",
        "maxFeePerGas": 10 * GWEI, "maxPriorityFeePerGas": GWEI,
    }  # fmt: skip
    key = derive_key(seed_of_tests(), path(HOT_ACCOUNT, FIRST_HOT_INDEX))
    signed = Account.sign_transaction(nothing, key.reveal())
    return str(await seam.node(SUBMIT, "0x" + bytes(signed.raw_transaction).hex()))


async def test_s12_a_gap_that_a_restored_database_leaves_waits_for_a_person(case: Case) -> None:
    """Nothing fills that nonce by itself: its old bytes may still be mined, and what is behind it
    may have paid the same. The signer tells of it, so nobody is given it or one behind it; once it
    is filled by hand, an operator lets everything go on."""
    seam = case.seam
    hot = await _lost_at_zero(seam)
    made = [await case.withdraw("0.5"), await case.withdraw("0.25")]
    for _ in range(3):
        await seam.mine(1)
    assert await case.halted() == "signer_nonce_used"
    assert await case.fields() == []
    by_hand = await _filled_by_hand(seam, hot)
    await seam.automine(True)
    await seam.finish()
    assert await case.paid() == 0
    async with seam.operators.transaction() as session:
        await casework.resume_signer(
            session, network="local", address=hot, by="bea", next_nonce=await seam.chain.nonce(hot)
        )
    await case.finish()
    assert {(await case.now(one)).status for one in made} == {"settled"}
    assert await case.paid() == 3 * ETH // 4
    receipt = await seam.dev.wait_mined(by_hand)
    assert await seam.differences() == [f"chain:local:ETH:hot {-receipt.fee_wei}"]


async def test_s12_a_signer_that_tells_nothing_refuses_what_is_given_that_nonce(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transfer of nothing, made by hand, lets the rest go on; what was refused stays with a
    person, its hold kept."""
    seam = case.seam
    silent(seam, monkeypatch)
    hot = await _lost_at_zero(seam)
    refused = await case.withdraw("0.5")
    await seam.pass_once()
    assert (await case.now(refused)).failure_code == "signer_nonce_used"
    assert await case.halted() == "signer_nonce_used"
    async with seam.operators.transaction() as session:
        await casework.resume_signer(session, network="local", address=hot, by="bea")
    behind = await case.withdraw("0.25")
    for _ in range(3):
        await seam.mine(1)
    assert await pool(case) == (0, 1)  # the nonce stays a gap, whatever is mined
    assert {tx_hash is None for _, tx, tx_hash in await case.fields() if tx.nonce == 0} == {True}
    by_hand = await _filled_by_hand(seam, hot)
    await case.finish()
    assert (await case.now(behind)).status == "settled"
    assert await case.paid() == ETH // 4
    [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=refused.id)
    with pytest.raises(InvalidState, match="another payment at this nonce"):
        await resolve(seam.runner._desk, row.intent_id, by="bea")
    assert (await case.now(refused)).status == "in_review"
    assert (await seam.balance(case.ada, "ETH")).held_minor >= ETH // 2
    receipt = await seam.dev.wait_mined(by_hand)
    assert await seam.differences() == [f"chain:local:ETH:hot {-receipt.fee_wei}"]
