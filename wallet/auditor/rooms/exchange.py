"""Quotes, conversions, payments abroad with their legs, and the bank's own list."""

from __future__ import annotations

from wallet.auditor.check import Check

TOGETHER = 600
"""Seconds: both are written by one transaction, which may have waited in between."""
_PAID = "payments p JOIN quotes q ON q.id = p.quote_id"
# The entries that a payment must have by now, by where it stands. From crypto there is no funding
# step of its own; a cancelled one may have been converted or not, as its entries tell.
_FIAT = "(q.source_asset IN ('EUR', 'USD', 'GBP', 'CNY', 'HKD', 'JPY', 'SGD', 'AED', 'MXN', 'BRL',"
_FIAT += " 'INR', 'NGN', 'KES', 'PHP', 'KWD', 'CHF') OR EXISTS (SELECT FROM entries e"
_FIAT += " WHERE e.ref = p.id AND e.kind = 'payment.funded'))"
_DEMANDED = f"""demanded AS (
    SELECT p.id, k.kind FROM {_PAID},
    LATERAL unnest(CASE
        WHEN p.status = 'funded' THEN ARRAY['payment.funded']
        WHEN p.status = 'cancelled' THEN ARRAY['payment.cancelled']
        ELSE ARRAY['payment.converted'] END
      || CASE WHEN {_FIAT} THEN ARRAY['payment.funded'] ELSE ARRAY[]::text[] END
      || CASE WHEN p.status IN ('paying_out', 'completed', 'returned', 'failed')
           THEN ARRAY['payment.submitted'] ELSE ARRAY[]::text[] END
      || CASE p.status WHEN 'completed' THEN ARRAY['payment.completed']
           WHEN 'returned' THEN ARRAY['payment.paid', 'payment.returned']
           WHEN 'failed' THEN ARRAY['payment.failed'] ELSE ARRAY[]::text[] END) k(kind)
    GROUP BY p.id, k.kind)"""
_DONE = f"""steps AS (
    SELECT e.id AS entry_id, e.kind, p.id AS payment, p.rail, p.principal_id, q.source_asset AS s,
           q.source_minor AS source, q.target_asset AS t, q.target_minor AS target,
           q.fee_minor AS fee, q.spread_minor AS spread,
           {_FIAT} AS funded,
           EXISTS (SELECT FROM entries c WHERE c.ref = p.id AND c.kind = 'payment.converted')
             AS converted,
           -- A payer whose account is closed by now is paid aside.
           CASE WHEN EXISTS (SELECT FROM postings x JOIN accounts a ON a.id = x.account_id
                WHERE x.entry_id = e.id AND a.path = 'unattributed:payments:' || q.source_asset)
                THEN 'unattributed:payments:' || q.source_asset
                ELSE 'customer:' || p.principal_id || ':' || q.source_asset END AS back
      FROM entries e JOIN payments p ON p.id = e.ref JOIN quotes q ON q.id = p.quote_id
     WHERE e.kind LIKE 'payment.%'),
moves AS (
    SELECT entry_id, 'customer:' || principal_id || ':' || s AS path, s AS asset, -source AS amount
      FROM steps WHERE kind = 'payment.funded'
    UNION ALL SELECT entry_id, 'payments:in_transit:' || s, s, source
      FROM steps WHERE kind = 'payment.funded'
    UNION ALL SELECT entry_id, CASE WHEN funded THEN 'payments:in_transit:' || s
        ELSE 'customer:' || principal_id || ':' || s END, s, -source
      FROM steps WHERE kind = 'payment.converted'
    UNION ALL SELECT entry_id, 'payments:in_transit:' || t, t, target
      FROM steps WHERE kind = 'payment.converted'
    UNION ALL SELECT entry_id, 'payments:in_transit:' || t, t, -target
      FROM steps WHERE kind = 'payment.submitted'
    UNION ALL SELECT entry_id, 'payouts:' || rail || ':in_transit:' || t, t, target
      FROM steps WHERE kind = 'payment.submitted'
    UNION ALL SELECT entry_id, 'payouts:' || rail || ':in_transit:' || t, t, -target
      FROM steps WHERE kind IN ('payment.completed', 'payment.paid', 'payment.failed')
    UNION ALL SELECT entry_id, 'bank:' || (SELECT min(split_part(path, ':', 2)) FROM accounts
        WHERE path LIKE 'bank:%:' || t) || ':' || t, t,
        CASE WHEN kind = 'payment.returned' THEN -target ELSE target END
      FROM steps WHERE kind IN ('payment.completed', 'payment.paid', 'payment.returned')
    UNION ALL SELECT entry_id, 'payments:in_transit:' || CASE WHEN converted THEN t ELSE s END,
        CASE WHEN converted THEN t ELSE s END, CASE WHEN converted THEN -target ELSE -source END
      FROM steps WHERE kind = 'payment.cancelled'
    UNION ALL SELECT entry_id, back, s, source - CASE WHEN kind = 'payment.returned' THEN fee
        ELSE 0 END FROM steps
     WHERE kind IN ('payment.returned', 'payment.failed', 'payment.cancelled')
    UNION ALL SELECT x.entry_id, line.path, line.asset, x.sign * line.amount
      FROM (SELECT *, CASE WHEN kind = 'payment.converted' THEN 1 ELSE -1 END AS sign FROM steps
             WHERE kind IN ('payment.converted', 'payment.returned', 'payment.failed')
                OR (kind = 'payment.cancelled' AND converted)) x,
      LATERAL (VALUES ('house:fx_position:' || s, s, source - fee - spread),
                      ('income:fx_spread:' || s, s, spread),
                      ('income:fee:payment:' || s, s,
                       CASE WHEN x.kind = 'payment.returned' THEN 0 ELSE fee END),
                      ('house:fx_position:' || t, t, -target)) line(path, asset, amount)),
want AS (SELECT entry_id, path, asset, sum(amount) AS amount FROM moves GROUP BY 1, 2, 3
         HAVING sum(amount) <> 0),
have AS (SELECT p.entry_id, a.path, p.asset, p.amount_minor AS amount FROM postings p
           JOIN accounts a ON a.id = p.account_id
          WHERE p.entry_id IN (SELECT entry_id FROM steps))"""
_OPEN_DELTAS = (
    "LEFT JOIN (SELECT account_id, sum(amount_minor) AS amount FROM account_deltas GROUP BY 1) o"
    " ON o.account_id = a.id"
)
# What of a beneficiary is the account itself, by type.
_ACCOUNT = "coalesce({})".format(
    ", ".join(f"o.beneficiary->>'{name}'" for name in ("iban", "clabe", "account", "address", "to"))
)

CHECKS = (
    Check(
        "quote_use_off",
        "a quote is used once, in its time, by what names it",
        "SELECT q.id, NULL, q.source_asset, coalesce(c.id, p.id), q.used_by FROM quotes q"
        " LEFT JOIN conversions c ON c.quote_id = q.id LEFT JOIN payments p ON p.quote_id = q.id"
        " WHERE q.used_by IS DISTINCT FROM coalesce(c.id, p.id) OR (c.id IS NOT NULL"
        "  AND p.id IS NOT NULL) OR (q.used_by IS NULL) <> (q.used_at IS NULL)"
        "  OR q.used_at > q.expires_at"
        "  OR abs(extract(epoch FROM q.used_at - coalesce(c.created_at, p.created_at)))"
        f"   > {TOGETHER}",
    ),
    Check(
        "quote_parts_off",
        "a quote's source covers its fee and its spread",
        "SELECT id, NULL, source_asset, 'at least ' || (fee_minor + spread_minor), source_minor"
        " FROM quotes WHERE source_minor < fee_minor + spread_minor OR fee_minor < 0"
        "  OR spread_minor < 0 OR target_minor <= 0 OR rate > mid_rate",
    ),
    Check(
        "conversion_quote_off",
        "a conversion is its quote",
        "SELECT c.id, NULL, c.source_asset, concat_ws(' ', q.principal_id, q.source_minor,"
        "  q.source_asset, q.target_minor, q.target_asset), concat_ws(' ', c.principal_id,"
        "  c.source_minor, c.source_asset, c.target_minor, c.target_asset) FROM conversions c"
        " LEFT JOIN quotes q ON q.id = c.quote_id WHERE q.id IS NULL OR q.kind <> 'conversion'"
        " OR (q.principal_id, q.source_minor, q.source_asset, q.target_minor, q.target_asset) <>"
        "  (c.principal_id, c.source_minor, c.source_asset, c.target_minor, c.target_asset)",
    ),
    Check(
        "payment_quote_off",
        "a payment is by a payment quote of its own payer",
        "SELECT p.id, NULL, q.source_asset, p.principal_id || ' ' || p.corridor,"
        " coalesce(q.principal_id || ' ' || coalesce(q.corridor, '?'), 'no quote') FROM payments p"
        " LEFT JOIN quotes q ON q.id = p.quote_id WHERE q.id IS NULL OR q.kind <> 'payment'"
        "  OR q.principal_id <> p.principal_id OR q.corridor IS DISTINCT FROM p.corridor",
    ),
    Check(
        "payment_recipient_off",
        "a payment goes to a recipient of its payer",
        "SELECT p.id, NULL, NULL, p.principal_id, r.principal_id FROM payments p"
        " LEFT JOIN recipients r ON r.id = p.recipient_id"
        " WHERE r.principal_id IS DISTINCT FROM p.principal_id",
    ),
    Check(
        "payment_step_missing",
        "a payment has booked every step up to where it stands",
        f"WITH {_DEMANDED} SELECT d.id, NULL, q.source_asset, d.kind, NULL FROM demanded d"
        " JOIN payments p ON p.id = d.id JOIN quotes q ON q.id = p.quote_id"
        " WHERE NOT EXISTS (SELECT FROM entries e WHERE e.ref = d.id AND e.kind = d.kind)",
    ),
    Check(
        "payment_step_extra",
        "a payment has booked no step beyond where it stands",
        f"WITH {_DEMANDED} SELECT e.ref, NULL, (SELECT min(asset) FROM postings x"
        "  WHERE x.entry_id = e.id), NULL, e.kind FROM entries e JOIN payments p ON p.id = e.ref"
        " WHERE e.kind LIKE 'payment.%' AND NOT EXISTS (SELECT FROM demanded d"
        "  WHERE d.id = e.ref AND d.kind = e.kind)"
        " AND NOT (p.status = 'cancelled' AND e.kind = 'payment.converted')",
    ),
    Check(
        "payment_step_twice",
        "a payment books a step once",
        "SELECT ref || ' ' || kind, NULL, NULL, 1, count(*) FROM entries"
        " WHERE kind LIKE 'payment.%' GROUP BY ref, kind HAVING count(*) > 1",
    ),
    Check(
        "payment_step_uncaused",
        "a step of a payment is of a payment that exists",
        "SELECT e.id, NULL, (SELECT min(asset) FROM postings x WHERE x.entry_id = e.id),"
        " e.ref, NULL"
        " FROM entries e LEFT JOIN payments p ON p.id = e.ref"
        " WHERE e.kind LIKE 'payment.%' AND p.id IS NULL",
    ),
    Check(
        "payment_entry_off",
        "a step of a payment moves exactly what its quote says",
        f"WITH {_DONE} SELECT entry_id, NULL, asset, path || ' ' || coalesce(want.amount, 0),"
        " coalesce(have.amount, 0) FROM want FULL JOIN have USING (entry_id, path, asset)"
        " WHERE want.amount IS DISTINCT FROM have.amount",
    ),
    Check(
        "payments_transit_off",
        "what is in transit is the payments between funding and handing over",
        "SELECT a.path, NULL, a.asset, coalesce(w.amount, 0), a.balance_minor +"
        " coalesce(o.amount, 0)"
        f" FROM accounts a {_OPEN_DELTAS} LEFT JOIN (SELECT CASE WHEN p.status = 'funded'"
        "  THEN q.source_asset ELSE q.target_asset END AS asset, sum(CASE WHEN p.status = 'funded'"
        f"  THEN q.source_minor ELSE q.target_minor END) AS amount FROM {_PAID}"
        "  WHERE p.status IN ('funded', 'converted', 'settling') GROUP BY 1) w ON w.asset = a.asset"
        " WHERE a.path LIKE 'payments:in_transit:%'"
        " AND a.balance_minor + coalesce(o.amount, 0) <> coalesce(w.amount, 0)",
    ),
    Check(
        "payouts_transit_off",
        "what a rail has to answer for is the payments handed to it",
        "SELECT a.path, NULL, a.asset, coalesce(w.amount, 0), a.balance_minor +"
        " coalesce(o.amount, 0)"
        f" FROM accounts a {_OPEN_DELTAS} LEFT JOIN (SELECT p.rail, q.target_asset AS asset,"
        f"  sum(q.target_minor) AS amount FROM {_PAID} WHERE p.status = 'paying_out'"
        "  GROUP BY 1, 2) w ON a.path = 'payouts:' || w.rail || ':in_transit:' || w.asset"
        " WHERE a.path LIKE 'payouts:%:in_transit:%'"
        " AND a.balance_minor + coalesce(o.amount, 0) <> coalesce(w.amount, 0)",
    ),
    Check(
        "leg_amount_off",
        "a leg carries what the quote says",
        "SELECT l.id, NULL, l.asset, CASE WHEN l.kind = 'funding' THEN q.source_minor || ' '"
        "  || q.source_asset WHEN l.kind = 'refund' THEN p.refund_minor || ' ' || q.source_asset"
        "  ELSE q.target_minor || ' ' || q.target_asset END, l.amount_minor || ' ' || l.asset"
        f" FROM payment_legs l JOIN {_PAID} ON p.id = l.payment_id WHERE (l.amount_minor, l.asset)"
        " IS DISTINCT FROM CASE WHEN l.kind = 'funding' THEN (q.source_minor, q.source_asset)"
        "  WHEN l.kind = 'refund' THEN (p.refund_minor, q.source_asset)"
        "  ELSE (q.target_minor, q.target_asset) END",
    ),
    Check(
        "leg_missing",
        "a payment has its four legs, and a refund exactly when money went back",
        "SELECT p.id, NULL, NULL, CASE WHEN p.refund_minor IS NULL THEN 4 ELSE 5 END, count(l.id)"
        " FROM payments p LEFT JOIN payment_legs l ON l.payment_id = p.id GROUP BY p.id"
        " HAVING count(l.id) <> CASE WHEN p.refund_minor IS NULL THEN 4 ELSE 5 END"
        "  OR (p.refund_minor IS NULL) <> (count(l.id) FILTER (WHERE l.kind = 'refund') = 0)",
    ),
    Check(
        "leg_status_off",
        "a payout leg stands where its payment stands",
        "SELECT l.id, NULL, l.asset, p.status, l.status FROM payment_legs l"
        " JOIN payments p ON p.id = l.payment_id WHERE l.kind = 'payout' AND NOT CASE p.status"
        "  WHEN 'completed' THEN l.status = 'done' WHEN 'returned' THEN l.status = 'returned'"
        "  WHEN 'failed' THEN l.status = 'failed' WHEN 'paying_out' THEN"
        "   l.status IN ('pending', 'submitted') WHEN 'cancelled' THEN l.status = 'skipped'"
        "  ELSE l.status = 'pending' END",
    ),
    Check(
        "payment_refund_off",
        "what went back is the source, less the fee where the money had left",
        "SELECT p.id, NULL, q.source_asset, CASE p.status WHEN 'returned' THEN q.source_minor"
        "  - q.fee_minor WHEN 'failed' THEN q.source_minor WHEN 'cancelled' THEN"
        " q.source_minor END,"
        f" p.refund_minor FROM {_PAID} WHERE p.refund_minor IS DISTINCT FROM CASE p.status"
        "  WHEN 'returned' THEN q.source_minor - q.fee_minor WHEN 'failed' THEN q.source_minor"
        "  WHEN 'cancelled' THEN q.source_minor END",
    ),
    Check(
        "payment_usage_off",
        "a payment counts for its payer's day unless its money came back",
        "SELECT p.id, NULL, NULL, CASE WHEN p.refund_minor IS NULL THEN 'counted'"
        "  ELSE 'released' END, CASE WHEN u.ref IS NULL THEN 'nothing'"
        "  WHEN u.released_at IS NULL THEN 'counted' ELSE 'released' END FROM payments p"
        " LEFT JOIN outgoing_usage u ON u.ref = p.id AND u.kind = 'payment'"
        " WHERE u.ref IS NULL OR u.principal_id <> p.principal_id"
        "  OR (u.released_at IS NOT NULL) <> (p.refund_minor IS NOT NULL)",
    ),
    Check(
        "payment_usage_worth_off",
        "a payment counts for its payer's day with what its quote was worth in euro",
        "SELECT p.id, NULL, q.source_asset, q.eur_minor, u.eur_minor FROM payments p"
        " JOIN quotes q ON q.id = p.quote_id JOIN outgoing_usage u ON u.ref = p.id"
        " WHERE u.eur_minor <> q.eur_minor",
        pauses=False,
    ),
    Check(
        "payout_missing",
        "a payment that was handed over is an order to its bank, of the same amount",
        "SELECT p.id, NULL, q.target_asset, q.target_minor || ' by ' || p.rail,"
        " coalesce(o.amount_minor || ' by ' || o.rail, 'no order') FROM payments p"
        " JOIN quotes q ON q.id = p.quote_id LEFT JOIN payouts o ON o.ref = p.id"
        " WHERE p.status IN ('paying_out', 'completed', 'returned', 'failed') AND (o.ref IS NULL"
        "  OR o.amount_minor <> q.target_minor OR o.asset <> q.target_asset OR o.rail <> p.rail"
        "  OR NOT EXISTS (SELECT FROM payment_legs l WHERE l.payment_id = p.id"
        "   AND l.kind = 'payout' AND l.reference = o.reference))",
    ),
    Check(
        "payout_beneficiary_off",
        "an order to a bank pays whom its payment was for when it was made",
        # The first words tell the name and the end of the account (as kept answers tell the whole).
        "SELECT o.reference, NULL, o.asset, 'as ' || o.ref || ' began', 'another name or account'"
        " FROM payouts o LEFT JOIN payment_events e ON e.payment_id = o.ref"
        "  AND e.type = 'payment.created'"
        " WHERE (strpos(e.detail, o.beneficiary->>'name') > 0"
        f"  AND strpos(e.detail, right({_ACCOUNT}, 4)) > 0) IS NOT TRUE",
    ),
    Check(
        "payout_answer_off",
        "a payment ended as its bank last said",
        "SELECT p.id, NULL, o.asset, o.answer, p.status FROM payments p"
        " JOIN payouts o ON o.ref = p.id WHERE (CASE p.status"
        "  WHEN 'completed' THEN o.answer = 'settled' WHEN 'returned' THEN o.answer = 'returned'"
        # Called off before the bank was told: it has nothing to say.
        "  WHEN 'failed' THEN coalesce(o.answer = 'refused', o.told_at IS NULL)"
        "  WHEN 'paying_out' THEN coalesce(o.answer, 'accepted') = 'accepted'"
        " ELSE false END) IS NOT TRUE",
    ),
    Check(
        "payout_uncaused",
        "an order to a bank is of a payment",
        "SELECT o.reference, NULL, o.asset, o.ref, NULL FROM payouts o"
        " LEFT JOIN payments p ON p.id = o.ref WHERE p.id IS NULL",
    ),
)
