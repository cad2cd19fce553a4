"""The operator log: what changed in the rows that people decide about, by whom, sealed."""

from __future__ import annotations

from wallet.migrations.load import restore, run_sql

revision = "r0051"
down_revision = "r0050"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; the rows that are there become the log's first lines."""
    run_sql("r0051.sql")


def downgrade() -> None:
    """Without it, and only as long as nothing of it is sealed."""
    run_sql("r0051_down.sql")
    restore("r0025.sql", "seal")
    restore("r0031.sql", "seal_await")
    restore("r0031.sql", "check_principals")
