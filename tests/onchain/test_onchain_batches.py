"""Batch payouts: a backlog leaves in one transaction, each payment exactly once, gas shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from sqlalchemy import text

from chain.client import ChainClient
from chain.errors import NodeTimeout
from chain.testing import AnvilProcess
from keys.policy import Policy
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import batch as batches
from wallet.onchain.repository import Intent, intent_of
from wallet.onchain.review import resolve
from wallet.testing.databases import ScratchDatabase
from wallet.testing.meddler import Meddler
from wallet.testing.operators import as_operator
from wallet.testing.seam import GWEI, Seam
from wallet.withdrawals import plan

PAYEES = [str(to_checksum_address(f"0x{n:040x}")) for n in range(1 << 150, (1 << 150) + 6)]


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", batches=True)
    await seam.fund_house()
    yield seam
    await seam.close()


async def allowed(seam: Seam) -> str:
    """Somebody with money, after a first backlog that made the house allow the contract."""
    ada = await seam.funded_person(eth="10", usdc="5000")
    first = [await seam.withdraw(ada, "1", "USDC", PAYEES[0]) for _ in range(4)]
    await seam.finish()
    assert [(await seam.withdrawal(ada, one.id)).status for one in first] == ["settled"] * 4
    return ada


async def purposes(seam: Seam) -> dict[str, int]:
    rows = await seam.rows("SELECT purpose, count(*) AS n FROM chain_intents GROUP BY purpose")
    return {row.purpose: row.n for row in rows}


async def paid(seam: Seam) -> list[int]:
    return [await seam.on_chain(payee, "USDC") for payee in PAYEES]


async def test_the_first_backlog_makes_an_allowance_and_waits_for_nobody(seam: Seam) -> None:
    await allowed(seam)
    assert await purposes(seam) == {"withdrawal": 4, "allowance": 1}
    assert await seam.differences() == []


async def test_a_backlog_leaves_in_one_transaction(seam: Seam) -> None:
    ada = await allowed(seam)
    before = await seam.balance(ada, "USDC")
    made = [await seam.withdraw(ada, str(n + 1), "USDC", payee) for n, payee in enumerate(PAYEES)]
    await seam.finish()
    seen = [await seam.withdrawal(ada, one.id) for one in made]
    assert [one.status for one in seen] == ["settled"] * 6
    assert len({one.tx_hash for one in seen}) == 1
    assert await paid(seam) == [5_000_000, *(n * 10**6 for n in range(2, 7))]
    [batch] = await seam.rows("SELECT * FROM chain_intents WHERE purpose = 'payout_batch'")
    members = await seam.rows(
        "SELECT sum(gas_fee_wei) AS fee, count(*) AS n, count(nonce) AS nonces FROM chain_intents"
        " WHERE batch_id = :id", id=batch.id,
    )  # fmt: skip
    assert (members[0].n, members[0].nonces) == (6, 0)
    assert int(members[0].fee) == int(batch.gas_fee_wei)  # shared to the wei
    singly = await seam.rows(
        "SELECT max(gas_used) AS gas FROM chain_intents WHERE purpose = 'withdrawal'"
        " AND batch_id IS NULL"
    )
    assert batch.gas_used < 6 * singly[0].gas
    fees = sum(one.fee.minor for one in seen)
    after = await seam.balance(ada, "USDC")
    assert before.available_minor - after.available_minor == 21 * 10**6 + fees
    assert await seam.differences() == []


async def test_every_block_on_the_way_reconciles(seam: Seam) -> None:
    ada = await allowed(seam)
    for payee in PAYEES:
        await seam.withdraw(ada, "3", "USDC", payee)
    for _ in range(seam.network.confirmations + 4):
        await seam.mine()
        assert await seam.differences() == []
    assert await paid(seam) == [7_000_000, *([3_000_000] * 5)]


async def test_a_member_cannot_be_taken_back_alone(seam: Seam) -> None:
    ada = await allowed(seam)
    made = [await seam.withdraw(ada, "3", "USDC", payee) for payee in PAYEES]
    await seam.runner.tick()
    seen = await seam.withdrawal(ada, made[0].id)
    assert seen.status == "broadcast"
    assert seen.tx_hash is not None and len(seen.attempts) == 1
    with pytest.raises(InvalidState):
        await seam.cancel(ada, made[0].id)
    with pytest.raises(InvalidState):
        await seam.speed_up(ada, made[0].id)
    await seam.finish()
    assert (await seam.withdrawal(ada, made[0].id)).status == "settled"


async def test_a_batch_that_reverts_is_paid_one_by_one_and_its_gas_is_the_houses(
    seam: Seam,
) -> None:
    ada = await allowed(seam)
    made = [await seam.withdraw(ada, "3", "USDC", payee) for payee in PAYEES]
    rpc = seam.opened[0]
    await rpc.call("evm_setAutomine", (False,))
    await seam.runner.tick()  # in the pool
    await _pause(seam)
    await rpc.call("evm_setAutomine", (True,))
    await seam.mine()
    reverted = await seam.rows("SELECT state FROM chain_intents WHERE purpose = 'payout_batch'")
    assert [row.state for row in reverted] == ["mined"]
    await seam.finish()
    await seam.finish()
    seen = [await seam.withdrawal(ada, one.id) for one in made]
    assert [one.status for one in seen] == ["settled"] * 6
    assert len({one.tx_hash for one in seen}) == 6
    assert await paid(seam) == [7_000_000, *([3_000_000] * 5)]
    [entry] = await seam.rows("SELECT kind FROM entries WHERE kind = 'payout_batch'")
    assert entry.kind == "payout_batch"
    assert await seam.differences() == []


async def test_a_fee_bound_as_low_as_can_be_holds_up_no_batch(seam: Seam) -> None:
    """A batch keeps within the tightest bound of its members: such a one goes alone."""
    ada = await allowed(seam)
    for payee in PAYEES:
        await seam.withdraw(ada, "3", "USDC", payee)
    tight = await seam.withdraw(ada, "3", "USDC", PAYEES[0])
    fees = await seam.chain.fees()
    async with seam.db.transaction() as session:
        await session.execute(
            text("UPDATE chain_intents SET fee_ceiling_wei = :low WHERE ref = :ref"),
            {"low": fees.base_fee + fees.tip + 1, "ref": tight.id},
        )
    await seam.runner.tick()
    [batch] = await seam.rows(
        "SELECT id, fee_ceiling_wei FROM chain_intents WHERE purpose = 'payout_batch'"
    )
    assert batch.fee_ceiling_wei >= fees.cap
    rows = await seam.rows(
        "SELECT count(*) AS n FROM chain_intents WHERE batch_id = :id", id=batch.id
    )
    assert rows[0].n == len(PAYEES)


async def test_an_offender_is_left_out(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payment to the payout contract itself, promised before those were refused, makes the whole
    batch revert: it goes alone."""
    monkeypatch.setattr(plan, "check_destination", lambda _network, _asset, to: to)
    ada = await allowed(seam)
    for payee in PAYEES:
        await seam.withdraw(ada, "3", "USDC", payee)
    strange = await seam.withdraw(ada, "3", "USDC", seam.network.contracts["batch_payout"])
    await seam.finish()
    await seam.finish()
    rows = await seam.rows("SELECT count(*) AS n FROM chain_intents WHERE batch_id IS NOT NULL")
    assert rows[0].n == 6
    assert (await seam.withdrawal(ada, strange.id)).status == "settled"
    assert await seam.differences() == []


async def test_a_gas_figure_that_no_node_takes_makes_no_batch(seam: Seam) -> None:
    """A node may say less than any such call costs: sent with that, a batch would hold its nonce,
    and all behind it, for good."""
    ada = await allowed(seam)
    made = [await seam.withdraw(ada, "3", "USDC", payee) for payee in PAYEES]
    lying = Meddler(seam.reach(seam.url, timeout_seconds=5.0))
    lying.alter = lambda method, _params, honest: (
        "0x5208" if method == "eth_estimateGas" else honest
    )
    seam.runner = seam.new_runner(ChainClient(seam.network, lying))
    await seam.runner.tick()
    assert await seam.rows("SELECT FROM chain_intents WHERE purpose = 'payout_batch'") == []
    seam.restart_worker()
    await seam.finish()
    assert [(await seam.withdrawal(ada, one.id)).status for one in made] == ["settled"] * 6
    assert await seam.differences() == []


async def test_an_allowance_whose_margin_is_never_signed_stops_no_payment(seam: Seam) -> None:
    """The token's code takes that much: it ended pass after pass, for everybody."""
    ada = await seam.funded_person(eth="10", usdc="5000")
    made = [await seam.withdraw(ada, "1", "USDC", PAYEES[0]) for _ in range(4)]
    approve = "0x095ea7b3"

    def dear(method: str, params: Any, honest: Any) -> Any:
        asked = method == "eth_estimateGas" and str(params[0].get("data")).startswith(approve)
        return hex(13_000_000) if asked else honest

    meddler = Meddler(seam.reach(seam.url, timeout_seconds=5.0))
    meddler.alter = dear
    seam.runner = seam.new_runner(ChainClient(seam.network, meddler))
    await seam.finish()
    assert [(await seam.withdrawal(ada, one.id)).status for one in made] == ["settled"] * 4


async def test_what_an_operator_must_sign_for_is_in_no_batch(seam: Seam) -> None:
    """Also one that nobody has looked at yet: the signer would refuse the whole batch for it."""
    ada = await allowed(seam)
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    contract = seam.network.tokens[0].contract
    limit = replace(chain.tokens[contract], approve_above=3 * 10**6)
    seam.desk.policy = Policy(
        {chain_id: replace(chain, tokens={contract: limit})}, frozenset({PAYEES[0]})
    )
    large = await seam.withdraw(ada, "4", "USDC", PAYEES[0])
    for payee in PAYEES:
        await seam.withdraw(ada, "3", "USDC", payee)
    await seam.finish()
    assert await paid(seam) == [7_000_000, *([3_000_000] * 5)]
    assert (await purposes(seam))["payout_batch"] == 1
    waits = await seam.withdrawal(ada, large.id)
    assert (waits.status, waits.waiting_for) == ("held", "approval")
    assert await seam.rows("SELECT 1 FROM chain_attempts WHERE refused IS NOT NULL") == []


async def test_rows_that_somebody_altered_are_not_paid(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The call must pay exactly its members, and each member its own withdrawal."""
    ada = await allowed(seam)
    made = [await seam.withdraw(ada, "3", "USDC", payee) for payee in PAYEES]
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        await session.execute(text("ALTER TABLE chain_intents DISABLE TRIGGER USER"))
        await session.execute(
            text("UPDATE chain_intents SET amount_minor = 900000000 WHERE ref = :ref"),
            {"ref": made[0].id},
        )
        await session.execute(text("ALTER TABLE chain_intents ENABLE TRIGGER USER"))
    await owner.dispose()
    await seam.finish()
    assert sum(await paid(seam)) == 4_000_000  # the first four only


async def _pause(seam: Seam) -> None:
    """The contract's owner stops it, dear enough to be mined first: what is on its way reverts."""
    request = {
        "from": seam.faucet,
        "to": seam.network.contracts["batch_payout"],
        "data": "0x8456cb59",
        "gas": hex(100_000),
        "maxPriorityFeePerGas": hex(90 * GWEI),
        "maxFeePerGas": hex(100 * GWEI),
    }
    await seam.opened[0].call("eth_sendTransaction", (request,))


async def test_what_a_rival_has_put_into_a_batch_ends_no_pass(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was looked at while it was alone; the database forbids it a nonce of its own."""
    ada = await allowed(seam)
    made = [await seam.withdraw(ada, "3", "USDC", payee) for payee in PAYEES]
    preparer, real = seam.runner._preparer, seam.runner._preparer._payable
    rival = seam.new_runner()
    [hot] = await seam.signer.hot_addresses()
    batched = False

    async def meanwhile(intent: Intent, address: str) -> bool:
        nonlocal batched
        answer = await real(intent, address)
        if not batched:
            batched = True
            await rival._batcher.run(hot, head=await seam.chain.head())
        return answer

    monkeypatch.setattr(preparer, "_payable", meanwhile)
    assert await preparer.run(hot, head=await seam.chain.head()) == 0
    assert batched and (await purposes(seam))["payout_batch"] == 1
    await seam.finish()
    assert [(await seam.withdrawal(ada, one.id)).status for one in made] == ["settled"] * 6
    assert await seam.differences() == []


async def test_a_batch_that_takes_the_node_too_long_to_try_out_is_none(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pass ended there: none of its members was paid, nor anything else."""
    ada = await allowed(seam)
    made = [await seam.withdraw(ada, "1", "USDC", payee) for payee in PAYEES]
    real = seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        if to == seam.network.contracts["batch_payout"]:
            await asyncio.sleep(0.5)
            raise NodeTimeout("the node did not answer in time")
        return await real(from_, to, value, data, *more)

    monkeypatch.setattr(batches, "ESTIMATE_SECONDS", 0.1)
    monkeypatch.setattr(seam.chain, "estimate_gas", estimate)
    await seam.finish()
    assert [(await seam.withdrawal(ada, one.id)).status for one in made] == ["settled"] * 6
    assert await purposes(seam) == {"withdrawal": 10, "allowance": 1}


@pytest.mark.parametrize("status", ["closed", "frozen"])
async def test_a_member_whose_books_refuse_its_end_keeps_no_other_at_mined(
    seam: Seam, status: str
) -> None:
    """Its account was closed meanwhile: the batch was never booked, and 99 others with it."""
    ada, bob = await allowed(seam), await seam.funded_person()
    hers = [await seam.withdraw(ada, "1", "USDC", payee) for payee in PAYEES[:4]]
    his = await seam.withdraw(bob, "7", "USDC", PAYEES[4])
    await seam.runner.tick()
    set_status = "SELECT ledger_set_status(id, :to) FROM accounts WHERE principal_id = :p"
    await seam.rows(set_status, p=bob, to=status)
    await seam.finish()
    assert (await purposes(seam))["payout_batch"] == 1
    assert {(await seam.withdrawal(ada, one.id)).status for one in hers} == {"settled"}
    seen = await seam.withdrawal(bob, his.id)
    if status == "closed":
        assert (seen.status, seen.failure_code) == ("in_review", "books_refuse_account_closed")
        [case] = await seam.rows("SELECT kind, what FROM cases WHERE status = 'open'")
        assert case.kind == "payment_in_review" and "the books refused" in case.what
        async with as_operator(seam.db) as session:
            await session.execute(text(set_status), {"p": bob, "to": "open"})
        [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=his.id)
        await resolve(seam.runner._desk, row.intent_id, by="bea")
        seen = await seam.withdrawal(bob, his.id)
    assert (seen.status, seen.failure_code) == ("settled", None)
    assert (await seam.balance(bob, "USDC")).held_minor == 0
    assert await seam.differences() == []


async def test_a_member_that_was_in_review_already_bears_its_share_of_the_gas(seam: Seam) -> None:
    """Its batch was in review, too; that one ended, and the books refused this member's end."""
    ada, bob = await allowed(seam), await seam.funded_person()
    hers = [await seam.withdraw(ada, "1", "USDC", payee) for payee in PAYEES[:4]]
    his = await seam.withdraw(bob, "7", "USDC", PAYEES[4])
    await seam.runner.tick()
    desk = seam.runner._desk
    [batch] = await seam.rows("SELECT * FROM chain_intents WHERE purpose = 'payout_batch'")
    await desk.send_to_review(intent_of(batch), "foreign_transaction", halt=False)
    set_status = "SELECT ledger_set_status(id, :to) FROM accounts WHERE principal_id = :p"
    await seam.rows(set_status, p=bob, to="closed")
    await seam.finish()
    await resolve(desk, batch.id, by="bea")
    assert {(await seam.withdrawal(ada, one.id)).status for one in hers} == {"settled"}
    assert (await seam.withdrawal(bob, his.id)).status == "in_review"
    async with as_operator(seam.db) as session:
        await session.execute(text(set_status), {"p": bob, "to": "open"})
    [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=his.id)
    await resolve(desk, row.intent_id, by="bea")
    assert (await seam.withdrawal(bob, his.id)).status == "settled"
    assert await seam.differences() == []
