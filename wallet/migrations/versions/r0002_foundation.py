"""Kernel, identity, idempotency, outbox, and the ledger with the refusals of its own."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0002"
down_revision = "r0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0002.sql")
    run_sql("r0002_ledger.sql")
