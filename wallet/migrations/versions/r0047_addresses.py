"""What came to an address is found by the address."""

from __future__ import annotations

from wallet.migrations.load import run_script, run_sql

revision = "r0047"
down_revision = "r0046"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0047.sql")


def downgrade() -> None:
    """Every look reads all deposits again."""
    run_script("DROP INDEX deposits_address_idx")
