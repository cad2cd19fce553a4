"""Sign-in with Ethereum: nonces and linked wallets."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0009"
down_revision = "r0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0009.sql")
