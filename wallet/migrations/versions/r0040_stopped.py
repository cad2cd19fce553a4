"""The application opens no account but one whose debt is repaid, and moves no clock."""

from __future__ import annotations

from wallet.migrations.load import restore, run_sql

revision = "r0040"
down_revision = "r0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0040.sql")


def downgrade() -> None:
    """Give the application's role back what it had."""
    restore("r0002_ledger.sql", "ledger_refuse_moves")
    restore("r0031.sql", "ledger_check_postings")
    run_sql("r0040_down.sql")
