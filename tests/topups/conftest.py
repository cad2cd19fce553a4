"""A house with a gateway and a bank, and people with cards."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from wallet.db import Database
from wallet.testing.databases import ScratchDatabase
from wallet.testing.topups import TopupWorld


@pytest.fixture
async def world(database: ScratchDatabase) -> AsyncIterator[TopupWorld]:
    db, other = Database(database.app_url), Database(database.app_url)
    yield TopupWorld(db, other)
    await db.dispose()
    await other.dispose()
