"""Forks below finality: what was credited and is lost, and the fork to follow instead."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0016"
down_revision = "r0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0016.sql")
