"""Rows that people decide about, against the operator log (docs/audit.md, "Column by column").

The log is written by triggers and sealed. A row that is not what its newest line says was changed
past them. The list of columns is this room's own; a test holds it against the triggers.
"""

from __future__ import annotations

from dataclasses import dataclass

from wallet.auditor.check import Check


@dataclass(frozen=True, slots=True)
class Kept:
    """A table of the log: the columns of its key, and those that are kept. `only`: which rows."""

    key: str
    columns: str
    only: str = "true"

    def rows(self, table: str) -> str:
        """Its rows as the log's lines would have them."""
        pairs = ", ".join(f"'{name}', t.{name}" for name in self.columns.split())
        key = ", ".join(f"t.{name}" for name in self.key.split())
        told = [f"{self._or_null(name)} AS {name}" for name in ("network", "asset")]
        return (
            f"SELECT concat_ws('/', {key}) AS object_id, jsonb_build_object({pairs}) AS fields,"
            f" {', '.join(told)} FROM {table} t WHERE {self.only}"
        )

    def _or_null(self, name: str) -> str:
        return f"t.{name}" if name in f"{self.key} {self.columns}".split() else "NULL"


KEPT = {
    "accounts": Kept(
        "id", "status",
        only="t.status <> 'open' OR t.id IN (SELECT o.object_id FROM operator_log o"
        " WHERE o.object = 'accounts')",
    ),
    "audit_accepted": Kept("fingerprint", "code subject accepted_by"),
    "audit_pauses": Kept("asset", "run_id"),
    "bank_references": Kept("principal_id", "reference"),
    "bank_strays": Kept("id", "principal_id proposed_by approved_by"),
    "cases": Kept("id", "kind subject_type subject network asset status closed_by"),
    "chain_approvals": Kept("intent_id operator", "by_whom"),
    "chain_signers": Kept("network address", "role deposit_index halted_reason"),
    "corrections": Kept("id", "kind reverses state proposed_by ended_by"),
    "deposit_addresses": Kept("id", "principal_id network derivation_index address"),
    "deposit_losses": Kept("id", "bearer bearer_proposed_by bearer_approved_by"),
    "deposit_releases": Kept("id", "deposit_id state proposed_by ended_by"),
    "float_bounds": Kept("network asset tier", "low_minor high_minor set_by"),
    "fork_proposals": Kept(
        "id", "network fork_number fork_hash next_hash proposed_by approved_by"
    ),
    "gateway_resolutions": Kept(
        "id", "gateway reference kind deed state proposed_by ended_by principal_id"
    ),
    "halted_tokens": Kept("network asset", ""),
    "house_addresses": Kept("network address", "place"),
    "network_freezes": Kept("network", "evacuate_to by_whom"),
    "network_state": Kept("network", "halted_reason"),
    "treasury_moves": Kept(
        "id",
        "network asset kind to_address amount_minor state proposed_by approved_by intent_id",
    ),
    "unattributed_arrivals": Kept("id", "principal_id tx_hash proposed_by approved_by"),
}  # fmt: skip
_NOTES = ("cases",)
"""Of these no money follows."""
_FOR_EVER = ("bank_references", "deposit_addresses")
"""Whose these are never changes: no role of the service may."""


def _off(tables: list[str]) -> str:
    return " UNION ALL ".join(
        f"(SELECT '{table} ' || object_id, n.network, n.asset,"
        " CASE WHEN l.action IS NULL THEN 'a line of the log' WHEN l.action = 'delete' THEN 'gone'"
        "  ELSE l.fields::text END, coalesce(n.fields::text, 'gone')"
        " FROM (SELECT DISTINCT ON (o.object_id) o.object_id, o.action, o.fields"
        f"  FROM operator_log o WHERE o.object = '{table}' ORDER BY o.object_id, o.seq DESC) l"
        f" FULL JOIN ({KEPT[table].rows(table)}) n USING (object_id)"
        " WHERE l.action IS NULL OR (l.action = 'delete') <> (n.fields IS NULL)"
        "  OR l.action <> 'delete' AND l.fields <> n.fields)"
        for table in tables
    )


CHECKS = (
    Check(
        "log_row_off",
        "what people decide about is as the operator log says",
        _off([table for table in KEPT if table not in _NOTES]),
    ),
    Check(
        "log_case_off",
        "a case is as the operator log says",
        _off(list(_NOTES)),
        pauses=False,
    ),
    Check(
        "log_owner_changed",
        "whose an address or a reference is never changes",
        "SELECT o.object || ' ' || o.object_id, NULL, NULL, (SELECT b.fields::text"
        "  FROM operator_log b WHERE b.object = o.object AND b.object_id = o.object_id"
        "   AND b.seq < o.seq ORDER BY b.seq DESC LIMIT 1), o.action || ' ' || o.fields::text"
        " FROM operator_log o WHERE o.object IN"
        f" ({', '.join(repr(one) for one in _FOR_EVER)}) AND (o.action IN ('update', 'delete')"
        "  OR EXISTS (SELECT FROM operator_log b WHERE b.object = o.object"
        "   AND b.object_id = o.object_id AND b.seq < o.seq))",
    ),
)
