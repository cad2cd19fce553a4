"""The auditor reads assets' terms, bank references, accounts frozen for a debt, and forks."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0050"
down_revision = "r0049"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0050.sql")


def downgrade() -> None:
    """What it read before."""
    run_sql("r0050_down.sql")
