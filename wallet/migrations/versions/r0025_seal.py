"""The seal: one chain of hashes over entries and events, and their writers."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0025"
down_revision = "r0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0025.sql")
