"""Group commit: a batch is posted in sets."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0020"
down_revision = "r0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0020.sql")
