"""A payment of an own account knows in which running database it got its nonce."""

from __future__ import annotations

from wallet.migrations.load import run_script, run_sql

revision = "r0052"
down_revision = "r0051"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0052.sql")


def downgrade() -> None:
    """A start of PostgreSQL is all that tells a copy again."""
    run_script("ALTER TABLE selfcustody_sends DROP COLUMN given_in")
