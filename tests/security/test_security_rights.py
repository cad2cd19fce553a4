"""What the application's role may change, table by table: a new table is closed until it is listed.

r0001 gives every new table away whole. Whoever adds one says here, and in its revision, what of it
may be rewritten or deleted.
"""

from __future__ import annotations

import psycopg
import pytest

from wallet.migrate import upgrade
from wallet.testing.databases import ScratchCluster, ScratchDatabase

WHOLE = frozenset({
    # Bookkeeping of processes and nodes, sessions and counters: nothing of money or agreement.
    "linked_wallets", "network_nodes",
    "principals", "process_state", "rate_counters", "sandbox_faults", "sessions",
    "siwe_nonces", "chain_blocks", "users",
})  # fmt: skip
UPDATABLE = frozenset({
    "bank_lines", "chain_attempts", "chain_intents", "deposits", "outgoing_usage", "quotes",
    "scan_state", "withdrawals",
    "selfcustody_key",
})  # fmt: skip
DELETABLE = frozenset({"cold_gas", "fx_rates", "receivable_freezes", "watched"})


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


def test_a_payment_goes_where_its_payer_said(database: ScratchDatabase) -> None:
    """Recipients are not rewritten; nor is which of them a payment is for. Until the order to the
    bank was written down the application could name another one, and no audit said so."""
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        columns = {
            table: {
                column
                for (column,) in owner.execute(
                    "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                    " AND has_column_privilege('bifold_app', attrelid, attnum, 'UPDATE')",
                    (table,),
                )
            }
            for table in ("payments", "payouts", "payment_legs")
        }
    assert columns == {
        "payments": {
            "status", "reason", "waiting_for", "waiting_until", "next_try_at", "refund_minor",
            "updated_at", "ended_at",
        },
        "payouts": {"answer", "reason", "contradicted_at", "told_at", "answered_at"},
        "payment_legs": {"status", "at"},
    }  # fmt: skip
    with (
        psycopg.connect(database.conninfo("bifold_app")) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute("UPDATE payments SET recipient_id = 'rcp_other'")


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
                        "network_freezes",
                        "chain_signers",
                        "network_state",
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
                        "gateway_resolutions",
                        "deposit_releases",
                        "bank_lines_aside",
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
        "treasury_moves.approved_by", "network_freezes.network", "network_freezes.by_whom",
        "chain_signers.address", "chain_signers.network", "network_state.network",
    }  # fmt: skip
    assert {"treasury_moves.state", "topups.status"} <= open_columns
    assert not {column for column in open_columns if column.startswith("bank_strays.")}
    assert not {column for column in open_columns if ".bearer" in column}
    assert "deposit_losses.settle_entry_id" not in open_columns
    assert not {column for column in open_columns if column.startswith("reconcile_")}
    assert "corrections.ended_by" not in open_columns
    assert not {
        column
        for column in open_columns
        if column.startswith(("gateway_reso", "bank_lines_aside", "deposit_rel"))
    }


def test_a_correction_begins_as_a_proposal(database: ScratchDatabase) -> None:
    """Nobody inserts one that two people seem to have agreed on already."""
    assert _insertable(database, "bifold_operator", "corrections") == {
        "id", "kind", "reverses", "document", "reason", "proposed_by"
    }  # fmt: skip


def test_a_resolution_begins_as_a_proposal(database: ScratchDatabase) -> None:
    assert _insertable(database, "bifold_operator", "gateway_resolutions") == {
        "id", "gateway", "reference", "asset", "kind", "deed", "listed_minor", "booked_minor",
        "through_line", "reason", "proposed_by",
    }  # fmt: skip


def test_a_release_begins_as_a_proposal(database: ScratchDatabase) -> None:
    assert _insertable(database, "bifold_operator", "deposit_releases") == {
        "id", "deposit_id", "reason", "proposed_by"
    }  # fmt: skip


def _insertable(database: ScratchDatabase, role: str, table: str) -> set[str]:
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        rows = owner.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND has_column_privilege(%s, attrelid, attnum, 'INSERT')",
            (table, role),
        )
        return {column for (column,) in rows}


@pytest.mark.parametrize(
    "table",
    [
        "corrections",
        "gateway_resolutions",
        "deposit_releases",
        "audit_accepted",
        "fork_proposals",
        "chain_approvals",
        "network_freezes",
        "float_bounds",
    ],
)
def test_what_operators_agree_upon_no_process_writes(database: ScratchDatabase, table: str) -> None:
    assert _insertable(database, "bifold_app", table) == set()
    assert _insertable(database, "bifold_operator", table) != set()


@pytest.mark.parametrize(
    "deed",
    [
        "DELETE FROM audit_pauses",
        "UPDATE audit_pauses SET asset = 'XXX'",
        "INSERT INTO audit_accepted (fingerprint, code, subject, accepted_by, note)"
        " VALUES ('f', 'c', 's', 'eve', 'fine')",
        "DELETE FROM audit_accepted",
        "INSERT INTO corrections (id, kind, document, reason, proposed_by)"
        " VALUES ('cor_x', 'entries', '{}', 'r', 'ada')",
        "UPDATE corrections SET state = 'posted', ended_by = 'bea', ended_at = now(),"
        " entry_ids = '{}'",
        "UPDATE unattributed_arrivals SET principal_id = 'usr_x', proposed_by = 'ada'",
        "UPDATE unattributed_arrivals SET approved_by = 'bea', deposit_id = 'dep_x'",
        "INSERT INTO unattributed_arrivals (id, principal_id) VALUES ('una_x', 'usr_x')",
        "UPDATE bank_strays SET principal_id = 'usr_x', proposed_by = 'ada'",
        "UPDATE bank_strays SET approved_by = 'bea', topup_id = 'top_x'",
        "INSERT INTO bank_strays (id, approved_by) VALUES ('una_x', 'bea')",
        "UPDATE deposit_losses SET bearer = 'house', bearer_proposed_by = 'ada'",
        "UPDATE deposit_losses SET bearer_approved_by = 'bea', settle_entry_id = 'ent_x'",
        "INSERT INTO deposit_losses (id, bearer) VALUES ('los_x', 'customer')",
        "INSERT INTO fork_proposals (network, fork_number, fork_hash, next_hash, proposed_by)"
        " VALUES ('local', 1, '0x1', '0x2', 'ada')",
        "UPDATE fork_proposals SET approved_by = 'bea'",
        "DELETE FROM fork_proposals",
        "UPDATE treasury_moves SET approved_by = 'bea'",
        "INSERT INTO network_freezes (network, reason, by_whom) VALUES ('local', 'r', 'ada')",
        "DELETE FROM network_freezes",
        "DELETE FROM halted_tokens",
        "UPDATE halted_tokens SET asset = 'XXX'",
        "DELETE FROM network_state",
        "UPDATE network_state SET network = 'other'",
        "UPDATE chain_signers SET address = '0x'",
        "UPDATE audit_runs SET acted_at = now()",
        "UPDATE audit_runs SET findings = 0",
        "SET ROLE bifold_operator",
        "SELECT audit_record('{}')",
    ],
)
def test_code_running_as_the_api_is_no_operator(database: ScratchDatabase, deed: str) -> None:
    with (
        psycopg.connect(database.conninfo("bifold_app")) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute(deed.encode())


def test_an_operator_can_all_that_the_application_can(database: ScratchDatabase) -> None:
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        less = owner.execute(
            "SELECT c.relname, r.name FROM pg_class c JOIN pg_namespace n ON n.oid ="
            " c.relnamespace, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r(name)"
            " WHERE n.nspname IN ('public', 'jobs') AND c.relkind IN ('r', 'p', 'v')"
            " AND has_table_privilege('bifold_app', c.oid, r.name)"
            " AND NOT has_table_privilege('bifold_operator', c.oid, r.name)"
        ).fetchall()
        assert less == []
        # … and neither migrates nor makes roles.
        assert owner.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, pg_has_role('bifold_operator',"
            " 'bifold_owner', 'MEMBER') FROM pg_roles WHERE rolname = 'bifold_operator'"
        ).fetchone() == (False, False, False, False)


def test_the_migration_asks_for_the_role_before_it_takes_rights_away(
    cluster: ScratchCluster,
) -> None:
    """Else nobody could end a pause any more."""
    before = cluster.create(bare=True)
    upgrade(before.owner_url, "r0028")
    with psycopg.connect(cluster.server.conninfo(), autocommit=True) as root:
        root.execute("REVOKE bifold_app FROM bifold_operator")
        try:
            with pytest.raises(psycopg.errors.RaiseException, match="CREATE ROLE bifold_operator"):
                upgrade(before.owner_url)
        finally:
            root.execute("GRANT bifold_app TO bifold_operator")
    with psycopg.connect(before.conninfo("bifold_owner")) as owner:
        assert owner.execute(
            "SELECT has_table_privilege('bifold_app', 'audit_pauses', 'DELETE')"
        ).fetchone() == (True,)
    upgrade(before.owner_url)
