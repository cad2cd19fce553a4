"""An older PostgreSQL's data directory: refused by the new one, brought over by db-upgrade."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from wallet.postgres import POSTGRES_MAJOR, EmbeddedPostgres, PostgresError
from wallet.sandbox.db_upgrade import upgrade

OLD_MAJOR = 16


def execute(server: EmbeddedPostgres, query: str, role: str) -> object:
    with psycopg.connect(server.conninfo(role, "bifold"), autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory whose database PostgreSQL 16 made, with one row in it."""
    with tempfile.TemporaryDirectory(prefix="bifold-up-", dir="/tmp") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", Path(folder) / "run", major=OLD_MAJOR)
        server.start()
        execute(server, "CREATE TABLE kept (amount numeric(78,0))", "bifold_owner")
        execute(server, f"INSERT INTO kept VALUES ({2**256 - 1})", "bifold_owner")
        execute(server, "GRANT SELECT ON kept TO bifold_audit", "bifold_owner")
        server.stop()
        yield Path(folder)


def test_an_older_database_is_refused_then_upgraded_whole(data_dir: Path) -> None:
    new = EmbeddedPostgres(data_dir / "postgres", data_dir / "run")
    with pytest.raises(PostgresError, match="db-upgrade"):
        new.start()

    assert str(POSTGRES_MAJOR) in upgrade(data_dir)

    new.start()
    try:
        assert execute(new, "SELECT amount FROM kept", "bifold_audit") == 2**256 - 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(new, "INSERT INTO kept VALUES (1)", "bifold_app")
    finally:
        new.stop()
    assert (data_dir / f"postgres-{OLD_MAJOR}" / "PG_VERSION").read_text().strip() == str(OLD_MAJOR)


def test_an_upgrade_interrupted_between_its_renames_is_finished_by_the_next_start(
    data_dir: Path,
) -> None:
    upgrade(data_dir)
    server = EmbeddedPostgres(data_dir / "postgres", data_dir / "run")
    server.data_dir.rename(server.upgraded_dir)
    server.start()
    try:
        assert execute(server, "SELECT count(*) FROM kept", "bifold_owner") == 1
    finally:
        server.stop()


def test_a_current_database_is_left_alone(data_dir: Path) -> None:
    upgrade(data_dir)
    assert "nothing to do" in upgrade(data_dir)
