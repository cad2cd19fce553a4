"""What an entry tells of its cause: which row it was, where on the chain, when, who agreed.

Entries are sealed, so what one tells is what was so when it was posted. What it does not tell, as
those of before did not, is no break.
"""

from __future__ import annotations

from wallet.auditor.check import Check

Term = tuple[str, str, str]
"""What of it, as the entry tells it, as the row has it."""


def _ref(row: str) -> Term:
    return ("ref", "e.ref", row)


def _said(name: str, row: str) -> Term:
    return (name, f"e.meta->>'{name}'", f"({row})::text")


def _at(row: str) -> Term:
    return ("time", "e.event_at::text", f"({row})::text")


def _mined(intent: str) -> tuple[Term, Term]:
    return _said("tx_hash", f"{intent}.mined_tx_hash"), _said("block", f"{intent}.mined_block")


# Rows `r` with their entry `e`; network and asset; and what is told. Transfers are left out: there
# are many, and payer, payee, amount and entry are compared elsewhere.
_STORIES: tuple[tuple[str, str, str, tuple[Term, ...]], ...] = (
    (
        "deposits r JOIN entries e ON e.id = r.entry_id", "r.network", "r.asset",
        (_ref("r.id"), _said("network", "r.network"), _said("tx_hash", "r.tx_hash"),
         _said("block", "r.block_number"), _at("r.block_time")),
    ),
    (
        "unattributed_arrivals r JOIN entries e ON e.id = r.entry_id", "r.network", "r.asset",
        (_ref("r.id"), _said("network", "r.network"), _said("address", "r.address"),
         _said("block", "r.at_block"), _at("r.block_time")),
    ),
    (
        "unattributed_arrivals r JOIN deposits d ON d.id = r.deposit_id"
        " JOIN entries e ON e.id = d.entry_id", "r.network", "r.asset",
        (_said("arrival", "r.id"), _said("proposed_by", "r.proposed_by"),
         _said("approved_by", "r.approved_by")),
    ),
    (
        "cold_gas r JOIN entries e ON e.id = r.entry_id", "r.network", "NULL",
        (_ref("r.tx_hash"), _said("network", "r.network"), _said("address", "r.address"),
         _at("r.block_time")),
    ),
    (
        "nonce_burns r JOIN entries e ON e.id = r.entry_id", "r.network", "NULL",
        (_ref("r.network || '/' || r.address"), _said("tx_hash", "r.tx_hash")),
    ),
    (
        "deposit_losses r JOIN deposits d ON d.id = r.deposit_id"
        " JOIN entries e ON e.id IN (r.entry_id, r.return_entry_id)", "r.network", "d.asset",
        (_ref("r.id"), _said("network", "r.network"), _said("deposit", "d.id"),
         _said("tx_hash", "d.tx_hash"),
         ("kind", "e.kind", "CASE e.id WHEN r.entry_id THEN 'deposit_lost'"
          " ELSE 'deposit_loss_returned' END")),
    ),
    (
        "deposit_losses r JOIN deposits d ON d.id = r.deposit_id"
        " JOIN entries e ON e.id = r.settle_entry_id", "r.network", "d.asset",
        (_ref("r.id"), ("kind", "e.kind", "'deposit_loss_settled'"), _said("bearer", "r.bearer"),
         _said("proposed_by", "r.bearer_proposed_by"),
         _said("approved_by", "r.bearer_approved_by")),
    ),
    (
        "withdrawals r JOIN entries e ON e.id = r.entry_id"
        " JOIN chain_intents i ON i.id = r.intent_id", "r.network", "r.asset",
        (_ref("r.id"), _said("network", "r.network"), *_mined("i")),
    ),
    (
        "sweeps r JOIN entries e ON e.id = r.entry_id JOIN chain_intents i ON i.id = r.intent_id",
        "r.network", "r.asset",
        (_ref("r.id"), _said("network", "r.network"), _said("kind", "r.kind"), *_mined("i")),
    ),
    (
        "treasury_moves r JOIN entries e ON e.id = r.entry_id", "r.network", "r.asset",
        (_ref("r.id"), ("kind", "e.kind", "'treasury_' || r.kind"), _said("network", "r.network"),
         _said("tx_hash", "r.tx_hash")),
    ),
    (
        "conversions r JOIN entries e ON e.id = r.entry_id", "NULL", "r.source_asset",
        (_ref("r.id"), _said("quote_id", "r.quote_id")),
    ),
    (
        "hold_captures r JOIN entries e ON e.id = r.entry_id AND e.kind = 'hold_capture'",
        "NULL", "NULL", (_ref("r.hold_id"),),
    ),
    (
        "payments r JOIN entries e ON e.ref = r.id AND e.kind LIKE 'payment.%'", "NULL", "NULL",
        (_said("quote_id", "r.quote_id"),),
    ),
    (
        "topups r JOIN entries e ON e.id IN (r.entry_id, r.charge_back_entry_id)", "NULL",
        "r.asset", (_ref("r.id"), _said("card_id", "r.card_id")),
    ),
    (
        "bank_credits r JOIN entries e ON e.id = r.entry_id", "NULL", "r.asset",
        (_ref("r.topup_id"), _said("bank", "r.bank"), _said("line_id", "r.line_id"),
         _said("bank_reference", "r.bank_reference")),
    ),
    (
        "bank_strays r JOIN entries e ON e.id = r.entry_id", "NULL", "r.asset",
        (_ref("r.bank_reference"), _said("bank", "r.bank"), _said("line_id", "r.line_id")),
    ),
    (
        "bank_strays r JOIN topups t ON t.id = r.topup_id JOIN entries e ON e.id = t.entry_id",
        "NULL", "r.asset",
        (_said("stray", "r.id"), _said("proposed_by", "r.proposed_by"),
         _said("approved_by", "r.approved_by")),
    ),
    (
        "gateway_lines r JOIN entries e ON e.id = r.entry_id", "NULL", "r.asset",
        (_ref("r.reference"), _said("gateway", "r.gateway"), _said("line_id", "r.line_id")),
    ),
)  # fmt: skip


def _story(rows: str, network: str, asset: str, terms: tuple[Term, ...]) -> str:
    values = ", ".join(f"('{name}', {told}, {now})" for name, told, now in terms)
    return (
        f"SELECT e.id, {network}, {asset}, v.name || ' ' || v.told, coalesce(v.now, 'nothing')"
        f" FROM {rows}, LATERAL (VALUES {values}) v(name, told, now)"
        " WHERE v.told IS NOT NULL AND v.now IS DISTINCT FROM v.told"
    )


CHECKS = (
    Check(
        "entry_story_off",
        "what an entry tells of its cause is what stands there: which row, where, when, who agreed",
        " UNION ALL ".join(_story(*one) for one in _STORIES),
    ),
)
