"""Whether this database, as it runs now, was held against the chain; old sessions go."""

from __future__ import annotations

from wallet.migrations.load import run_script, run_sql

revision = "r0048"
down_revision = "r0047"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0048.sql")


def downgrade() -> None:
    """Nobody waits for the worker's first look."""
    run_script("ALTER TABLE network_state DROP COLUMN compared_in; DROP INDEX sessions_expires_idx")
