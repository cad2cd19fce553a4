"""An operators' role; bank transfers by their line; events by their type."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0030"
down_revision = "r0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0030.sql")
