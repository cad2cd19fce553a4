"""Receiving: halted tokens, unattributed arrivals."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0008"
down_revision = "r0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0008.sql")
