"""The operator log against code that runs as the application, and an upgrade under its feet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from alembic import command
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from wallet import migrate
from wallet.auditor.rooms.oplog import CHECKS
from wallet.testing.databases import ScratchCluster, ScratchDatabase

BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"


@contextmanager
def _owner(database: ScratchDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo("bifold_owner"), autocommit=True) as owner:
        yield owner


def _down(database: ScratchDatabase) -> None:
    engine = create_engine(database.owner_url, poolclass=NullPool,
                           connect_args={"options": "-c search_path=public,jobs"})  # fmt: skip
    with engine.connect() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "r0050")
        connection.commit()
    engine.dispose()


def test_what_commits_during_the_upgrade_is_told(cluster: ScratchCluster) -> None:
    """The upgrade waits for whoever is writing, and begins the log with what they wrote."""
    database = cluster.create()
    _down(database)
    upgrading = threading.Thread(target=migrate.upgrade, args=(database.owner_url,))
    with psycopg.connect(database.conninfo()) as app, _owner(database) as owner:
        app.execute(
            "INSERT INTO halted_tokens (network, asset, reason) VALUES ('local', 'X', 'odd')"
        )
        upgrading.start()
        while owner.execute(BLOCKED).fetchone() == (0,):
            assert upgrading.is_alive()
            time.sleep(0.05)
        app.commit()
        upgrading.join()
        off = [row for check in CHECKS for row in owner.execute(check.sql.encode()).fetchall()]
        told = owner.execute("SELECT action, object_id FROM operator_log").fetchall()
    assert (off, told) == ([], [("baseline", "local/X")])
