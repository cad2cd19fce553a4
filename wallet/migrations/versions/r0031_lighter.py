"""The books, lighter: rows are checked by the statement, and an entry comes with its postings."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0031"
down_revision = "r0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0031.sql")
