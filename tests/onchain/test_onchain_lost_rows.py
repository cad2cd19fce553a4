"""What the chain has and our rows or a node do not show: it is found, or nothing is given back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from eth_account import Account

from chain.blocks import Block, Receipt
from chain.client import ChainClient
from chain.errors import NodeRejected
from chain.testing import AnvilProcess
from chain.transactions import decode_unsigned, encode_unsigned
from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.testing import test_seed as seed_of_tests
from tests.onchain.older_signer import silent
from tests.onchain.test_onchain_strangers import _spend_from_hot
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain.review import resolve
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import FIRST_HOT_INDEX, Seam
from wallet.withdrawals import Withdrawal

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
HOUSE_OF_BOB = "0x00000000000000000000000000000000000b0b00"
LOSE_BYTES = (
    "UPDATE chain_attempts SET raw = NULL, tx_hash = NULL, signed_at = NULL, sends = 0,"
    " first_sent_at = NULL, last_sent_at = NULL, late_at = NULL, last_outcome = NULL,"
    " last_message = NULL WHERE network = 'local'"
)


@pytest.fixture
async def batching(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", batches=True)
    await seam.fund_house()
    yield seam
    await seam.close()


def _lose(database: ScratchDatabase, *statements: str) -> None:
    """The rows as an older copy of the database has them."""
    where = database.server.conninfo(database=database.name)
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


async def _sent(seam: Seam) -> tuple[str, Withdrawal]:
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, "400", "USDC", OUTSIDE)
    await seam.pass_once()
    return ada, made


async def _mined(seam: Seam) -> None:
    await seam.automine(True)
    await seam.dev.mine(1)
    seam.restart_worker()
    await seam.finish()


async def _ask(seam: Seam, made: Withdrawal) -> None:
    [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=made.id)
    await resolve(seam.runner._desk, row.intent_id, by="bea")


async def _in_review(seam: Seam, ada: str, made: Withdrawal) -> bool:
    """As long as it is, all that is held stays held."""
    seen = await seam.withdrawal(ada, made.id)
    balance = await seam.balance(ada, "USDC")
    return seen.status == "in_review" and balance.held_minor >= 400 * 10**6


async def _settled_once(seam: Seam, ada: str, made: Withdrawal) -> None:
    done = await seam.withdrawal(ada, made.id)
    balance = await seam.balance(ada, "USDC")
    assert done.status == "settled" and await seam.on_chain(OUTSIDE, "USDC") == 400 * 10**6
    assert (balance.total_minor, balance.held_minor) == (600 * 10**6 - done.fee.minor, 0)
    assert await seam.differences() == []


def _no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    async def null(_: ChainClient, hashes: Sequence[str]) -> list[None]:
        return [None for _ in hashes]

    monkeypatch.setattr(ChainClient, "receipts", null)


async def test_a_node_without_an_index_does_not_prove_that_we_never_paid(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps receipts by block: what was paid is settled."""
    ada, made = await _sent(seam)
    with monkeypatch.context() as patched:
        _no_index(patched)
        await _mined(seam)
        assert await _in_review(seam, ada, made)
        await _ask(seam, made)
    await _settled_once(seam, ada, made)


async def test_a_node_that_kept_no_receipts_gives_nothing_back(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pruned(_: ChainClient, block: Block) -> list[Receipt]:
        raise NodeRejected(-32000, "history has been pruned")

    ada, made = await _sent(seam)
    with monkeypatch.context() as patched:
        _no_index(patched)
        patched.setattr(ChainClient, "block_receipts", pruned)
        await _mined(seam)
        with pytest.raises(InvalidState, match="archive node"):
            await _ask(seam, made)
        assert await _in_review(seam, ada, made)
    await _ask(seam, made)
    await _settled_once(seam, ada, made)


async def test_a_node_that_shows_neither_states_nor_blocks_gives_nothing_back(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ChainClient.nonce_at

    async def young(self: ChainClient, address: str, number: int) -> int:
        if number < (await self.head()).number - seam.network.confirmations:
            raise NodeRejected(-32000, "missing trie node")
        return await real(self, address, number)

    async def none(_: ChainClient, numbers: Sequence[int]) -> list[None]:
        return [None for _ in numbers]

    ada, made = await _sent(seam)
    with monkeypatch.context() as patched:
        _no_index(patched)
        patched.setattr(ChainClient, "nonce_at", young)
        await _mined(seam)
        with patched.context() as blocks:
            blocks.setattr(ChainClient, "full_blocks", none)
            with pytest.raises(InvalidState, match="does not show by which"):
                await _ask(seam, made)
        assert await _in_review(seam, ada, made)
        await _ask(seam, made)  # blocks without states are enough
    await _settled_once(seam, ada, made)


async def test_a_copy_that_lost_the_signed_bytes_finds_the_payment(
    seam: Seam, database: ScratchDatabase
) -> None:
    ada, made = await _sent(seam)
    _lose(
        database,
        LOSE_BYTES,
        "UPDATE chain_intents SET state = 'allocated'",
        "UPDATE withdrawals SET status = 'held'",
        "DELETE FROM withdrawal_events WHERE type IN ('withdrawal.signed', 'withdrawal.broadcast')",
    )
    await _mined(seam)
    assert await _in_review(seam, ada, made)
    await _ask(seam, made)
    await _settled_once(seam, ada, made)
    [row] = await seam.rows(
        "SELECT a.seq, a.kind, a.tx_hash = i.mined_tx_hash AS same, a.raw FROM chain_attempts a"
        " JOIN chain_intents i ON i.id = a.intent_id"
    )
    assert (row.seq, row.kind, row.same) == (1, "pay", True) and row.raw is not None


async def test_a_copy_that_lost_a_bump_finds_the_payment(
    seam: Seam, database: ScratchDatabase
) -> None:
    ada, made = await _sent(seam)
    await seam.speed_up(ada, made.id)
    for _ in range(3):
        await seam.pass_once()
    [bump] = await seam.rows("SELECT tx_hash FROM chain_attempts WHERE kind = 'bump'")
    _lose(database, "DELETE FROM chain_attempts WHERE kind = 'bump'")
    await _mined(seam)
    assert await _in_review(seam, ada, made)
    await _ask(seam, made)
    await _settled_once(seam, ada, made)
    rows = await seam.rows("SELECT seq, kind, tx_hash FROM chain_attempts ORDER BY seq")
    assert [(row.seq, row.kind) for row in rows] == [(1, "pay"), (2, "bump")]
    assert rows[1].tx_hash == bump.tx_hash


async def test_a_copy_that_lost_a_cancel_books_its_gas(
    seam: Seam, database: ScratchDatabase
) -> None:
    ada, made = await _sent(seam)
    await seam.cancel(ada, made.id)
    for _ in range(3):
        await seam.pass_once()
    _lose(
        database,
        "DELETE FROM chain_attempts WHERE kind = 'cancel'",
        "UPDATE chain_intents SET cancel_requested_at = NULL, speed_up_requested_at = NULL",
    )
    await _mined(seam)
    assert await _in_review(seam, ada, made)
    await _ask(seam, made)
    done = await seam.withdrawal(ada, made.id)
    balance = await seam.balance(ada, "USDC")
    assert (done.status, balance.held_minor) == ("failed", 0)
    assert await seam.on_chain(OUTSIDE, "USDC") == 0
    assert await seam.differences() == []


async def test_a_copy_that_may_have_paid_at_another_nonce_gives_nothing_back(seam: Seam) -> None:
    """At our nonce is a stranger's; above it is this payment, at a nonce these books never gave."""
    ada, made = await _sent(seam)
    await seam.node("anvil_dropAllTransactions")
    await _spend_from_hot(seam, 0)
    [row] = await seam.rows("SELECT unsigned FROM chain_attempts")
    await _pay_with_hot_key(seam, encode_unsigned(replace(decode_unsigned(row.unsigned), nonce=1)))
    await _mined(seam)
    with pytest.raises(InvalidState, match="old copy"):
        await _ask(seam, made)
    assert await _in_review(seam, ada, made)


@pytest.fixture
def older(seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
    silent(seam, monkeypatch)


@pytest.mark.usefixtures("older")
async def test_what_the_signer_signed_at_another_nonce_is_not_given_back(
    seam: Seam, database: ScratchDatabase
) -> None:
    """The copy gives the payment a second nonce, and a stranger uses that one."""
    ada, made = await _sent(seam)
    await seam.dev.mine(1)
    _lose(
        database,
        "DELETE FROM chain_attempts",
        "UPDATE chain_intents SET state = 'queued', from_address = NULL, nonce = NULL",
        "UPDATE withdrawals SET status = 'held'",
        "DELETE FROM withdrawal_events WHERE type <> 'withdrawal.held'",
    )
    await seam.pass_once()
    seen = await seam.withdrawal(ada, made.id)
    assert (seen.status, seen.failure_code) == ("in_review", "signer_intent_reused")
    await _spend_from_hot(seam, 1)
    await _mined(seam)
    with pytest.raises(InvalidState, match="signed this payment at another nonce"):
        await _ask(seam, made)
    assert await _in_review(seam, ada, made)


BEFORE_ANY_NONCE = (
    "DELETE FROM chain_attempts",
    "UPDATE chain_intents SET state = 'queued', from_address = NULL, nonce = NULL, reason = NULL,"
    " cancel_requested_at = NULL, speed_up_requested_at = NULL",
    "UPDATE chain_signers SET next_nonce = 0",
    "UPDATE withdrawals SET status = 'held'",
    "DELETE FROM withdrawal_events WHERE type <> 'withdrawal.held'",
)


@pytest.mark.usefixtures("older")
async def test_a_lost_cancel_at_its_nonce_does_not_hide_where_it_was_paid(
    seam: Seam, database: ScratchDatabase
) -> None:
    """Nonce 0 was another payment's and cancelled, nonce 1 paid this one; in the copy the other has
    no nonce, and this one is given nonce 0."""
    bob, ada = await seam.funded_person(), await seam.funded_person()
    await seam.automine(False)
    other = await seam.withdraw(bob, "100", "USDC", HOUSE_OF_BOB)
    await seam.pass_once()
    made = await seam.withdraw(ada, "400", "USDC", OUTSIDE)
    await seam.pass_once()
    await seam.cancel(bob, other.id)
    for _ in range(3):
        await seam.pass_once()
    _lose(database, *BEFORE_ANY_NONCE)
    await seam.cancel(bob, other.id)
    await seam.pass_once()
    await _mined(seam)
    assert await seam.on_chain(OUTSIDE, "USDC") == 400 * 10**6
    with pytest.raises(InvalidState, match="signed another payment at this nonce"):
        await _ask(seam, made)
    assert await _in_review(seam, ada, made)


@pytest.mark.usefixtures("older")
async def test_two_that_change_places_in_a_copy_are_not_given_back(
    seam: Seam, database: ScratchDatabase
) -> None:
    """Both nonces are given in the copy, each to the other payment: neither is a stranger's."""
    bob, ada = await seam.funded_person(), await seam.funded_person()
    await seam.automine(False)
    other = await seam.withdraw(bob, "100", "USDC", HOUSE_OF_BOB)
    await seam.pass_once()
    made = await seam.withdraw(ada, "400", "USDC", OUTSIDE)
    await seam.pass_once()
    [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=made.id)
    _lose(
        database,
        *BEFORE_ANY_NONCE,
        "UPDATE chain_intents SET created_at = created_at - interval '1 hour'"
        f" WHERE id = '{row.intent_id}'",
    )
    for _ in range(3):
        await seam.pass_once()
    await _mined(seam)
    for one in (other, made):
        with pytest.raises(InvalidState, match="signed another payment at this nonce"):
            await _ask(seam, one)
    assert await _in_review(seam, ada, made)
    assert (await seam.withdrawal(bob, other.id)).status == "in_review"


async def test_the_same_payment_in_a_form_that_is_not_ours_is_not_given_back(seam: Seam) -> None:
    ada, made = await _sent(seam)
    await seam.node("anvil_dropAllTransactions")
    [row] = await seam.rows("SELECT unsigned FROM chain_attempts")
    await _pay_with_hot_key(seam, row.unsigned, legacy=True)
    await _mined(seam)
    with pytest.raises(InvalidState, match="form that we do not build"):
        await _ask(seam, made)
    assert await _in_review(seam, ada, made)


async def _pay_with_hot_key(seam: Seam, unsigned: bytes, *, legacy: bool = False) -> None:
    """Who holds the key of the hot wallet sends this, or does so in the oldest form."""
    fields = decode_unsigned(unsigned)
    fees: dict[str, Any] = {
        "type": 2, "maxFeePerGas": fields.cap, "maxPriorityFeePerGas": fields.tip
    }  # fmt: skip
    signed = Account.sign_transaction(
        {
            "chainId": fields.chain_id, "nonce": fields.nonce, "to": fields.to, "value": 0,
            "gas": fields.gas, "data": fields.data,
            **({"gasPrice": fields.cap} if legacy else fees),
        },
        derive_key(seed_of_tests(), path(HOT_ACCOUNT, FIRST_HOT_INDEX)).reveal(),
    )  # fmt: skip
    await seam.node("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())


async def test_members_go_with_a_batch_whose_bytes_were_lost(
    batching: Seam, database: ScratchDatabase
) -> None:
    seam = batching
    ada = await seam.funded_person(eth="10", usdc="5000")
    first = [await seam.withdraw(ada, "1", "USDC", OUTSIDE) for _ in range(4)]
    await seam.finish()  # the allowance
    assert [(await seam.withdrawal(ada, one.id)).status for one in first] == ["settled"] * 4
    await seam.automine(False)
    made = [await seam.withdraw(ada, "3", "USDC", OUTSIDE) for _ in range(4)]
    await seam.pass_once()
    [batch] = await seam.rows("SELECT id FROM chain_intents WHERE purpose = 'payout_batch'")
    _lose(database, f"{LOSE_BYTES} AND intent_id = '{batch.id}'")
    await _mined(seam)
    seen = [await seam.withdrawal(ada, one.id) for one in made]
    assert [one.status for one in seen] == ["in_review"] * 4
    await _ask(seam, made[2])
    done = [await seam.withdrawal(ada, one.id) for one in made]
    assert [one.status for one in done] == ["settled"] * 4
    assert await seam.on_chain(OUTSIDE, "USDC") == 16 * 10**6
    assert (await seam.balance(ada, "USDC")).held_minor == 0
    assert await seam.differences() == []


async def test_members_of_a_batch_whose_nonce_a_stranger_used_are_given_back_one_by_one(
    batching: Seam,
) -> None:
    seam = batching
    ada = await seam.funded_person(eth="10", usdc="5000")
    for _ in range(4):
        await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    before = await seam.balance(ada, "USDC")
    await seam.automine(False)
    made = [await seam.withdraw(ada, "3", "USDC", OUTSIDE) for _ in range(4)]
    await seam.pass_once()
    [batch] = await seam.rows("SELECT nonce FROM chain_intents WHERE purpose = 'payout_batch'")
    await seam.node("anvil_dropAllTransactions")
    await _spend_from_hot(seam, batch.nonce)
    await _mined(seam)
    for one in made:
        assert (await seam.withdrawal(ada, one.id)).status == "in_review"
        await _ask(seam, one)
        done = await seam.withdrawal(ada, one.id)
        assert (done.status, done.fee.minor) == ("failed", 0)
    assert await seam.balance(ada, "USDC") == before
    [ended] = await seam.rows("SELECT state FROM chain_intents WHERE purpose = 'payout_batch'")
    assert ended.state == "cancelled"
    open_cases = await seam.rows("SELECT kind FROM cases WHERE closed_at IS NULL")
    assert [one.kind for one in open_cases] == ["signer_halted"]
