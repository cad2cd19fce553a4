"""Who bears a loss: the house, or its customer with what is there and a debt for the rest."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0017"
down_revision = "r0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0017.sql")
