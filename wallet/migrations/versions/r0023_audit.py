"""The independent auditor keeps its reports and checkpoints; a break pauses what it touches."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0023"
down_revision = "r0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0023.sql")
