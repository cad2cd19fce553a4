"""The daily limit: edges of the window, two at once, and money that came back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.db import Database
from wallet.errors import LimitExceeded
from wallet.risk import limits
from wallet.testing.databases import ScratchDatabase

LIMIT = limits.DAILY_LIMIT_EUR_MINOR


@pytest.fixture
async def db(database: ScratchDatabase) -> AsyncIterator[Database]:
    db = Database(database.app_url)
    async with db.transaction() as session:
        await session.execute(
            text("INSERT INTO principals (id, kind) VALUES ('usr_a', 'user'), ('usr_b', 'user')")
        )
    yield db
    await db.dispose()


async def reserve(session: AsyncSession, amount: int, ref: str, who: str = "usr_a") -> None:
    await limits.reserve_outgoing(
        session, principal_id=who, eur_minor=amount, kind="payment", ref=ref
    )


async def age(db: Database, ref: str, seconds: str) -> None:
    async with db.transaction() as session:
        await session.execute(
            text(
                "UPDATE outgoing_usage SET created_at = bifold_now() - CAST(:age AS interval)"
                " WHERE ref = :ref"
            ),
            {"ref": ref, "age": seconds},
        )


class TestReserve:
    async def test_takes_exactly_the_limit_and_not_a_cent_more(self, db: Database) -> None:
        async with db.transaction() as session:
            await reserve(session, LIMIT - 1, "pay_1")
            await reserve(session, 1, "pay_2")
        with pytest.raises(LimitExceeded) as refused:
            async with db.transaction() as session:
                await reserve(session, 1, "pay_3")
        assert refused.value.extra["remaining"] == {"amount": "0.00", "asset": "EUR"}
        async with db.transaction() as session:
            assert (await limits.usage(session, "usr_a")).used_minor == LIMIT

    async def test_counts_each_principal_alone(self, db: Database) -> None:
        async with db.transaction() as session:
            await reserve(session, LIMIT, "pay_1")
            await reserve(session, LIMIT, "pay_2", who="usr_b")

    async def test_forgets_what_is_a_day_old_and_nothing_younger(self, db: Database) -> None:
        async with db.transaction() as session:
            await reserve(session, LIMIT, "pay_1")
        await age(db, "pay_1", "23 hours 59 minutes 58 seconds")
        with pytest.raises(LimitExceeded):
            async with db.transaction() as session:
                await reserve(session, 1, "pay_2")
        await age(db, "pay_1", "24 hours")
        async with db.transaction() as session:
            await reserve(session, LIMIT, "pay_2")

    async def test_moves_with_the_sandbox_clock(self, db: Database) -> None:
        async with db.transaction() as session:
            await reserve(session, LIMIT, "pay_1")
            await session.execute(text("UPDATE sandbox_clock SET offset_seconds = 86400"))
        async with db.transaction() as session:
            assert (await limits.usage(session, "usr_a")).used_minor == 0

    async def test_two_at_once_never_pass_the_limit_together(self, db: Database) -> None:
        async def attempt(number: int) -> bool:
            try:
                async with db.transaction() as session:
                    await reserve(session, LIMIT // 3, f"pay_{number}")
                    await asyncio.sleep(0.01)
            except LimitExceeded:
                return False
            return True

        assert sum(await asyncio.gather(*(attempt(n) for n in range(12)))) == 3

    async def test_refuses_a_negative_amount(self, db: Database) -> None:
        with pytest.raises(ValueError, match="negative"):
            async with db.transaction() as session:
                await reserve(session, -1, "pay_1")


class TestRelease:
    async def test_gives_the_room_back_once(self, db: Database) -> None:
        async with db.transaction() as session:
            await reserve(session, LIMIT, "pay_1")
            await limits.release_outgoing(session, "pay_1")
            await limits.release_outgoing(session, "pay_1")
            assert (await limits.usage(session, "usr_a")).remaining_minor == LIMIT

    async def test_what_is_tried_and_taken_back_has_a_bound_of_its_own(self, db: Database) -> None:
        """The signer counts what it signed, also what was cancelled or reverted after that: one
        person could have used its day up for everybody by payments that never arrive."""
        for turn in range(limits.MOST_TRIED):
            async with db.transaction() as session:
                await reserve(session, LIMIT, f"pay_{turn}")
                await limits.release_outgoing(session, f"pay_{turn}")
        async with db.transaction() as session:
            now = await limits.usage(session, "usr_a")
            assert (now.used_minor, now.remaining_minor) == (0, 0)
            await reserve(session, LIMIT, "pay_b", who="usr_b")
        with pytest.raises(LimitExceeded) as refused:
            async with db.transaction() as session:
                await reserve(session, 1, "pay_x")
        assert "taken back" in refused.value.detail
        await age(db, "pay_0", "24 hours")
        async with db.transaction() as session:
            await reserve(session, LIMIT, "pay_x")
