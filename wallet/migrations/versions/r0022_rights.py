"""The application's rights on what people agreed, signed or booked are no wider than was meant."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0022"
down_revision = "r0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0022.sql")
