"""What operators do in a test whose database is opened as the application's role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from wallet.db import Database


def operators_of(db: Database) -> Database:
    """The same database as `bifold_operator`; the caller disposes of it."""
    return Database(db.url.set(username="bifold_operator").render_as_string(hide_password=False))


@asynccontextmanager
async def as_operator(db: Database) -> AsyncIterator[AsyncSession]:
    """One transaction on the same database as `bifold_operator`."""
    operators = operators_of(db)
    try:
        async with operators.transaction() as session:
            yield session
    finally:
        await operators.dispose()
