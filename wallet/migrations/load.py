"""Run one SQL file of `wallet/migrations/sql` inside the revision's transaction."""

from __future__ import annotations

from importlib import resources

from alembic import op


def run_sql(name: str) -> None:
    """Execute the whole file. It goes through the simple protocol, so `$$` bodies work."""
    sql = resources.files("wallet.migrations").joinpath("sql", name).read_text(encoding="utf-8")
    run_script(sql)


def run_script(sql: str) -> None:
    """Execute a script of several statements without parameters."""
    raw = op.get_bind().connection.driver_connection
    assert raw is not None
    with raw.cursor() as cursor:
        cursor.execute(sql)
