"""Cancel and speed-up after the broadcast: any attempt of the nonce may win; one debit."""

from __future__ import annotations

import pytest

from chain.transactions import decode_unsigned
from wallet.errors import InvalidState
from wallet.onchain import FeeBoundReached
from wallet.onchain import repository as chain_repository
from wallet.testing.seam import Seam
from wallet.withdrawals import Withdrawal

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
ETH = 10**18


async def _waiting(seam: Seam, amount: str = "2", asset: str = "ETH") -> tuple[str, Withdrawal]:
    """Somebody, and a withdrawal of theirs that the node has and does not mine."""
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, amount, asset, OUTSIDE)
    await seam.pass_once()
    sent = await seam.withdrawal(ada, made.id)
    assert sent.status == "broadcast"
    return ada, sent


async def _attempts(seam: Seam, withdrawal: Withdrawal) -> list[chain_repository.Attempt]:
    async with seam.db.transaction() as session:
        row = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=withdrawal.id)
        found = await chain_repository.attempts_of(session, [row[0].intent_id])
    return found[row[0].intent_id]


async def _passes(seam: Seam, count: int = 3) -> None:
    for _ in range(count):
        await seam.pass_once()


class TestCancel:
    async def test_the_cancel_wins(self, seam: Seam) -> None:
        ada, sent = await _waiting(seam)
        asked = await seam.cancel(ada, sent.id)
        assert (asked.status, asked.cancel_requested) == ("broadcast", True)
        assert asked.waiting_for == "cancellation"
        await _passes(seam)
        pay, cancel = await _attempts(seam, sent)
        first, second = decode_unsigned(pay.unsigned), decode_unsigned(cancel.unsigned)
        assert (cancel.kind, second.nonce, second.value) == ("cancel", first.nonce, 0)
        assert second.to == (await seam.signer.hot_addresses())[0]
        assert 8 * second.cap >= 9 * first.cap and 8 * second.tip >= 9 * first.tip
        await seam.automine(True)
        await seam.finish()
        done = await seam.withdrawal(ada, sent.id)
        assert (done.status, done.failure_code) == ("cancelled", None)
        assert 0 < done.fee.minor <= done.fee_max.minor
        balance = await seam.balance(ada, "ETH")
        assert (balance.held_minor, balance.total_minor) == (0, 10 * ETH - done.fee.minor)
        assert await seam.on_chain(OUTSIDE, "ETH") == 0
        assert await seam.differences() == []
        with pytest.raises(InvalidState) as late:
            await seam.cancel(ada, sent.id)
        assert late.value.extra["state"] == "cancelled"

    async def test_the_original_wins(self, seam: Seam) -> None:
        """The cancel is void: one debit, nothing comes back."""
        ada, sent = await _waiting(seam, "5", "USDC")
        await seam.cancel(ada, sent.id)
        await seam.automine(True)
        await seam.dev.mine(1)
        await seam.finish()
        done = await seam.withdrawal(ada, sent.id)
        assert (done.status, done.cancel_requested) == ("settled", True)
        assert await seam.on_chain(OUTSIDE, "USDC") == 5 * 10**6
        balance = await seam.balance(ada, "USDC")
        assert balance.total_minor == 995 * 10**6 - done.fee.minor
        assert await seam.differences() == []

    async def test_asked_twice_is_asked_once(self, seam: Seam) -> None:
        ada, sent = await _waiting(seam)
        for _ in range(3):
            await seam.cancel(ada, sent.id)
            await _passes(seam)
        assert [a.kind for a in await _attempts(seam, sent)] == ["pay", "cancel"]
        events = (await seam.withdrawal(ada, sent.id)).events
        assert [e.type for e in events].count("withdrawal.cancel_requested") == 1

    async def test_what_is_not_signed_yet_never_is(self, seam: Seam) -> None:
        """The nonce is given, the signer away: the cancel is what it signs when it is back."""
        ada = await seam.funded_person()
        await seam.automine(False)
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        head = await seam.chain.head()
        [hot] = await seam.signer.hot_addresses()
        await seam.runner._introduce_signers(0, set())
        assert await seam.runner._preparer.run(hot, head=head) == 1
        asked = await seam.cancel(ada, made.id)
        assert (asked.status, asked.cancel_requested) == ("held", True)
        await _passes(seam)
        pay, cancel = await _attempts(seam, made)
        assert (pay.refused, pay.raw, cancel.kind) == ("cancelled", None, "cancel")
        await seam.automine(True)
        await seam.finish()
        done = await seam.withdrawal(ada, made.id)
        assert done.status == "cancelled"
        assert await seam.on_chain(OUTSIDE, "ETH") == 0
        assert await seam.differences() == []

    async def test_a_reorg_lets_the_other_one_win(self, seam: Seam) -> None:
        """The cancel is mined, reorganised away, and the payment mined instead: it paid."""
        ada, sent = await _waiting(seam)
        pay = (await _attempts(seam, sent))[0]
        await seam.cancel(ada, sent.id)
        await _passes(seam)
        await seam.mine(1)
        mined = await seam.withdrawal(ada, sent.id)
        assert (mined.status, mined.attempts[1].status) == ("mined", "mined")
        assert pay.raw is not None
        await seam.node("anvil_reorg", 1, [["0x" + pay.raw.hex(), 0]])
        await seam.automine(True)
        await seam.finish()
        done = await seam.withdrawal(ada, sent.id)
        assert done.status == "settled"
        assert await seam.on_chain(OUTSIDE, "ETH") == 2 * ETH
        assert await seam.differences() == []


class TestSpeedUp:
    async def test_both_fees_rise_and_the_nonce_stays(self, seam: Seam) -> None:
        ada, sent = await _waiting(seam, "5", "USDC")
        asked = await seam.speed_up(ada, sent.id)
        assert asked.status == "broadcast"
        await seam.speed_up(ada, sent.id)  # not answered yet: nothing more
        await _passes(seam)
        pay, bump = await _attempts(seam, sent)
        first, second = decode_unsigned(pay.unsigned), decode_unsigned(bump.unsigned)
        assert bump.kind == "bump"
        assert (second.nonce, second.to, second.data) == (first.nonce, first.to, first.data)
        assert 8 * second.cap >= 9 * first.cap and 8 * second.tip >= 9 * first.tip
        await seam.automine(True)
        await seam.finish()
        done = await seam.withdrawal(ada, sent.id)
        assert (done.status, done.attempts[1].status) == ("settled", "mined")
        assert await seam.on_chain(OUTSIDE, "USDC") == 5 * 10**6
        assert await seam.differences() == []

    async def test_never_beyond_the_bound(self, seam: Seam) -> None:
        ada, sent = await _waiting(seam)
        with pytest.raises(FeeBoundReached):
            for _ in range(12):
                await seam.speed_up(ada, sent.id)
                await _passes(seam, 2)
        attempts = await _attempts(seam, sent)
        assert 2 < len(attempts) < 12
        [intent] = await seam.rows("SELECT fee_ceiling_wei, gas_limit FROM chain_intents")
        assert all(a.cap_wei <= intent.fee_ceiling_wei for a in attempts)
        worst = int(intent.gas_limit) * attempts[-1].cap_wei
        assert worst <= sent.fee_max.minor  # ETH pays its own gas: the bound is in wei
        await seam.automine(True)
        await seam.finish()
        done = await seam.withdrawal(ada, sent.id)
        assert done.status == "settled" and done.fee.minor <= done.fee_max.minor
        assert await seam.differences() == []

    async def test_too_early_too_late_and_while_it_is_cancelled(self, seam: Seam) -> None:
        ada = await seam.funded_person()
        made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        with pytest.raises(InvalidState) as early:
            await seam.speed_up(ada, made.id)
        assert early.value.extra["state"] == "held"
        await seam.finish()
        for late in (seam.speed_up, seam.cancel):
            with pytest.raises(InvalidState) as refused:
                await late(ada, made.id)
            assert refused.value.extra["state"] == "settled"
        await seam.automine(False)
        other = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
        await seam.pass_once()
        await seam.cancel(ada, other.id)
        with pytest.raises(InvalidState):
            await seam.speed_up(ada, other.id)
