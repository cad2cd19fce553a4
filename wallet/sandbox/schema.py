"""The schema at start-up: seen to be current without loading anything, else brought there.

Run as a short-lived child it applies what is missing, as the owner.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import psycopg

_VERSIONS = Path(__file__).resolve().parents[1] / "migrations" / "versions"
_REVISION = re.compile(r"^(down_revision|revision)\b[^=]*=\s*[\"'](\w+)[\"']", re.MULTILINE)


def head_revisions() -> set[str]:
    """The revisions no other one builds on, read from the files: Alembic takes a second to load."""
    found = [
        pair for file in _VERSIONS.glob("*.py") for pair in _REVISION.findall(file.read_text())
    ]
    below = {revision for kind, revision in found if kind == "down_revision"}
    return {revision for kind, revision in found if kind == "revision"} - below


def is_current(owner_url: str) -> bool:
    """Whether the database is at the head already."""
    try:
        with psycopg.connect(owner_url.replace("+psycopg", "", 1), connect_timeout=5) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except psycopg.errors.UndefinedTable:
        return False
    return {str(row[0]) for row in rows} == head_revisions()


def let_the_clock_move(owner_url: str) -> None:
    """Business time moves in a sandbox only: the schema alone gives nobody that right."""
    with psycopg.connect(owner_url.replace("+psycopg", "", 1), connect_timeout=5) as connection:
        if connection.execute("SELECT to_regrole('bifold_app') IS NOT NULL").fetchone() == (True,):
            connection.execute("GRANT UPDATE (offset_seconds) ON sandbox_clock TO bifold_app")


if __name__ == "__main__":
    from wallet.migrate import upgrade

    upgrade(os.environ["BIFOLD_MIGRATION_DATABASE_URL"])
