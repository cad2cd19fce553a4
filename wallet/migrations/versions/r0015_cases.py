"""Cases of what stands still, and when bytes on their way are overdue."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0015"
down_revision = "r0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0015.sql")
