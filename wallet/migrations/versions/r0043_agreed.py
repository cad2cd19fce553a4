"""What was agreed of a payment abroad is not rewritten by the application."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0043"
down_revision = "r0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0043.sql")


def downgrade() -> None:
    """The whole rows again."""
    run_sql("r0043_down.sql")
