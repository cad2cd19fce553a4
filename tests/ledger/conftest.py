"""An application's connection to empty books."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from wallet.db import Database
from wallet.testing.databases import ScratchDatabase


@pytest.fixture
async def db(database: ScratchDatabase) -> AsyncIterator[Database]:
    """As `bifold_app`, with enough connections for 64 rivals."""
    db = Database(database.app_url, pool_size=64)
    yield db
    await db.dispose()
