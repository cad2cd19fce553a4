"""The auditor's role reads no secret; operators alone approve treasury moves and end halts."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0035"
down_revision = "r0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0035_audit.sql")
    run_sql("r0035_operators.sql")


def downgrade() -> None:
    """Give the roles back what they had."""
    run_sql("r0035_operators_down.sql")
    run_sql("r0035_audit_down.sql")
