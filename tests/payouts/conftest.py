"""A house with money at its bank, and people who send."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from wallet.db import Database
from wallet.testing.databases import ScratchDatabase
from wallet.testing.payments import PaymentWorld


@pytest.fixture
async def world(database: ScratchDatabase) -> AsyncIterator[PaymentWorld]:
    db, bank_db = Database(database.app_url), Database(database.app_url)
    world = PaymentWorld(db, bank_db)
    await world.open()
    yield world
    await db.dispose()
    await bank_db.dispose()
