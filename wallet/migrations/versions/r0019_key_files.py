"""Own accounts leave as key files, and a sealed reply is kept for minutes only."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0019"
down_revision = "r0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0019.sql")
