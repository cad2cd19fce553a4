"""The migrated schema against the models, and the jobs' schema against its release."""

from __future__ import annotations

from importlib import resources

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from wallet.migrate import head_revision, upgrade
from wallet.models import metadata
from wallet.testing.databases import ScratchDatabase

COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default, udt_name
  FROM information_schema.columns WHERE table_schema = %(schema)s ORDER BY 1, 2"""
FUNCTIONS = """
SELECT proname, pg_get_function_identity_arguments(p.oid), md5(prosrc) FROM pg_proc p
  JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = %(schema)s ORDER BY 1, 2"""
INDEXES = """
SELECT indexname, replace(indexdef, schemaname || '.', '') FROM pg_indexes
 WHERE schemaname = %(schema)s ORDER BY 1"""
TRIGGERS = """
SELECT tgname, relname, tgtype FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
  JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %(schema)s
   AND NOT tgisinternal ORDER BY 1, 2"""
ENUMS = """
SELECT typname, enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = enumtypid
  JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname = %(schema)s
 ORDER BY 1, enumsortorder"""
MONEY = """
SELECT table_name, column_name FROM information_schema.columns
 WHERE table_schema = 'public' AND (column_name LIKE '%%\\_minor' OR column_name LIKE '%%\\_wei')
   AND NOT (data_type = 'numeric' AND numeric_precision = 78 AND numeric_scale = 0)"""


def test_the_models_are_what_the_migrations_make(database: ScratchDatabase) -> None:
    engine = create_engine(
        database.owner_url,
        poolclass=NullPool,
        connect_args={"options": "-c search_path=public"},
    )
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_object": lambda thing, name, kind, reflected, other: (
                    kind != "index" and (kind != "table" or name != "alembic_version")
                ),
            },
        )
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert not [
        d for d in differences if not (isinstance(d, tuple) and "constraint" in str(d[0]))
    ], "\n".join(map(str, differences))


def test_migrating_again_changes_nothing(database: ScratchDatabase) -> None:
    upgrade(database.owner_url)
    with psycopg.connect(database.conninfo()) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            (head_revision(),)
        ]


def test_the_jobs_schema_is_a_fresh_one_of_the_pinned_release(database: ScratchDatabase) -> None:
    shipped = resources.files("procrastinate").joinpath("sql", "schema.sql").read_text("utf-8")
    with psycopg.connect(database.conninfo("bifold_owner")) as connection:
        connection.execute("CREATE SCHEMA fresh")
        connection.execute("SET LOCAL search_path = fresh")
        connection.execute(shipped.encode())
        connection.execute("SET LOCAL search_path = pg_catalog")
        for query in (COLUMNS, FUNCTIONS, INDEXES, TRIGGERS, ENUMS):
            ours, theirs = (
                [
                    tuple(str(value).replace(f"{schema}.", "") for value in row)
                    for row in connection.execute(query, {"schema": schema})
                ]
                for schema in ("jobs", "fresh")
            )
            assert theirs
            assert ours == theirs
        connection.rollback()


def test_every_money_column_is_wide_and_whole(database: ScratchDatabase) -> None:
    with psycopg.connect(database.conninfo()) as connection:
        assert connection.execute(MONEY).fetchall() == []
