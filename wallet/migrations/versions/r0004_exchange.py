"""Rates, quotes, daily limits, conversions, recipients, payments, payouts, the simulated bank."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0004"
down_revision = "r0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0004.sql")
    run_sql("r0004_simbank.sql")
