"""The tables of this part refuse what the code must never do."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from wallet.db import Database
from wallet.onchain import repository


async def _intent(db: Database, **values: object) -> None:
    async with db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO chain_intents (id, purpose, ref, network, asset, to_address,"
                " amount_minor, gas_limit, fee_ceiling_wei, state, from_address, nonce)"
                " VALUES (:id, 'withdrawal', :ref, 'local', 'ETH', '0xab', 5, 21000, 9,"
                " :state, :sender, :nonce)"
            ),
            {"state": "allocated", "sender": "0x01", "nonce": 0, **values},
        )


class TestNonces:
    async def test_a_nonce_belongs_to_one_intent(self, db: Database) -> None:
        await _intent(db, id="int_1", ref="wdr_1")
        with pytest.raises(DBAPIError, match="unique"):
            await _intent(db, id="int_2", ref="wdr_2")

    async def test_a_withdrawal_has_one_intent(self, db: Database) -> None:
        await _intent(db, id="int_1", ref="wdr_1")
        with pytest.raises(DBAPIError, match="unique"):
            await _intent(db, id="int_2", ref="wdr_1", nonce=1)

    async def test_an_intent_keeps_its_nonce_and_its_end(self, db: Database) -> None:
        await _intent(db, id="int_1", ref="wdr_1")
        for change in ("nonce = 7", "amount_minor = 6", "to_address = '0xcd'"):
            with pytest.raises(DBAPIError, match="keeps"):
                async with db.transaction() as session:
                    await session.execute(text(f"UPDATE chain_intents SET {change}"))
        async with db.transaction() as session:
            await session.execute(text("UPDATE chain_intents SET state = 'final_ok'"))
        with pytest.raises(DBAPIError, match="keeps"):
            async with db.transaction() as session:
                await session.execute(text("UPDATE chain_intents SET state = 'queued'"))


class TestAttempts:
    async def test_signed_bytes_never_change(self, db: Database) -> None:
        await _intent(db, id="int_1", ref="wdr_1")
        async with db.transaction() as session:
            await session.execute(
                text(
                    "INSERT INTO chain_attempts (intent_id, seq, network, kind, unsigned, tip_wei,"
                    " cap_wei) VALUES ('int_1', 1, 'local', 'pay', '\\x02', 1, 2)"
                )
            )
            await session.execute(
                text("UPDATE chain_attempts SET raw = '\\x0203', tx_hash = '0x11'")
            )
        for change in ("raw = '\\x0204'", "unsigned = '\\x03'", "raw = NULL, tx_hash = NULL"):
            with pytest.raises(DBAPIError, match="keeps its bytes"):
                async with db.transaction() as session:
                    await session.execute(text(f"UPDATE chain_attempts SET {change}"))


async def test_a_payment_is_late_by_the_clock_it_was_promised_by(db: Database) -> None:
    """A sandbox's may be far ahead: `bifold chain status` named nothing there."""
    async with db.transaction() as session:
        await session.execute(text("UPDATE sandbox_clock SET offset_seconds = 86400"))
    await _intent(db, id="int_1", ref="wdr_1", state="sent")
    async with db.transaction() as session:
        assert await repository.overdue(session, "local", seconds=900.0) == []
        await session.execute(text("UPDATE sandbox_clock SET offset_seconds = 88000"))
    async with db.transaction() as session:
        [late] = await repository.overdue(session, "local", seconds=900.0)
        assert (late.id, 1600 <= late.age_seconds < 1700) == ("int_1", True)
