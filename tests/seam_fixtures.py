"""Fixtures of the seam, imported by the conftests of the rooms that need it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.testing import AnvilProcess
from wallet.db import Database
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam


@pytest.fixture
async def db(database: ScratchDatabase) -> AsyncIterator[Database]:
    """The application's own door to this test's database."""
    db = Database(database.app_url)
    yield db
    await db.dispose()


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    """Books, chain, signer and workers, with a funded house."""
    seam = await Seam.open(db, anvil.url, tmp_path / "signer")
    await seam.fund_house()
    yield seam
    await seam.close()
