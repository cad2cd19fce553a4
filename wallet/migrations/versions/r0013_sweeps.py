"""Sweeps and batch payouts."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0013"
down_revision = "r0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0013.sql")
