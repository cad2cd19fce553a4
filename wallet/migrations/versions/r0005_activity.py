"""One timeline over everything that moves a person's money: a view, so nothing can disagree."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0005"
down_revision = "r0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0005.sql")
