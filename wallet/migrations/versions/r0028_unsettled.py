"""What a gateway lists is asked about until it is booked; a promise is never rewritten."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0028"
down_revision = "r0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0028.sql")
