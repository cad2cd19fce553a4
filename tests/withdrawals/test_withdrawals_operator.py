"""An operator cancels or speeds up what its owner leaves standing, within the owner's bound."""

from __future__ import annotations

import pytest

from chain.transactions import decode_unsigned
from tests.cases.conftest import Command, bifold
from tests.withdrawals.test_withdrawals_replace import OUTSIDE, _attempts, _passes, _waiting
from wallet.errors import InvalidState, NotFound
from wallet.ids import new_id
from wallet.testing.seam import Seam
from wallet.withdrawals import Withdrawal

__all__ = ["bifold"]
ETH = 10**18


async def asked_by(seam: Seam, made: Withdrawal) -> str | None:
    [row] = await seam.rows(
        "SELECT cancel_asked_by FROM chain_intents WHERE ref = :id", id=made.id
    )  # fmt: skip
    return None if row.cancel_asked_by is None else str(row.cancel_asked_by)


async def test_a_held_one_ends_at_once_and_free(seam: Seam, bifold: Command) -> None:
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    assert await bifold("chain", "cancel", made.id, "--by", "bea") == 0
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, done.fee.minor, done.failure_code) == ("cancelled", 0, None)
    assert (done.events[-1].type, done.events[-1].detail) == (
        "withdrawal.cancelled", {"by": "operator"}
    )  # fmt: skip
    assert await asked_by(seam, made) == "bea"
    balance = await seam.balance(ada, "ETH")
    assert (balance.held_minor, balance.total_minor) == (0, 10 * ETH)


async def test_a_sent_one_is_cancelled_at_the_houses_cost(seam: Seam, bifold: Command) -> None:
    ada, sent = await _waiting(seam)
    assert await bifold("chain", "cancel", sent.id, "--by", "bea") == 0
    assert (await seam.withdrawal(ada, sent.id)).cancel_requested
    await _passes(seam)
    pay, cancel = await _attempts(seam, sent)
    first, second = decode_unsigned(pay.unsigned), decode_unsigned(cancel.unsigned)
    assert (cancel.kind, second.nonce, second.value) == ("cancel", first.nonce, 0)
    await seam.automine(True)
    await seam.finish()
    done = await seam.withdrawal(ada, sent.id)
    assert (done.status, done.failure_code, done.fee.minor) == (
        "failed", "cancelled_by_operator", 0
    )  # fmt: skip
    balance = await seam.balance(ada, "ETH")
    assert (balance.held_minor, balance.total_minor) == (0, 10 * ETH)
    assert await seam.on_chain(OUTSIDE, "ETH") == 0
    assert await seam.differences() == []
    with pytest.raises(InvalidState):
        await bifold("chain", "cancel", sent.id, "--by", "bea")


async def test_the_payment_may_outrun_it(seam: Seam, bifold: Command) -> None:
    ada, sent = await _waiting(seam)
    await bifold("chain", "cancel", sent.id, "--by", "bea")
    await seam.automine(True)
    await seam.dev.mine(1)
    await seam.finish()
    done = await seam.withdrawal(ada, sent.id)
    assert (done.status, done.failure_code) == ("settled", None) and done.fee.minor > 0
    assert await seam.on_chain(OUTSIDE, "ETH") == sent.money.minor
    assert await seam.differences() == []


async def test_what_its_owner_asked_first_stays_the_owners(seam: Seam, bifold: Command) -> None:
    ada, sent = await _waiting(seam)
    await seam.cancel(ada, sent.id)
    await bifold("chain", "cancel", sent.id, "--by", "bea")
    assert await asked_by(seam, sent) is None
    await _passes(seam)
    await seam.automine(True)
    await seam.finish()
    done = await seam.withdrawal(ada, sent.id)
    assert done.status == "cancelled" and done.fee.minor > 0


async def test_a_speed_up_stays_inside_the_bound(seam: Seam, bifold: Command) -> None:
    ada, sent = await _waiting(seam)
    assert await bifold("chain", "speed-up", sent.id, "--by", "bea") == 0
    await _passes(seam)
    pay, bump = await _attempts(seam, sent)
    assert (bump.kind, 8 * bump.cap_wei >= 9 * pay.cap_wei) == ("bump", True)
    await seam.automine(True)
    await seam.finish()
    done = await seam.withdrawal(ada, sent.id)
    assert done.status == "settled" and 0 < done.fee.minor <= done.fee_max.minor
    assert await seam.differences() == []


async def test_nobody_asks_for_nothing(seam: Seam, bifold: Command) -> None:
    with pytest.raises(NotFound):
        await bifold("chain", "cancel", new_id("wdr"), "--by", "bea")
    with pytest.raises(SystemExit):  # argparse: no name
        await bifold("chain", "cancel", new_id("wdr"), "--by", " ")
    with pytest.raises(NotFound):
        await bifold("chain", "speed-up", new_id("wdr"), "--by", "bea")
