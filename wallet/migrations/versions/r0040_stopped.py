"""The application opens no account but one whose debt is repaid, and moves no clock."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0040"
down_revision = "r0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0040.sql")


def downgrade() -> None:
    """Give the application's role back what it had."""
    run_sql("r0040_down.sql")
