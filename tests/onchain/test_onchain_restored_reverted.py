"""A lost batch that reverted, or whose nonce was given again: nothing leaves or comes twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.testing import AnvilProcess
from chain.transactions import encode_unsigned, erc20_transfer
from tests.onchain.older_signer import no_pool, silent
from tests.onchain.test_onchain_batches import _pause
from tests.onchain.test_onchain_restored import (
    OLDEST_ALONE,
    PAID,
    _lose,
    _opened,
    _paid,
    _paid_and_lost,
    _resume,
)
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain.review import resolve
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await _opened(db, anvil, tmp_path, 1)
    yield seam
    await seam.close()


async def _paid_alone(seam: Seam, made: list[str]) -> None:
    """As the lost books did after their batch had reverted: one by one, by the signer's leave."""
    [hot] = await seam.signer.hot_addresses()
    token = seam.network.token("USDC")
    assert token is not None
    nonce, fees = await seam.chain.nonce(hot), await seam.chain.fees()
    rows = await seam.rows(
        "SELECT i.* FROM chain_intents i JOIN withdrawals w ON w.intent_id = i.id"
        " WHERE w.id = ANY(:ids) ORDER BY i.created_at",
        ids=made,
    )
    for place, row in enumerate(rows):
        fields = erc20_transfer(
            chain_id=seam.network.chain_id, nonce=nonce + place, tip=fees.tip, cap=fees.cap,
            gas=row.gas_limit, contract=token.contract, to=row.to_address,
            amount_minor=int(row.amount_minor),
        )  # fmt: skip
        signed = await seam.signer.sign_transaction(
            address=hot, payload=encode_unsigned(fields), intent_id=row.id, kind="pay"
        )
        await seam.chain.send_raw(signed.raw)


@pytest.mark.parametrize("older", [True, False])
async def test_what_was_paid_after_a_lost_batch_reverted_is_not_given_back(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    if older:
        silent(seam, monkeypatch)
    ada, made = await _paid_and_lost(seam, database, mined=False)
    await _pause(seam)
    await seam.automine(True)
    await seam.mine()
    assert await _paid(seam) == [0] * 6
    await _paid_alone(seam, made)
    await seam.mine()
    assert await _paid(seam) == PAID
    for _ in range(3):
        await seam.finish()
    [row] = await seam.rows("SELECT address, halted_reason FROM chain_signers")
    assert row.halted_reason == "foreign_transaction"
    await _resume(seam, row.address)
    for _ in range(3):
        await seam.finish()
    for one in await seam.rows("SELECT id FROM chain_intents WHERE state = 'in_review'"):
        with pytest.raises(InvalidState):
            await resolve(seam.runner._desk, one.id, by="bea")
    assert await _paid(seam) == PAID
    # By what the signer's journal tells, or not at all.
    wanted = {"held", "in_review"} if older else {"settled"}
    assert {(await seam.withdrawal(ada, one)).status for one in made} == wanted
    [batch] = await seam.rows(
        "SELECT state FROM chain_intents WHERE purpose = 'payout_batch' AND reason LIKE 'reviewed%'"
    )
    assert batch.state == "final_reverted"  # its gas is booked


async def test_let_go_on_too_early_it_stops_again_and_refuses_nobody(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal knows a nonce for nothing that waits: nobody else is given it."""
    ada, made = await _paid_and_lost(seam, database, mined=False)
    _lose(database, OLDEST_ALONE)
    no_pool(seam, monkeypatch)
    for _ in range(2):
        for _ in range(3):
            await seam.runner.tick()
        [row] = await seam.rows("SELECT address, halted_reason FROM chain_signers")
        assert row.halted_reason == "signer_nonce_used"
        assert await seam.rows("SELECT FROM chain_intents WHERE state = 'in_review'") == []
        await _resume(seam, row.address, told=False)
    await seam.automine(True)
    await seam.mine()
    for _ in range(3):
        await seam.finish()
    assert await _paid(seam) == PAID
    await _resume(seam, row.address)
    for _ in range(3):
        await seam.finish()
    assert await _paid(seam) == PAID
    assert {(await seam.withdrawal(ada, one)).status for one in made} == {"settled"}
    assert await seam.differences() == []


EACH_ALONE = "UPDATE chain_intents SET alone = true WHERE state = 'queued'"


@pytest.mark.parametrize(
    ("rows", "told", "settled"),
    [(OLDEST_ALONE, True, 5), (OLDEST_ALONE, False, 5), (EACH_ALONE, True, 0)],
)
async def test_nor_is_it_paid_again_where_its_nonce_was_given_once_more(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch, rows: str, told: bool,
    settled: int,
) -> None:  # fmt: skip
    """By a signer that tells nothing: what stood behind it, with a nonce or in another batch, is
    paid by nobody either."""
    ada, made = await _paid_and_lost(seam, database, mined=False)
    _lose(database, rows)
    silent(seam, monkeypatch)
    no_pool(seam, monkeypatch)
    for _ in range(3):
        await seam.runner.tick()
    [row] = await seam.rows("SELECT address, halted_reason FROM chain_signers")
    assert row.halted_reason == "signer_nonce_used"
    with pytest.raises(InvalidState, match="final"):
        await _resume(seam, row.address, told=told)  # the lost batch may still be mined
    await seam.automine(True)
    await seam.mine()
    for _ in range(3):
        await seam.finish()
    assert await _paid(seam) == PAID
    await _resume(seam, row.address, told=told)
    for _ in range(4):
        await seam.finish()
    assert await _paid(seam) == PAID
    seen = [(await seam.withdrawal(ada, one)).status for one in made]
    assert sorted(seen) == ["in_review"] * (6 - settled) + ["settled"] * settled
    for one in await seam.rows("SELECT id FROM chain_intents WHERE state = 'in_review'"):
        with pytest.raises(InvalidState):
            await resolve(seam.runner._desk, one.id, by="bea")


@pytest.fixture
async def lanes(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await _opened(db, anvil, tmp_path, 2)
    yield seam
    await seam.close()


async def test_a_signer_that_knows_more_keeps_every_hot_address_from_paying(
    lanes: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the node's pool says: another address would pay the lost batch again at once."""
    ada, made = await _paid_and_lost(lanes, database, mined=False)
    _lose(database, OLDEST_ALONE)

    no_pool(lanes, monkeypatch)
    for _ in range(3):
        await lanes.runner.tick()
    await lanes.automine(True)
    for _ in range(3):
        await lanes.finish()
    assert await _paid(lanes) == PAID
    [row] = await lanes.rows(
        "SELECT address, halted_reason FROM chain_signers WHERE halted_reason IS NOT NULL"
    )
    assert row.halted_reason == "signer_nonce_used"
    await _resume(lanes, row.address)
    for _ in range(3):
        await lanes.finish()
    assert await _paid(lanes) == PAID
    assert {(await lanes.withdrawal(ada, one)).status for one in made} == {"settled"}
    assert await lanes.differences() == []
