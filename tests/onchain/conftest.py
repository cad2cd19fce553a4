"""What the tests of sending share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from wallet.db import Database
from wallet.testing.databases import ScratchDatabase


@pytest.fixture
async def db(database: ScratchDatabase) -> AsyncIterator[Database]:
    """The application's own door to this test's database."""
    db = Database(database.app_url)
    yield db
    await db.dispose()
