"""A database with people and rates."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from wallet.db import Database
from wallet.testing.databases import ScratchDatabase
from wallet.testing.exchange import ExchangeBed


@pytest.fixture
async def bed(database: ScratchDatabase) -> AsyncIterator[ExchangeBed]:
    db = Database(database.app_url)
    bed = ExchangeBed(db)
    await bed.table_rates()
    yield bed
    await db.dispose()
