"""What somebody else sweeps from a deposit address to the house is a move inside the house."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0038"
down_revision = "r0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0038.sql")


def downgrade() -> None:
    """Such moves that are booked keep their entries."""
    run_sql("r0038_down.sql")
