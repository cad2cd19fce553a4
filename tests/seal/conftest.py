"""Books with a chain over them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from wallet.db import Database
from wallet.testing.databases import ScratchDatabase


@pytest.fixture
async def db(database: ScratchDatabase) -> AsyncIterator[Database]:
    """As `bifold_app`."""
    db = Database(database.app_url)
    yield db
    await db.dispose()
