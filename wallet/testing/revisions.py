"""Taking revisions of the schema back, which only tests do here."""

from __future__ import annotations

from alembic import command
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from wallet import migrate
from wallet.testing.databases import ScratchDatabase


def take_back(database: ScratchDatabase, revision: str) -> None:
    """Down to `revision` (`r0040-1`: the one before r0040). Raises what the revision raises."""
    engine = create_engine(
        database.owner_url,
        poolclass=NullPool,
        connect_args={"options": "-c search_path=public,jobs"},
    )
    try:
        with engine.connect() as connection:
            config = migrate._config()
            config.attributes["connection"] = connection
            command.downgrade(config, revision)
            connection.commit()
    finally:
        engine.dispose()
