"""Sending: cancel and speed-up after the broadcast, the burnt first nonce of Ganache."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0006"
down_revision = "r0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0006.sql")
