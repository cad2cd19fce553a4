"""Browser wallets: a message belongs to the browser that asked, a contract to its chain."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0014"
down_revision = "r0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0014.sql")
