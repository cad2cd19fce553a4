"""A deposit that was set aside has a way into the books."""

from __future__ import annotations

from wallet.migrations.load import run_script, run_sql

revision = "r0042"
down_revision = "r0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0042.sql")


def downgrade() -> None:
    """Take the table away; refused once anything was released, for the books lean on it."""
    run_script(
        "DO $$ BEGIN IF EXISTS (SELECT FROM deposit_releases WHERE state = 'released') THEN"
        " RAISE EXCEPTION 'the books lean on what was released'; END IF; END $$;"
        " DROP TABLE deposit_releases; DROP FUNCTION deposit_releases_keep();"
    )
