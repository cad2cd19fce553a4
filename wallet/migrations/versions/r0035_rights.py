"""The auditor's role reads what an audit reads, and no secret."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0035"
down_revision = "r0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0035_audit.sql")


def downgrade() -> None:
    """Give the roles back what they had."""
    run_sql("r0035_audit_down.sql")
