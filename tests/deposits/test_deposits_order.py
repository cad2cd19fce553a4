"""Whoever changes deposits takes the scanner's place first."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from tests.onchain.test_onchain_lost_rows import _lose
from wallet.deposits import repository
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam


async def test_who_credits_and_who_scans_never_wait_for_each_other(
    seam: Seam, database: ScratchDatabase
) -> None:
    await seam.funded_person()
    _lose(database, "UPDATE deposits SET status = 'seen', entry_id = NULL")
    ids = [row.id for row in await seam.rows("SELECT id FROM deposits")]

    async def credit() -> int:
        async with seam.db.transaction() as session:
            return len(await repository.lock_creditable(session, ids))

    async with seam.db.transaction() as session:
        await session.execute(text("SELECT 1 FROM scan_state FOR UPDATE"))
        crediting = asyncio.create_task(credit())
        await asyncio.sleep(0.5)
        await session.execute(text("UPDATE deposits SET updated_at = clock_timestamp()"))
    assert await crediting == len(ids)
