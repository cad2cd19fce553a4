"""A past moment is found in an account's chain by halving: old periods cost what new ones do."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0027"
down_revision = "r0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0027.sql")
