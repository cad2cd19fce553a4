"""The auditor reads stored prices, and how each payment abroad began."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0049"
down_revision = "r0048"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0049.sql")


def downgrade() -> None:
    """What it read before."""
    run_sql("r0049_down.sql")
