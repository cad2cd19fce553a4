"""Gas of cold addresses: an expense of the house."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0018"
down_revision = "r0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0018.sql")
