"""S12 of the fault matrix: the payment with nonce n is lost, those behind it are queued.

The same bytes go again; another transaction takes n only by rule: its owner's cancel, or a payment
that the signer never signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from chain.errors import NodeTimeout
from chain.rpc import Answer, Call
from chain.transactions import decode_signed
from keys.errors import SignerRefused
from keys.request import Kind, SignedTx
from tests.faults_send.conftest import Case
from wallet import clock
from wallet.onchain.casework import LateWatch
from wallet.testing.meddler import SUBMIT, Meddler
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
