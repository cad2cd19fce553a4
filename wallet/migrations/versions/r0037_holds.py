"""A payer's open holds are bounded; the database holds captures to payer and payee."""

from __future__ import annotations

from wallet.migrations.load import restore, run_sql

revision = "r0037"
down_revision = "r0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0037.sql")


def downgrade() -> None:
    """The poster as it was."""
    restore("r0002_ledger.sql", "ledger_lock")
    for name in ("ledger_post", "ledger_refuse_closing", "ledger_odd_closing"):
        restore("r0020.sql", name)
    restore("r0031.sql", "ledger_post_run")
    run_sql("r0037_down.sql")
