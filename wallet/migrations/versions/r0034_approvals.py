"""Signatures for payments above the signer's limit, or out of warm, come from operators alone."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0034"
down_revision = "r0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0034.sql")


def downgrade() -> None:
    """Give the application's role back what it had."""
    run_sql("r0034_down.sql")
