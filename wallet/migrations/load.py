"""Run SQL files of `wallet/migrations/sql` inside the revision's transaction."""

from __future__ import annotations

import re
from importlib import resources

from alembic import op


def run_sql(name: str) -> None:
    """Execute the whole file. It goes through the simple protocol, so `$$` bodies work."""
    run_script(_read(name))


def restore(name: str, function: str) -> None:
    """Give a function back the body it has in an older file."""
    found = re.search(
        rf"^CREATE (?:OR REPLACE )?(FUNCTION {function}\(.*?^(?:END )?\$\$;)$",
        _read(name),
        re.DOTALL | re.MULTILINE,
    )
    assert found is not None
    run_script(f"CREATE OR REPLACE {found[1]}")


def run_script(sql: str) -> None:
    """Execute a script of several statements without parameters."""
    raw = op.get_bind().connection.driver_connection
    assert raw is not None
    with raw.cursor() as cursor:
        cursor.execute(sql)


def _read(name: str) -> str:
    return resources.files("wallet.migrations").joinpath("sql", name).read_text(encoding="utf-8")
