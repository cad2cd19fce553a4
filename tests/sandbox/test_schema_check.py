"""The supervisor's quick look at the schema agrees with Alembic itself."""

from __future__ import annotations

import psycopg

from wallet.migrate import head_revision
from wallet.sandbox.schema import head_revisions, is_current
from wallet.testing.databases import ScratchDatabase


def test_the_head_is_the_one_alembic_sees() -> None:
    assert head_revisions() == {head_revision()}


def test_a_migrated_database_is_current(database: ScratchDatabase) -> None:
    assert is_current(database.owner_url)


def test_an_older_one_is_not(database: ScratchDatabase) -> None:
    with psycopg.connect(database.conninfo("bifold_owner")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'r0001'")
    assert not is_current(database.owner_url)


def test_an_empty_one_is_not(database: ScratchDatabase) -> None:
    with psycopg.connect(database.conninfo("bifold_owner")) as connection:
        connection.execute("DROP TABLE alembic_version")
    assert not is_current(database.owner_url)
