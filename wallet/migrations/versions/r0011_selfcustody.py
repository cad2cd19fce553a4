"""Self-custody accounts."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0011"
down_revision = "r0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0011.sql")
