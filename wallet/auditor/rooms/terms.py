"""What kept answers told, term by term, against what stands there now."""

from __future__ import annotations


def _said(*path: str) -> str:
    return "s.body #>> '{" + ",".join(path) + "}'"


def _told(*path: str) -> str:
    """An amount and its asset as answered, in whole minor units."""
    minor = f"ltrim(replace({_said(*path, 'amount')}, '.', ''), '0')"
    return f"CASE {minor} WHEN '' THEN '0' ELSE {minor} END || ' ' || ({_said(*path, 'asset')})"


def _moment(column: str) -> str:
    """As answers write it."""
    return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"


_SPLIT_NOTHING = "'0 ' || t.source_asset"
_QUOTE_FEE = f"coalesce({_told('fees', '0', 'money')}, {_SPLIT_NOTHING})"
# A quote that was not used may have been ended before its time.
_QUOTE_END = _moment("t.expires_at")
_TOLD_TO = f"(({_said('recipient')})::jsonb - ARRAY['id', 'label', 'created_at'])"
# By route: what was made, its asset, and (check, what of it, as it was told, as it stands). What an
# answer does not tell, as those of before did not, is NULL and no break.
TERMS: dict[str, tuple[str, str, tuple[tuple[str, str, str, str], ...]]] = {
    "/v1/quotes": (
        "quotes t ON t.id = s.id",
        "t.source_asset",
        tuple(
            ("answer_quote_terms_off", *term)
            for term in (
                ("principal", "s.principal_id", "t.principal_id"),
                ("kind", _said("kind"), "t.kind"),
                ("corridor", _said("corridor"), "t.corridor"),
                ("source", _told("source"), "t.source_minor || ' ' || t.source_asset"),
                ("target", _told("target"), "t.target_minor || ' ' || t.target_asset"),
                ("fee", _QUOTE_FEE, "t.fee_minor || ' ' || t.source_asset"),
                ("cost", _told("total_cost"),
                 "t.spread_minor + t.fee_minor || ' ' || t.source_asset"),
                ("mid rate", _said("mid_rate"), "trim_scale(t.mid_rate)::text"),
                ("spread", _said("spread"), "trim_scale(t.spread)::text"),
                ("rounding", _said("rounding"), "t.rounding"),
                ("refund rule", _said("refund_rule"), "coalesce(t.refund_rule, 'none')"),
                ("seconds", _said("eta_seconds"), "t.eta_seconds::text"),
                ("simulated", _said("simulated"), "t.simulated::text"),
                ("rate", _said("rate"), "trim_scale(t.rate)::text"),
                ("rate of", _said("rate_as_of"), _moment("t.rate_as_of")),
                ("created", _said("created_at"), _moment("t.created_at")),
                ("end", _said("expires_at"), f"CASE WHEN t.used_by IS NOT NULL OR {_QUOTE_END}"
                 f" COLLATE \"C\" > ({_said('expires_at')}) THEN {_QUOTE_END} END"),
            )
        ),
    ),
    "/v1/holds": (
        "payment_holds t ON t.id = s.id JOIN holds h ON h.id = t.id",
        "h.asset",
        tuple(
            ("answer_hold_terms_off", *term)
            for term in (
                ("payee", _said("to", "id"), "t.payee_id"),
                ("money", _told("money"), "h.amount_minor || ' ' || h.asset"),
                ("end", _said("expires_at"), _moment("h.expires_at")),
                ("created", _said("created_at"), _moment("t.created_at")),
            )
        ),
    ),
    "/v1/withdrawals": (
        "withdrawals t ON t.id = s.id",
        "t.asset",
        tuple(
            ("answer_withdrawal_terms_off", *term)
            for term in (
                ("network", _said("network"), "t.network"),
                ("to", f"lower({_said('to_address')})", "lower(t.to_address)"),
                ("money", _told("money"), "t.amount_minor || ' ' || t.asset"),
                ("fee at most", _told("fee_max"), "t.fee_bound_minor || ' ' || t.asset"),
                ("fee expected", _told("fee_expected"), "t.fee_expected_minor || ' ' || t.asset"),
                ("created", _said("created_at"), _moment("t.created_at")),
            )
        ),
    ),
    "/v1/topups": (
        "topups t ON t.id = s.id LEFT JOIN bank_references b ON b.principal_id = s.principal_id",
        "t.asset",
        tuple(
            ("answer_topup_terms_off", *term)
            for term in (
                ("principal", "s.principal_id", "t.principal_id"),
                ("money", _told("money"), "t.amount_minor || ' ' || t.asset"),
                ("method", _said("method"), "t.method"),
                ("card", _said("card", "id"), "coalesce(t.card_id, 'none')"),
                ("created", _said("created_at"), _moment("t.created_at")),
                # What comes with it is theirs: it never changes.
                ("reference", _said("next_action", "bank_details", "reference"),
                 "coalesce(b.reference, 'none')"),
            )
        ),
    ),
    "/v1/payments": (
        "payments t ON t.id = s.id LEFT JOIN payouts o ON o.ref = t.id",
        "(SELECT q.source_asset FROM quotes q WHERE q.id = t.quote_id)",
        (
            ("answer_recipient_off", "recipient", _said("recipient", "id"), "t.recipient_id"),
            ("answer_beneficiary_off", "beneficiary", "'as told'", "CASE WHEN o.ref IS NOT NULL"
             " THEN (SELECT 'another ' || string_agg(k.key, ', ') FROM"
             f" jsonb_each_text({_TOLD_TO}) k WHERE o.beneficiary->>k.key IS DISTINCT FROM k.value)"
             " END"),
            ("answer_payment_terms_off", "quote", _said("quote", "id"), "t.quote_id"),
            ("answer_payment_terms_off", "corridor", _said("corridor"), "t.corridor"),
            ("answer_payment_terms_off", "rail", _said("rail"), "t.rail"),
            ("answer_payment_terms_off", "created", _said("created_at"), _moment("t.created_at")),
        ),
    ),
}  # fmt: skip


def kept_terms(route: str) -> str:
    """What was answered of it against what stands there."""
    made, asset, terms = TERMS[route]
    values = ", ".join(f"('{code}', '{name}', {told}, {now})" for code, name, told, now in terms)
    return (
        f"SELECT v.code, t.id || ' ' || v.name, NULL, {asset}, v.told, v.found FROM other s"
        f" JOIN {made}, LATERAL (VALUES {values}) v(code, name, told, found)"
        f" WHERE s.route = '{route}' AND v.told <> v.found"
    )
