"""Readings of the books, kept; corrections under four eyes; what stands still in the treasury."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0026"
down_revision = "r0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0026.sql")
