"""A warm tier of the treasury: its address, bounds, moves, and several signatures for a payment."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0032"
down_revision = "r0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0032.sql")
