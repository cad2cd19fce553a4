"""The terms of every asset that was ever listed stay."""

from __future__ import annotations

from wallet.migrations.load import run_script, run_sql

revision = "r0045"
down_revision = "r0044"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0045.sql")


def downgrade() -> None:
    """Forget them."""
    run_script("DROP TABLE asset_terms")
