"""Bytes that are signed and in no row: they never leave, and their nonce is used for nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from keys.errors import SignerUnavailable
from keys.request import SignedTx
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
END_LEADERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Slow:
    """A signer whose first answer takes so long that `meanwhile` happens."""

    def __init__(self, seam: Seam, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._real = seam.signer.sign_transaction
        self._meanwhile: Callable[[], Awaitable[object]] | None = meanwhile
        self.answers: list[SignedTx] = []

    async def sign_transaction(self, **asked: Any) -> SignedTx:
        signed = await self._real(**asked)
        self.answers.append(signed)
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return signed


def _end_leaders(database: ScratchDatabase) -> None:
    """A failover, an idle cut: from here on another worker may lead."""
    where = database.server.conninfo(database=database.name)
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(END_LEADERS)


async def test_what_a_rival_cancelled_while_it_was_signed_is_never_sent(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, "400", "USDC", OUTSIDE)
    rival = seam.new_runner()

    async def meanwhile() -> None:
        _end_leaders(database)
        await seam.cancel(ada, made.id)
        await rival.tick()

    slow = Slow(seam, meanwhile)
    monkeypatch.setattr(seam.signer, "sign_transaction", slow.sign_transaction)
    with contextlib.suppress(OperationalError):  # its lock's connection is gone
        await seam.runner.tick()
    [given_up] = slow.answers
    assert await seam.chain.known([given_up.tx_hash]) == [False]
    await seam.automine(True)
    await seam.dev.mine(1)
    await seam.finish()
    done = await seam.withdrawal(ada, made.id)
    balance = await seam.balance(ada, "USDC")
    assert (done.status, balance.held_minor) == ("cancelled", 0)
    assert balance.total_minor == 1000 * 10**6 - done.fee.minor
    assert await seam.on_chain(OUTSIDE, "USDC") == 0
    assert await seam.differences() == []


async def test_what_a_rival_stored_first_is_the_same_and_may_be_sent(
    seam: Seam, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, "400", "USDC", OUTSIDE)
    rival = seam.new_runner()

    async def meanwhile() -> None:
        _end_leaders(database)
        await rival.tick()

    slow = Slow(seam, meanwhile)
    monkeypatch.setattr(seam.signer, "sign_transaction", slow.sign_transaction)
    with contextlib.suppress(OperationalError):
        await seam.runner.tick()
    assert len({answer.tx_hash for answer in slow.answers}) == 1 < len(slow.answers)
    [row] = await seam.rows("SELECT sends, tx_hash FROM chain_attempts")
    assert (row.sends, row.tx_hash) == (2, slow.answers[0].tx_hash)
    await seam.automine(True)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == 400 * 10**6


async def test_a_nonce_that_only_the_signer_knows_is_used_for_nothing(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It signed, the answer was lost, and its new policy refuses the same bytes."""
    real = seam.signer.sign_transaction

    async def lost(**asked: Any) -> SignedTx:
        await real(**asked)
        raise SignerUnavailable("the answer is lost")

    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "2", "USDC", OUTSIDE)
    with monkeypatch.context() as patched:
        patched.setattr(seam.signer, "sign_transaction", lost)
        await seam.pass_once()
    wide = seam.desk.policy
    [(chain_id, chain)] = wide.chains.items()
    [(contract, limit)] = chain.tokens.items()
    narrow = replace(chain, tokens={contract: replace(limit, per_tx=10**6)})
    seam.desk.policy = replace(wide, chains={chain_id: narrow})
    later = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    await seam.finish()
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, done.failure_code) == ("failed", "signer_above_per_tx_limit")
    assert (await seam.withdrawal(ada, later.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == 10**6
    assert (await seam.balance(ada, "USDC")).held_minor == 0
    assert await seam.differences() == []
