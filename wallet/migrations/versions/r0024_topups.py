"""Top-ups: bound cards, personal bank references, the simulated gateway and its own list."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0024"
down_revision = "r0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0024.sql")
