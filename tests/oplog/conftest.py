"""An application and an operator on one fresh database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from wallet.db import Database
from wallet.testing.databases import ScratchDatabase


@pytest.fixture
async def service(database: ScratchDatabase) -> AsyncIterator[Database]:
    db = Database(database.app_url)
    yield db
    await db.dispose()


@pytest.fixture
async def operators(database: ScratchDatabase) -> AsyncIterator[Database]:
    db = Database(database.operator_url)
    yield db
    await db.dispose()
