"""Who gets an arrival, a stray, a loss, and which fork is followed, operators alone decide."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0033"
down_revision = "r0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0033.sql")


def downgrade() -> None:
    """Give the application's role back what it had; agreements on forks that were followed go."""
    run_sql("r0033_down.sql")
