"""Cases of what stands still, and when bytes on their way are overdue."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0021"
down_revision = "r0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0021.sql")
