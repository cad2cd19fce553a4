"""This room's tests stand on the whole seam, or on the database alone, as an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.seam_fixtures import seam
from wallet.db import Database
from wallet.testing.databases import ScratchDatabase

__all__ = ["seam"]


@pytest.fixture
async def db(database: ScratchDatabase) -> AsyncIterator[Database]:
    """As `bifold_operator`: the role of whoever proposes and approves."""
    db = Database(database.operator_url)
    yield db
    await db.dispose()
