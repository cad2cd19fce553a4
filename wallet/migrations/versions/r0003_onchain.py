"""Addresses, signers, intents, attempts, the scanned lineage, deposits, withdrawals."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0003"
down_revision = "r0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0003.sql")
