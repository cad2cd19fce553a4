"""A database that was restored has payments in its queue that a lost batch has made already."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from chain.errors import NodeRejected
from chain.testing import AnvilProcess
from tests.onchain.older_signer import no_pool, silent
from tests.onchain.test_onchain_lost_rows import _lose
from wallet import cases, cli_operator
from wallet.cli_cases import close
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import casework, runner
from wallet.onchain.desk import leadership
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam
from wallet.withdrawals import debt

PAYEES = [str(to_checksum_address(f"0x{n:040x}")) for n in range(1 << 150, (1 << 150) + 6)]
PAID = [3_000_000] * 6
ELSEWHERE = "0x00000000000000000000000000000000000A11cE"
# As before the batch: its members wait, and their nonce was never given.
OPEN = "b.purpose = 'payout_batch' AND b.state = 'sent'"
BEFORE = (
    f"DELETE FROM chain_attempts a USING chain_intents b WHERE a.intent_id = b.id AND {OPEN}",
    "UPDATE withdrawals w SET status = 'held' FROM chain_intents i JOIN chain_intents b"
    f" ON b.id = i.batch_id WHERE i.id = w.intent_id AND {OPEN}",
    "UPDATE chain_signers s SET next_nonce = b.nonce FROM chain_intents b"
    f" WHERE {OPEN} AND s.address = b.from_address",
    # Another address has its turn first.
    "UPDATE chain_signers s SET created_at = clock_timestamp() FROM chain_intents b"
    f" WHERE {OPEN} AND s.address = b.from_address",
    "UPDATE chain_intents i SET state = 'queued', batch_id = NULL FROM chain_intents b"
    f" WHERE b.id = i.batch_id AND {OPEN}",
    f"DELETE FROM chain_intents b WHERE {OPEN}",
)


async def _opened(db: Database, anvil: AnvilProcess, folder: Path, hot_keys: int) -> Seam:
    seam = await Seam.open(db, anvil.url, folder / "signer", batches=True, hot_keys=hot_keys)
    await seam.fund_house()
    return seam


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await _opened(db, anvil, tmp_path, 1)
    yield seam
    await seam.close()


@pytest.fixture
async def lanes(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await _opened(db, anvil, tmp_path, 2)
    yield seam
    await seam.close()


async def _paid_and_lost(
    seam: Seam, database: ScratchDatabase, *, mined: bool = True, backlogs: int = 0
) -> tuple[str, list[str]]:
    """A batch that is on chain, or in the pool, and books of before it."""
    ada = await seam.funded_person(eth="10", usdc="5000")
    hot = await seam.signer.hot_addresses()
    for _ in range(backlogs or len(hot)):  # the first ones make the allowances
        for _ in range(4):
            await seam.withdraw(ada, "1", "USDC", ELSEWHERE)
        await seam.finish()
    made = [await seam.withdraw(ada, "3", "USDC", payee) for payee in PAYEES]
    await seam.automine(mined)
    await seam.runner.tick()
    assert len(await seam.rows(f"SELECT i.id FROM chain_intents i, chain_intents b WHERE {OPEN}"
                               " AND i.batch_id = b.id")) == 6  # fmt: skip
    _lose(database, *BEFORE)
    seam.restart_worker()
    return ada, [one.id for one in made]


def _services(seam: Seam) -> Any:
    return SimpleNamespace(
        db=seam.operators, chains={"local": seam.chain}, assets=seam.assets, signer=seam.signer,
        networks={"local": seam.network},
    )  # fmt: skip


async def _resume(seam: Seam, address: str, *, told: bool = True) -> None:
    count = await seam.chain.nonce(address) if told else None
    chosen = argparse.Namespace(
        network="local", address=address, by="bea", next_nonce=count, action="resume-signer"
    )
    await cli_operator.resume(_services(seam), chosen)


async def _paid(seam: Seam) -> list[int]:
    return [await seam.on_chain(payee, "USDC") for payee in PAYEES]


async def test_what_a_lost_batch_paid_is_settled_and_not_paid_again(
    seam: Seam, database: ScratchDatabase
) -> None:
    ada, made = await _paid_and_lost(seam, database)
    await seam.finish()
    await seam.finish()
    [row] = await seam.rows("SELECT address, halted_reason FROM chain_signers")
    assert row.halted_reason == "foreign_transaction"
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made[0])
    late = await seam.withdraw(ada, "7", "USDC", seam.faucet)
    assert (await seam.cancel(ada, late.id)).status == "cancelled"  # made after all that
    await _resume(seam, row.address)
    later = await seam.withdraw(ada, "7", "USDC", seam.faucet)
    for _ in range(3):
        await seam.finish()
    assert await _paid(seam) == PAID
    assert [(await seam.withdrawal(ada, one)).status for one in made] == ["settled"] * 6
    assert (await seam.withdrawal(ada, later.id)).status == "settled"
    assert await seam.differences() == []


async def test_nor_what_a_lost_batch_paid_by_an_earlier_contract(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The networks file has got another one since; batches that are not lost name the first."""
    ada, made = await _paid_and_lost(seam, database, backlogs=3)
    seam.network = replace(
        seam.network, contracts={**seam.network.contracts, "batch_payout": ELSEWHERE}
    )
    seam.restart_worker()
    await seam.finish()
    [row] = await seam.rows("SELECT address FROM chain_signers")
    await _resume(seam, row.address)
    for _ in range(3):
        await seam.finish()
    assert await _paid(seam) == PAID
    assert [(await seam.withdrawal(ada, one)).status for one in made] == ["settled"] * 6
    assert await seam.differences() == []


async def test_nor_by_another_hot_address_meanwhile(lanes: Seam, database: ScratchDatabase) -> None:
    """Its own nonces are as its row has them."""
    ada, made = await _paid_and_lost(lanes, database)
    for _ in range(3):
        await lanes.finish()
    assert await _paid(lanes) == PAID
    assert {(await lanes.withdrawal(ada, one)).status for one in made} == {"held"}
    [row] = await lanes.rows("SELECT address FROM chain_signers WHERE halted_reason IS NOT NULL")
    await _resume(lanes, row.address)
    await lanes.finish()
    assert await _paid(lanes) == PAID
    assert {(await lanes.withdrawal(ada, one)).status for one in made} == {"settled"}
    assert await lanes.differences() == []


async def test_nor_while_the_lost_batch_waits_for_a_block(
    lanes: Seam, database: ScratchDatabase
) -> None:
    """As after a switch to a database that lagged by seconds: only the pool has its nonce."""
    ada, made = await _paid_and_lost(lanes, database, mined=False)
    later = await lanes.withdraw(ada, "7", "USDC", ELSEWHERE)
    await lanes.runner.tick()
    with pytest.raises(InvalidState, match="may be paid already"):
        await lanes.cancel(ada, made[0])
    await lanes.runner.tick()
    assert await lanes.rows("SELECT 1 FROM chain_intents WHERE state = 'sent'") == []
    await lanes.automine(True)
    await lanes.finish()
    [row] = await lanes.rows("SELECT address FROM chain_signers WHERE halted_reason IS NOT NULL")
    await _resume(lanes, row.address)
    await lanes.finish()
    assert await _paid(lanes) == PAID
    assert {(await lanes.withdrawal(ada, one)).status for one in (*made, later.id)} == {"settled"}
    assert await lanes.differences() == []


async def test_a_lost_batch_that_waits_is_a_case_and_nothing_of_it_is_taken_back(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends by itself, once no node has it or a block does."""
    monkeypatch.setattr(runner, "CALM_SECONDS", 0.0)
    silent(seam, monkeypatch)
    ada, made = await _paid_and_lost(seam, database, mined=False)
    for _ in range(2):
        await seam.runner.tick()
    ours = "SELECT status FROM cases WHERE kind = 'nonce_of_nobody'"
    assert [row.status for row in await seam.rows(ours)] == ["open"]
    async with seam.operators.transaction() as session:
        [case] = await cases.listed(session, open_only=True, kind="nonce_of_nobody")
        with pytest.raises(InvalidState, match="still stands"):  # its worker closes it
            await close(session, case.id, by="ada", note="no wish to see it", networks={"local"})
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made[0])
    later = await seam.withdraw(ada, "7", "USDC", ELSEWHERE)
    assert (await seam.cancel(ada, later.id)).status == "cancelled"
    await seam.automine(True)
    await seam.finish()
    assert [row.status for row in await seam.rows(ours)] == ["closed"]


async def test_nothing_is_taken_back_before_a_worker_has_looked(
    seam: Seam, database: ScratchDatabase
) -> None:
    """As the API finds a copy that was just restored, whose worker is not there yet."""
    ada, made = await _paid_and_lost(seam, database)
    _lose(database, "UPDATE network_state SET compared_in = 'of another'")
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made[0])
    await seam.finish()
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made[0])
    later = await seam.withdraw(ada, "7", "USDC", ELSEWHERE)
    assert (await seam.cancel(ada, later.id)).status == "cancelled"
    [row] = await seam.rows("SELECT compared_in FROM network_state")
    assert row.compared_in.count("/") == 2


OLDEST_ALONE = (
    "UPDATE chain_intents SET created_at = created_at - interval '1 h', alone = true WHERE id ="
    " (SELECT max(id) FROM chain_intents WHERE state = 'queued')"
)


async def test_nor_by_the_only_hot_address_while_it_waits(
    seam: Seam, database: ScratchDatabase
) -> None:
    """What it gave that nonce to instead is refused by the signer; what is behind it was not."""
    ada, made = await _paid_and_lost(seam, database, mined=False)
    _lose(database, OLDEST_ALONE)
    for _ in range(3):
        await seam.runner.tick()
    await seam.automine(True)
    await seam.finish()
    assert await _paid(seam) == PAID
    [row] = await seam.rows("SELECT address, halted_reason FROM chain_signers")
    assert row.halted_reason == "signer_nonce_used"
    await _resume(seam, row.address)
    await seam.finish()
    assert await _paid(seam) == PAID
    assert {(await seam.withdrawal(ada, one)).status for one in made} == {"settled"}
    assert await seam.differences() == []


async def test_nor_where_the_node_says_nothing_of_its_pool(
    lanes: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signer says that the nonce was used: nothing behind it is signed, nobody else pays."""
    await _paid_and_lost(lanes, database, mined=False)
    _lose(database, OLDEST_ALONE)

    no_pool(lanes, monkeypatch)
    silent(lanes, monkeypatch)
    [lost] = await lanes.rows("SELECT address FROM chain_signers ORDER BY created_at DESC LIMIT 1")
    [other] = await lanes.rows(
        "SELECT address FROM chain_signers WHERE address <> :it", it=lost.address
    )
    async with leadership(lanes.db, f"signer/local/{other.address}"):
        await lanes.runner.tick()
    for _ in range(3):
        await lanes.runner.tick()
    reasons = await lanes.rows("SELECT halted_reason FROM chain_signers ORDER BY created_at")
    assert [row.halted_reason for row in reasons] == [None, "signer_nonce_used"]
    await lanes.automine(True)
    await lanes.finish()
    assert await _paid(lanes) == PAID


async def test_what_may_be_paid_is_not_given_back_where_its_recipient_refuses_it(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take it but once; nor is it ended for what its owner owes."""
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "3", "USDC", ELSEWHERE)
    await seam.runner._introduce_signers(0, set())
    [hot] = await seam.signer.hot_addresses()
    async with seam.db.transaction() as session:
        await casework.halt_signer(
            session, network="local", address=hot, reason="foreign_transaction"
        )
    await _resume(seam, hot)
    later = await seam.withdraw(ada, "2", "USDC", ELSEWHERE)

    async def refused(*_: Any) -> int:
        raise NodeRejected(3, "execution reverted")

    monkeypatch.setattr(seam.chain, "estimate_gas", refused)
    for _ in range(3):
        await seam.runner.tick()
    kept = await seam.withdrawal(ada, made.id)
    assert (kept.status, kept.waiting_for) == ("held", "review")
    assert (await seam.withdrawal(ada, later.id)).status == "failed"

    async def in_debt(*_: Any) -> bool:
        return True

    monkeypatch.setattr(debt, "owes", in_debt)
    await debt.OwedWithdrawals(seam.db, seam.assets).take_back(ada)
    assert (await seam.withdrawal(ada, made.id)).status == "held"
