"""Wrong decimals of nothing are put right; the factory that was asked is known."""

from __future__ import annotations

from wallet.migrations.load import run_script, run_sql

revision = "r0046"
down_revision = "r0045"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    run_sql("r0046.sql")


def downgrade() -> None:
    """Terms stand from the first moment on again."""
    run_script(
        "ALTER TABLE network_state DROP COLUMN factory;"
        " DROP TRIGGER asset_terms_stand ON asset_terms; DROP FUNCTION asset_terms_stand();"
        " DROP TRIGGER asset_terms_append_only ON asset_terms;"
        " CREATE TRIGGER asset_terms_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON"
        " asset_terms FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();"
        " DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN"
        " REVOKE UPDATE ON asset_terms FROM bifold_app; END IF; END $$;"
    )
