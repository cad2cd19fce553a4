"""A payment above the signer's limit waits, without a nonce, until an operator signs for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from sqlalchemy import text

from chain.address import checked
from chain.testing import AnvilProcess
from keys.policy import Policy
from keys.request import ApprovalLimits
from tests.onchain.test_onchain_half_relearned import _forget
from wallet.db import Database
from wallet.onchain import approvals, repository
from wallet.onchain.approvals import Approval, wording
from wallet.testing.databases import ScratchDatabase
from wallet.testing.operators import as_operator
from wallet.testing.seam import Seam

OPERATOR = Account.from_key(b"\x07" * 32)
STRANGER = Account.from_key(b"\x08" * 32)
OUTSIDE = "0x000000000000000000000000000000000F00D002"


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer")
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    contract = seam.network.tokens[0].contract
    limit = replace(chain.tokens[contract], approve_above=100_000_000)
    seam.desk.policy = Policy(
        {chain_id: replace(chain, tokens={contract: limit})}, frozenset({OPERATOR.address})
    )
    await seam.fund_house()
    yield seam
    await seam.close()


async def approve(
    seam: Seam, withdrawal_id: str, by: LocalAccount, *, said_by: str | None = None
) -> None:
    """`said_by`: the row names another operator than the one who signed."""
    async with as_operator(seam.db) as session:
        intent_id = await session.scalar(
            text("SELECT intent_id FROM withdrawals WHERE id = :id"), {"id": withdrawal_id}
        )
        intent = await repository.get_intent(session, str(intent_id))
        message = encode_defunct(text=wording(seam.network, intent))
        signature = bytes(by.sign_message(message).signature)
        await approvals.approve(
            session, intent.id, Approval(said_by or by.address, signature, None)
        )


async def test_what_goes_to_the_treasury_is_not_asked_about(seam: Seam) -> None:
    """No limit of the signer applies there: an evacuation would wait for nobody's signature."""
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    seam.desk.policy = replace(
        seam.desk.policy,
        chains={chain_id: replace(chain, treasury_to=frozenset({checked(OUTSIDE)}))},
    )
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "101", "USDC", checked(OUTSIDE))
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.on_chain(checked(OUTSIDE), "USDC") == 101_000_000


async def test_it_waits_uses_no_nonce_and_holds_up_nobody(seam: Seam) -> None:
    ada = await seam.funded_person()
    large = await seam.withdraw(ada, "101", "USDC", OUTSIDE)
    small = await seam.withdraw(ada, "100", "USDC", OUTSIDE)
    await seam.finish()
    waits = await seam.withdrawal(ada, large.id)
    assert (waits.status, waits.waiting_for) == ("held", "approval")
    assert (await seam.withdrawal(ada, small.id)).status == "settled"
    await approve(seam, large.id, OPERATOR)
    await seam.finish()
    assert (await seam.withdrawal(ada, large.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == 201_000_000
    assert await seam.differences() == []


async def test_it_can_be_taken_back_while_it_waits(seam: Seam) -> None:
    ada = await seam.funded_person()
    large = await seam.withdraw(ada, "101", "USDC", OUTSIDE)
    await seam.finish()
    await seam.cancel(ada, large.id)
    assert (await seam.withdrawal(ada, large.id)).status == "cancelled"


@pytest.mark.parametrize("said_by", [None, OPERATOR.address])
async def test_a_strangers_signature_moves_nothing(seam: Seam, said_by: str | None) -> None:
    """Who writes into the database can put a signature there; it counts as none, gives no nonce
    away and takes no place from a true one."""
    ada = await seam.funded_person()
    large = await seam.withdraw(ada, "101", "USDC", OUTSIDE)
    await approve(seam, large.id, STRANGER, said_by=said_by)
    await seam.finish()
    assert await seam.on_chain(OUTSIDE, "USDC") == 0
    after = await seam.withdrawal(ada, large.id)
    assert (after.status, after.waiting_for) == ("held", "approval")
    assert await seam.rows("SELECT nonce FROM chain_intents WHERE nonce IS NOT NULL") == []
    if said_by is None:
        await approve(seam, large.id, OPERATOR)
        await seam.finish()
        assert (await seam.withdrawal(ada, large.id)).status == "settled"
    assert await seam.differences() == []


async def test_the_signer_believes_no_caller(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was taken over hands over what it likes: the signer counts by itself."""
    ada = await seam.funded_person()
    large = await seam.withdraw(ada, "101", "USDC", OUTSIDE)
    [(chain_id, told)] = (await seam.signer.approval_limits()).items()

    async def believed() -> dict[int, ApprovalLimits]:
        return {chain_id: replace(told, operators=frozenset({STRANGER.address}))}

    monkeypatch.setattr(seam.signer, "approval_limits", believed)
    await approve(seam, large.id, STRANGER)
    await seam.finish()
    assert await seam.on_chain(OUTSIDE, "USDC") == 0
    after = await seam.withdrawal(ada, large.id)
    assert (after.status, after.failure_code) == ("failed", "signer_approval_invalid")
    assert await seam.differences() == []


async def test_a_restored_database_has_its_row_again_by_the_same_signatures(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The signer does not sign even the same bytes without them; they are older than its nonce."""
    ada = await seam.funded_person()
    large = await seam.withdraw(ada, "101", "USDC", OUTSIDE)
    await approve(seam, large.id, OPERATOR)
    await seam.pass_once()
    assert (await seam.withdrawal(ada, large.id)).status == "broadcast"
    _forget(database, large.id)
    seam.restart_worker()
    await seam.finish()
    assert await seam.rows("SELECT 1 FROM chain_signers WHERE halted_reason IS NOT NULL") == []
    assert (await seam.withdrawal(ada, large.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == 101_000_000
    assert await seam.differences() == []
