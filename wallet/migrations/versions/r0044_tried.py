"""What a person tried in a day is bounded, too: the index holds what was released."""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = "r0044"
down_revision = "r0043"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0044.sql")


def downgrade() -> None:
    """Of what counts alone."""
    run_sql("r0044_down.sql")
