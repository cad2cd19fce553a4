"""Treasury: float bounds and proposals."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0012"
down_revision = "r0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0012.sql")
