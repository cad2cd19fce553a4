"""Watch-only: addresses and extended keys."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0010"
down_revision = "r0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0010.sql")
