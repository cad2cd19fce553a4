"""Of what a restored database lost its signer knows a part by name; several workers relearn it."""

from __future__ import annotations

import pytest

from keys import book
from tests.onchain.older_signer import no_pool
from tests.onchain.test_onchain_lost_rows import _lose
from tests.onchain.test_onchain_restored import (
    BEFORE,
    ELSEWHERE,
    PAID,
    PAYEES,
    _paid,
    _resume,
    lanes,
    seam,
)
from wallet.onchain import journal, signers
from wallet.onchain.desk import leadership
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam

__all__ = ["lanes", "seam"]
ALONE = (
    "DELETE FROM chain_attempts a USING chain_intents i"
    " WHERE a.intent_id = i.id AND i.ref = '{id}'",
    "UPDATE chain_signers s SET next_nonce = i.nonce FROM chain_intents i WHERE i.ref = '{id}'"
    " AND s.address = i.from_address",
    "UPDATE chain_intents SET state = 'queued', from_address = NULL, nonce = NULL, mined_tx_hash ="
    " NULL, mined_kind = NULL, mined_block = NULL, mined_block_hash = NULL, mined_status = NULL,"
    " gas_used = NULL, gas_fee_wei = NULL WHERE ref = '{id}'",
    "UPDATE withdrawals SET status = 'held' WHERE id = '{id}'",
)


def _forget(database: ScratchDatabase, withdrawal_id: str) -> None:
    """As before it had a nonce."""
    _lose(database, *(one.format(id=withdrawal_id) for one in ALONE))


@pytest.mark.parametrize("at_once", [1, 128])
async def test_a_lost_batch_behind_a_payment_that_is_known_is_paid_by_nobody_else(
    lanes: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """The first nonce was for a payment that waits here, and is mined; the next one for a batch,
    which waits in a pool that the node says nothing of. `at_once`: places in one answer."""
    for module in (book, journal):
        monkeypatch.setattr(module, "MAX_ASKED", at_once)
    ada = await lanes.funded_person(eth="10", usdc="5000")
    for _ in range(3):
        for _ in range(4):
            await lanes.withdraw(ada, "1", "USDC", ELSEWHERE)
        await lanes.finish()
    payer, other = await lanes.signer.hot_addresses()
    async with leadership(lanes.db, f"signer/local/{other}"):
        first = await lanes.withdraw(ada, "1", "ETH", ELSEWHERE)
        await lanes.pass_once()
        await lanes.pass_once()
        await lanes.automine(False)
        made = [(await lanes.withdraw(ada, "3", "USDC", payee)).id for payee in PAYEES]
        await lanes.runner.tick()
    [batch] = await lanes.rows(
        "SELECT from_address FROM chain_intents WHERE purpose = 'payout_batch' AND state = 'sent'"
    )
    assert batch.from_address == payer
    _lose(database, *BEFORE)
    _forget(database, first.id)
    lanes.restart_worker()

    no_pool(lanes, monkeypatch)
    for _ in range(3):
        await lanes.runner.tick()
    await lanes.automine(True)
    await lanes.finish()
    assert await _paid(lanes) == PAID
    await _resume(lanes, payer)
    await lanes.finish()
    assert await _paid(lanes) == PAID
    assert {(await lanes.withdrawal(ada, one)).status for one in (*made, first.id)} == {"settled"}
    assert await lanes.differences() == []


async def _two_lost(seam: Seam, database: ScratchDatabase) -> list[str]:
    """Payments in the pool, and books of before they had their nonces."""
    ada = await seam.funded_person()
    await seam.automine(False)
    made = [await seam.withdraw(ada, "1", "ETH", one) for one in PAYEES[:2]]
    await seam.runner.tick()
    for one in reversed(made):
        _forget(database, one.id)
    seam.restart_worker()
    return [ada, *(one.id for one in made)]


async def test_a_worker_that_comes_late_halts_nothing_that_another_has_written_again(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read what the journal knows when the first one begins to write."""
    ada, *made = await _two_lost(seam, database)
    late = seam.new_runner()
    async with seam.db.transaction() as session:
        known = await signers.all_signers(session, "local")
    read = await late._signed_before(known)
    assert read is not None and sum(len(one.places) for one in read.values()) == 2

    async def then(_: object) -> object:
        return read

    await seam.runner.tick()
    monkeypatch.setattr(late, "_signed_before", then)
    await late.tick()
    assert await seam.rows("SELECT 1 FROM chain_signers WHERE halted_reason IS NOT NULL") == []
    await seam.automine(True)
    await seam.finish()
    assert {(await seam.withdrawal(ada, one)).status for one in made} == {"settled"}
    assert [await seam.on_chain(one, "ETH") for one in PAYEES[:2]] == [10**18] * 2


async def test_a_pass_that_began_before_an_operator_let_it_go_on_does_not_halt_it_again(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first, _ = await _two_lost(seam, database)
    _lose(database, f"UPDATE chain_intents SET state = 'cancelled' WHERE ref = '{first}'",
          f"UPDATE withdrawals SET status = 'cancelled' WHERE id = '{first}'")  # fmt: skip
    await seam.automine(True)
    await seam.finish()
    [row] = await seam.rows("SELECT address, halted_reason FROM chain_signers")
    assert row.halted_reason == "foreign_transaction"
    nonce, asked = seam.chain.nonce, []

    async def slow(address: str) -> int:
        if not asked:
            asked.append(address)
            await _resume(seam, row.address)
        return await nonce(address)

    monkeypatch.setattr(seam.chain, "nonce", slow)
    await seam.runner.tick()
    rows = await seam.rows("SELECT halted_reason FROM chain_signers")
    assert [one.halted_reason for one in rows] == [None]
