"""A database that was restored has the rows of its payments again, by what the signer knows."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chain.testing import AnvilProcess
from keys.errors import SignerUnavailable
from tests.onchain.test_onchain_lost_rows import BEFORE_ANY_NONCE, HOUSE_OF_BOB, OUTSIDE, _lose
from tests.onchain.test_onchain_strangers import _spend_from_hot
from wallet import cli_operator
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import IntentRunner, casework, signers
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam
from wallet.withdrawals import Withdrawal

PAID = 400 * 10**6


@pytest.fixture
async def lanes(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", hot_keys=2)
    await seam.fund_house()
    yield seam
    await seam.close()


async def _two(seam: Seam) -> tuple[str, str, Withdrawal, Withdrawal]:
    """Two people's payments, in the pool at nonces 0 and 1."""
    bob, ada = await seam.funded_person(), await seam.funded_person()
    await seam.automine(False)
    other = await seam.withdraw(bob, "100", "USDC", HOUSE_OF_BOB)
    await seam.pass_once()
    made = await seam.withdraw(ada, "400", "USDC", OUTSIDE)
    await seam.pass_once()
    return bob, ada, other, made


async def _younger_first(seam: Seam, database: ScratchDatabase, made: Withdrawal) -> None:
    """Books of before both, in which the second has its turn first."""
    [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=made.id)
    _lose(
        database,
        *BEFORE_ANY_NONCE,
        "UPDATE chain_intents SET created_at = created_at - interval '1 hour'"
        f" WHERE id = '{row.intent_id}'",
    )
    seam.restart_worker()


async def _halted(seam: Seam) -> set[str | None]:
    rows = await seam.rows("SELECT halted_reason FROM chain_signers")
    return {row.halted_reason for row in rows}


async def _settled(seam: Seam, *of: tuple[str, Withdrawal]) -> None:
    for person, made in of:
        assert (await seam.withdrawal(person, made.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == PAID
    assert await seam.on_chain(HOUSE_OF_BOB, "USDC") == 100 * 10**6
    assert await seam.differences() == []
    assert await _halted(seam) == {None}


@pytest.mark.parametrize("where", ["in the pool", "in a block", "in final blocks", "nowhere"])
async def test_what_was_paid_goes_on_at_its_own_nonce_without_anybody(
    seam: Seam, database: ScratchDatabase, where: str
) -> None:
    bob, ada, other, made = await _two(seam)
    if where == "nowhere":
        await seam.node("anvil_dropAllTransactions")
    elif where != "in the pool":
        await seam.dev.mine(1 if where == "in a block" else seam.network.confirmations + 2)
    sent = await seam.rows("SELECT tx_hash FROM chain_attempts ORDER BY tx_hash")
    await _younger_first(seam, database, made)
    for _ in range(2):
        await seam.pass_once()
    assert await seam.rows("SELECT tx_hash FROM chain_attempts ORDER BY tx_hash") == sent
    await seam.automine(True)
    await seam.finish()
    await _settled(seam, (bob, other), (ada, made))
    after = await seam.withdraw(ada, "1", "USDC", seam.faucet)
    await seam.finish()
    assert (await seam.withdrawal(ada, after.id)).status == "settled"


async def test_nor_does_another_hot_address_pay_it(lanes: Seam, database: ScratchDatabase) -> None:
    """Whichever has its turn first; and the node has forgotten what it had."""
    bob, ada, other, made = await _two(lanes)
    await lanes.node("anvil_dropAllTransactions")
    sent = await lanes.rows("SELECT tx_hash FROM chain_attempts ORDER BY tx_hash")
    await _younger_first(lanes, database, made)
    _lose(
        database,
        "UPDATE chain_signers SET created_at = clock_timestamp() - interval '1 s' *"
        " (row_number - 1) FROM (SELECT address AS a, row_number() OVER (ORDER BY created_at)"
        " FROM chain_signers) n WHERE a = address",
    )
    for _ in range(3):
        await lanes.pass_once()
    assert await lanes.rows("SELECT tx_hash FROM chain_attempts ORDER BY tx_hash") == sent
    await lanes.automine(True)
    await lanes.finish()
    await _settled(lanes, (bob, other), (ada, made))


async def test_of_a_copy_from_before_the_first_payment_nothing_is_taken_back_unseen(
    seam: Seam, database: ScratchDatabase
) -> None:
    """It knows no hot address yet. A worker's first pass looks, also where nothing waits."""
    bob, ada, other, made = await _two(seam)
    await _younger_first(seam, database, made)
    _lose(
        database,
        "DELETE FROM chain_signers",
        "UPDATE network_state SET compared_in = 'of another'",
    )
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made.id)
    await seam.pass_once()
    assert (await seam.withdrawal(ada, made.id)).status == "broadcast"
    await seam.automine(True)
    await seam.finish()
    await _settled(seam, (bob, other), (ada, made))


async def test_the_first_pass_looks_where_nothing_waits(
    seam: Seam, database: ScratchDatabase
) -> None:
    _lose(database, "UPDATE network_state SET compared_in = 'of another'")
    await seam.runner.tick()
    [row] = await seam.rows("SELECT compared_in FROM network_state")
    assert row.compared_in.count("/") == 2
    assert len(await seam.rows("SELECT FROM chain_signers")) == 1


async def test_what_was_compared_in_another_database_says_nothing_of_the_one_that_took_over(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass may have begun before it did."""
    _lose(database, "UPDATE network_state SET compared_in = 'of another'")
    real = IntentRunner._nonces_of_nobody

    async def taken_over(*asked: Any) -> Any:
        answer = await real(*asked)
        monkeypatch.setattr(signers, "INSTANCE", "'of a third'")
        return answer

    monkeypatch.setattr(IntentRunner, "_nonces_of_nobody", taken_over)
    await seam.runner.tick()
    [row] = await seam.rows("SELECT compared_in FROM network_state")
    assert row.compared_in == "of another"


async def test_while_the_signer_is_away_nothing_is_given(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, ada, other, made = await _two(seam)
    await _younger_first(seam, database, made)

    async def away(*_: object, **__: object) -> list[object]:
        raise SignerUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(seam.signer, "signed_before", away)
        await seam.pass_once()
        patched.setattr(seam.signer, "signed_from", away)
        await seam.pass_once()
    given = await seam.rows("SELECT FROM chain_intents WHERE nonce IS NOT NULL")
    assert len(given) in (0, 2)  # by the first of the two questions, which was answered once
    await seam.automine(True)
    await seam.finish()
    await _settled(seam, (bob, other), (ada, made))


async def test_what_was_signed_for_nobody_here_stops_the_address_before_anybody_is_refused(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The copy is older than the first payment: its nonce is not given to the second, which waits
    until an operator lets the address go on, and has its own row then."""
    bob, ada, other, made = await _two(seam)
    _lose(database, *BEFORE_ANY_NONCE)
    await seam.cancel(bob, other.id)  # its payer was faster than any worker
    seam.restart_worker()
    await seam.pass_once()
    assert await _halted(seam) == {"signer_nonce_used"}
    assert (await seam.withdrawal(ada, made.id)).status == "held"
    assert await seam.rows("SELECT FROM cases WHERE kind = 'signer_halted'") != []
    await seam.automine(True)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "held"
    await _resume(seam)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == PAID


async def test_a_row_that_nobody_vouches_for_is_not_written_again(
    seam: Seam, database: ScratchDatabase
) -> None:
    bob, _, other, made = await _two(seam)
    await seam.node("anvil_dropAllTransactions")
    await _younger_first(seam, database, made)
    _lose(database, f"UPDATE withdrawals SET amount_minor = 1 WHERE id = '{other.id}'")
    for _ in range(2):
        await seam.pass_once()
    assert (await seam.withdrawal(bob, other.id)).status == "held"
    assert await _halted(seam) == {"signer_nonce_used"}


async def test_a_payment_that_was_sped_up_is_ended_by_what_was_mined(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The journal tells the first bytes; the chain has others of the same nonce."""
    bob, ada, other, made = await _two(seam)
    await seam.speed_up(ada, made.id)
    for _ in range(3):
        await seam.pass_once()
    await seam.automine(True)
    await seam.dev.mine(seam.network.confirmations + 2)
    await _younger_first(seam, database, made)
    for _ in range(3):
        await seam.finish()
    assert (await seam.withdrawal(bob, other.id)).status == "settled"
    assert (await seam.withdrawal(ada, made.id)).status == "in_review"
    services = _services(seam)
    chosen = argparse.Namespace(payment=made.id, by="bea", action="resolve-review")
    await cli_operator._resolve(services, chosen)
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.differences() == []


def _halted_and_unpaid(
    seam: Seam, database: ScratchDatabase, made: Withdrawal, *, next_nonce: int
) -> None:
    """Books as they were while the hot address stood halted, before this was paid."""
    _lose(
        database,
        f"DELETE FROM chain_attempts a USING withdrawals w WHERE w.id = '{made.id}'"
        " AND a.intent_id = w.intent_id",
        "UPDATE chain_intents SET state = 'queued', from_address = NULL, nonce = NULL, reason ="
        " NULL, mined_tx_hash = NULL, mined_kind = NULL, mined_block = NULL, mined_block_hash ="
        f" NULL, mined_status = NULL, gas_used = NULL, gas_fee_wei = NULL WHERE ref = '{made.id}'",
        f"UPDATE withdrawals SET status = 'held' WHERE id = '{made.id}'",
        "UPDATE chain_signers SET halted_reason = 'foreign_transaction', halted_at ="
        f" clock_timestamp(), next_nonce = {next_nonce}",
        "UPDATE cases SET status = 'open', closed_at = NULL, closed_by = NULL, closing_note = NULL"
        " WHERE kind = 'signer_halted'",
    )
    seam.restart_worker()


async def test_a_copy_of_while_it_stood_halted_gives_nothing_back_that_was_paid_since(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The case of that halt is older than the payment."""
    ada = await seam.funded_person()
    await seam.withdraw(ada, "1", "USDC", seam.faucet)
    await seam.finish()
    await _spend_from_hot(seam, 1)
    await seam.withdraw(ada, "1", "USDC", seam.faucet)
    await seam.finish()
    assert await _halted(seam) == {"foreign_transaction"}
    made = await seam.withdraw(ada, "400", "USDC", OUTSIDE)
    await _resume(seam)
    await seam.finish()
    assert await seam.on_chain(OUTSIDE, "USDC") == PAID
    _halted_and_unpaid(seam, database, made, next_nonce=2)
    await seam.pass_once()
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made.id)


@pytest.mark.parametrize("mined", [True, False])
async def test_nor_what_its_signer_alone_knows_of(
    seam: Seam, database: ScratchDatabase, mined: bool
) -> None:
    """All its nonces are explained, by a payment that waits here and has no row while it stands."""
    ada = await seam.funded_person()
    await seam.withdraw(ada, "1", "USDC", seam.faucet)
    await seam.finish()
    [row] = await seam.rows("SELECT address FROM chain_signers")
    async with seam.db.transaction() as session:  # a node had shown no receipt
        await casework.halt_signer(
            session, network="local", address=row.address, reason="foreign_transaction"
        )
    made = await seam.withdraw(ada, "400", "USDC", OUTSIDE)
    await seam.automine(mined)
    await _resume(seam)
    await seam.pass_once()
    assert (await seam.withdrawal(ada, made.id)).status in ("broadcast", "mined")
    _halted_and_unpaid(seam, database, made, next_nonce=1)
    _lose(database, "UPDATE network_state SET compared_in = 'of another'")
    for _ in range(2):
        await seam.pass_once()
    with pytest.raises(InvalidState, match="may be paid already"):
        await seam.cancel(ada, made.id)
    if mined:
        await seam.dev.mine(seam.network.confirmations + 2)
    await _resume(seam)
    await seam.automine(True)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == PAID


async def test_an_address_that_was_used_elsewhere_goes_on_behind_all_its_nonces(
    seam: Seam,
) -> None:
    """So far ahead of what it knows a signer signs nothing, until it knows that they are used."""
    ada = await seam.funded_person()
    await seam.withdraw(ada, "1", "USDC", seam.faucet)
    await seam.finish()
    for nonce in range(1, 71):
        await _spend_from_hot(seam, nonce)
    made = await seam.withdraw(ada, "400", "USDC", OUTSIDE)
    await seam.finish()
    assert await _halted(seam) == {"foreign_transaction"}
    await _resume(seam)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await _halted(seam) == {None}


def _services(seam: Seam) -> Any:
    return SimpleNamespace(
        db=seam.operators, chains={"local": seam.chain}, assets=seam.assets, signer=seam.signer,
        networks={"local": seam.network},
    )  # fmt: skip


async def _resume(seam: Seam) -> None:
    [row] = await seam.rows("SELECT address FROM chain_signers")
    count = await seam.chain.nonce(row.address)
    chosen = argparse.Namespace(
        network="local", address=row.address, by="bea", next_nonce=count, action="resume-signer"
    )
    await cli_operator.resume(_services(seam), chosen)
