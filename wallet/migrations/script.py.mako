"""${message}"""

from __future__ import annotations

from wallet.migrations.load import run_sql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("${up_revision}.sql")
