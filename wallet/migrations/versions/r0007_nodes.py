"""Several nodes per network: how each one stands."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0007"
down_revision = "r0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0007.sql")
