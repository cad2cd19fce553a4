"""The bound of openings counts every one that stands before it in the same batch."""

from __future__ import annotations

from wallet.migrations.load import restore, run_sql

revision = "r0041"
down_revision = "r0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0041.sql")


def downgrade() -> None:
    """The bound counts what names one."""
    restore("r0037.sql", "ledger_odd_opening")
