"""What the application's role may change, table by table: a new table is closed until it is listed.

r0001 gives every new table away whole. Whoever adds one says here, and in its revision, what of it
may be rewritten or deleted.
"""

from __future__ import annotations

import psycopg

from wallet.testing.databases import ScratchDatabase

WHOLE = frozenset({
    # Bookkeeping of processes and nodes, sessions and counters: nothing of money or agreement.
    "fork_proposals", "halted_tokens", "linked_wallets", "network_nodes", "network_state",
    "principals", "process_state", "rate_counters", "sandbox_clock", "sandbox_faults", "sessions",
    "siwe_nonces", "chain_blocks", "users",
})  # fmt: skip
UPDATABLE = frozenset({
    "bank_lines", "chain_attempts", "chain_intents", "chain_signers", "deposits", "outgoing_usage",
    "payment_legs", "payments", "payouts", "quotes", "scan_state", "withdrawals",
    "selfcustody_key", "float_bounds",
})  # fmt: skip
DELETABLE = frozenset(
    {"audit_pauses", "cold_gas", "fx_rates", "network_freezes", "receivable_freezes", "watched"}
)


def test_no_right_is_wider_than_it_was_meant(database: ScratchDatabase) -> None:
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        rows = owner.execute(
            "SELECT c.relname, has_table_privilege('bifold_app', c.oid, 'UPDATE'),"
            " has_table_privilege('bifold_app', c.oid, 'DELETE'),"
            " has_table_privilege('bifold_app', c.oid, 'TRUNCATE') FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')"
        ).fetchall()
    assert len(rows) > 50
    assert {name for name, _u, _d, truncate in rows if truncate} == set()
    assert {name for name, update, _d, _t in rows if update} == WHOLE | UPDATABLE
    assert {name for name, _u, delete, _t in rows if delete} == WHOLE | DELETABLE


def test_what_two_people_agreed_is_not_rewritten(database: ScratchDatabase) -> None:
    """The columns that say who proposed what, and to whom it goes."""
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        open_columns = {
            f"{table}.{column}"
            for table, column in owner.execute(
                "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a"
                " ON a.attrelid = c.oid WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relname ="
                " ANY(%s) AND has_column_privilege('bifold_app', c.oid, a.attnum, 'UPDATE')",
                (
                    [
                        "treasury_moves",
                        "deposit_losses",
                        "chain_approvals",
                        "sweeps",
                        "nonce_burns",
                        "topups",
                        "cards",
                        "bank_strays",
                        "gateway_lines",
                        "bank_references",
                        "corrections",
                        "reconcile_runs",
                        "reconcile_reads",
                        "reconcile_lines",
                    ],
                ),
            )
        }
    assert not open_columns & {
        "treasury_moves.amount_minor", "treasury_moves.to_address", "treasury_moves.proposed_by",
        "treasury_moves.kind", "deposit_losses.deposit_id", "deposit_losses.entry_id",
        "chain_approvals.operator", "chain_approvals.signature", "sweeps.intent_id",
        "nonce_burns.raw", "topups.amount_minor", "topups.principal_id", "topups.card_id",
        "cards.token", "cards.principal_id", "bank_strays.amount_minor", "bank_strays.entry_id",
        "gateway_lines.amount_minor", "bank_references.reference", "bank_references.principal_id",
        "corrections.document", "corrections.reason", "corrections.reverses",
        "corrections.kind", "corrections.proposed_by", "corrections.proposed_at",
    }  # fmt: skip
    assert {
        "treasury_moves.approved_by",
        "topups.status",
        "bank_strays.approved_by",
    } <= open_columns
    assert not {column for column in open_columns if column.startswith("reconcile_")}
    assert {"treasury_moves.approved_by", "corrections.ended_by"} <= open_columns


def test_a_correction_begins_as_a_proposal(database: ScratchDatabase) -> None:
    """Nobody inserts one that two people seem to have agreed on already."""
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        allowed = {
            column
            for (column,) in owner.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'corrections'::regclass"
                " AND attnum > 0 AND has_column_privilege('bifold_app', attrelid, attnum, 'INSERT')"
            )
        }
    assert allowed == {"id", "kind", "reverses", "document", "reason", "proposed_by"}
