"""A token that is halted while its batch waits for a nonce does not leave in that batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from chain.testing.fake_node import FakeNode
from wallet.db import Database
from wallet.ids import new_id
from wallet.onchain import signers, tokens
from wallet.onchain.intents import PAYOUT_BATCH, IntentDraft, create_intent
from wallet.onchain.prepare import Preparer
from wallet.testing.seam import GWEI, Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


@pytest.fixture
async def seam(db: Database, tmp_path: Path) -> AsyncIterator[Seam]:
    node = FakeNode()
    seam = await Seam.open(db, "http://fake.invalid", tmp_path / "signer", transport=node.transport)
    yield seam
    await seam.close()


async def test_a_waiting_batch_of_a_halted_token_gets_no_nonce(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def vouched(*_: object) -> bool:
        return True  # as its members' followers would

    monkeypatch.setattr(Preparer, "_vouched_for", vouched)
    [address] = await seam.signer.hot_addresses()

    def draft(purpose: str, asset: str, data: bytes | None) -> IntentDraft:
        return IntentDraft(
            purpose=purpose, ref=new_id("int"), network="local", asset=asset, to_address=OUTSIDE,
            amount_minor=0 if data else 5, gas_limit=90_000, fee_ceiling_wei=9 * GWEI,
            pinned_address=address if data else None, data=data,
        )  # fmt: skip

    async with seam.db.transaction() as session:
        await signers.add_signer(session, network="local", address=address, next_nonce=0)
        batch = await create_intent(session, draft(PAYOUT_BATCH, "ETH", b"pay them"))
        member = await create_intent(session, draft("withdrawal", "USDC", None))
        await session.execute(
            text("UPDATE chain_intents SET batch_id = :batch WHERE id = :member"),
            {"batch": batch, "member": member},
        )
        await tokens.halt_token(session, network="local", asset="USDC", reason="other decimals")
    async with seam.db.transaction() as session:
        preparer = Preparer(seam.runner._desk)
        assert not await preparer._allocate(session, batch, address, GWEI, 2 * GWEI, 0)
    rows = await seam.rows("SELECT id, state, nonce, waiting_for FROM chain_intents ORDER BY id")
    assert [(row.state, row.nonce) for row in rows] == [("queued", None)] * 2
    assert {row.id: row.waiting_for for row in rows}[batch] == "review"


async def test_members_do_not_wait_for_an_address_that_signs_no_more(
    db: Database, tmp_path: Path
) -> None:
    """Their batch is sent by nobody else, and nobody can take one of them back out of it."""
    node = FakeNode()
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", hot_keys=2, transport=node.transport
    )
    await seam.fund_house()
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    first, _ = await seam.signer.hot_addresses()
    batch = IntentDraft(
        purpose=PAYOUT_BATCH, ref=new_id("int"), network="local", asset="ETH", to_address=OUTSIDE,
        amount_minor=0, gas_limit=90_000, fee_ceiling_wei=9 * GWEI, pinned_address=first,
        data=b"pay them",
    )  # fmt: skip
    async with seam.db.transaction() as session:
        await signers.add_signer(session, network="local", address=first, next_nonce=0)
        await signers.halt_signer(
            session, network="local", address=first, reason=signers.COMPROMISED
        )
        batch_id = await create_intent(session, batch)
        await session.execute(
            text("UPDATE chain_intents SET batch_id = :batch WHERE ref = :ref"),
            {"batch": batch_id, "ref": made.id},
        )
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "held"  # a batch has a minute
    await seam.rows(
        "UPDATE chain_intents SET created_at = created_at - interval '61 s' WHERE id = :id"
        " RETURNING id", id=batch_id,
    )  # fmt: skip
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == 10**6
    [row] = await seam.rows("SELECT state, reason FROM chain_intents WHERE id = :id", id=batch_id)
    assert (row.state, row.reason) == ("cancelled", "not_sent")
    await seam.close()
