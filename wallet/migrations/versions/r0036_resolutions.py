"""Differences with the card gateway have a way out; senseless lines of a bank are kept aside."""

from __future__ import annotations

from wallet.migrations.load import run_script, run_sql

revision = "r0036"
down_revision = "r0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0036.sql")


def downgrade() -> None:
    """Take both tables away; refused while they hold anything, for the books lean on it."""
    run_script(
        "DO $$ BEGIN IF EXISTS (SELECT FROM gateway_resolutions WHERE state = 'posted')"
        " OR EXISTS (SELECT FROM bank_lines_aside) THEN RAISE EXCEPTION"
        " 'the books lean on what was resolved and kept aside'; END IF; END $$;"
        " DROP TABLE gateway_resolutions, bank_lines_aside;"
        " DROP FUNCTION gateway_resolutions_keep();"
    )
