"""What people were told: answers kept for repeats, and events. They must be what was done."""

from __future__ import annotations

from wallet.auditor.check import Check, Pass

_MADE = {
    # route, and what stands for it: the table, its owner, its asset
    "transfer": ("/v1/transfers", "transfers", "payer_id", "t.asset"),
    "hold": ("/v1/holds", "payment_holds", "payer_id", "NULL"),
    "withdrawal": ("/v1/withdrawals", "withdrawals", "principal_id", "t.asset"),
    "conversion": ("/v1/conversions", "conversions", "principal_id", "t.source_asset"),
    "payment": ("/v1/payments", "payments", "principal_id", "NULL"),
}
_ROUTES = ", ".join(f"'{route}'" for route, *_ in _MADE.values())
# Every kept answer, read once. The body is text that left once; a broken one must not end the
# audit, and OFFSET 0 keeps the planner from reading it anew for every column.
_SAID = (
    "said AS MATERIALIZED (SELECT principal_id, method, route, key, status, readable,"
    " body->>'id' AS id, body #>> '{money,asset}' AS asset, body #>> '{money,amount}' AS amount"
    " FROM (SELECT *, body IS NOT NULL AS readable FROM (SELECT principal_id, method, route, key,"
    "   status, CASE WHEN pg_input_is_valid(body, 'jsonb') THEN body::jsonb END AS body"
    "   FROM idempotency_answers OFFSET 0) c) b)"
)


def _answer(code: str) -> str:
    """Answers that made a row of a table name one that exists and belongs to who asked."""
    route, table, owner, asset = _MADE[code]
    return (
        f"SELECT 'answer_{code}_off', s.key, NULL, {asset}, s.principal_id || ' ' ||"
        f" coalesce(s.id, 'no id'), coalesce(t.{owner}, 'nothing') FROM said s"
        f" LEFT JOIN {table} t ON t.id = s.id WHERE s.method = 'POST' AND s.route = '{route}'"
        f" AND t.{owner} IS DISTINCT FROM s.principal_id"
    )


# Of transfers there are many, so owner and amount are looked at in one join.
_TRANSFER_ANSWERS = (
    "SELECT f.code, s.key, NULL, s.booked, f.expected, f.found FROM (SELECT s.*, t.payer_id,"
    "  t.asset AS booked, t.amount_minor FROM said s LEFT JOIN transfers t ON t.id = s.id"
    "  WHERE s.method = 'POST' AND s.route = '/v1/transfers'"
    "  AND (t.payer_id IS DISTINCT FROM s.principal_id OR s.asset IS DISTINCT FROM t.asset"
    "   OR ltrim(replace(s.amount, '.', ''), '0') IS DISTINCT FROM t.amount_minor::text)"
    "  OFFSET 0) s, LATERAL (VALUES"
    "  ('answer_transfer_off', s.payer_id IS DISTINCT FROM s.principal_id,"
    "   s.principal_id || ' ' || coalesce(s.id, 'no id'), coalesce(s.payer_id, 'nothing')),"
    "  ('answer_amount_off', s.payer_id IS NOT NULL AND (s.asset IS DISTINCT FROM s.booked"
    "    OR ltrim(replace(s.amount, '.', ''), '0') IS DISTINCT FROM s.amount_minor::text),"
    "   s.amount_minor || ' ' || s.booked, s.amount)) f(code, off, expected, found) WHERE f.off"
)

CHECKS = (
    Pass(
        (
            *(
                Check(
                    f"answer_{code}_off",
                    f"a kept answer about a {code} names one that was made, by who asked",
                )
                for code in _MADE
            ),
            Check("answer_amount_off", "a kept answer about a transfer says its amount"),
            Check("answer_shared", "two keys never answer with one row"),
            Check("answer_unreadable", "a kept answer is JSON and a success", pauses=False),
        ),
        f"WITH {_SAID} {_TRANSFER_ANSWERS} UNION ALL "
        + " UNION ALL ".join(_answer(code) for code in _MADE if code != "transfer")
        + " UNION ALL SELECT 'answer_shared', id, NULL, NULL, '1', count(*)::text FROM said"
        f" WHERE method = 'POST' AND route IN ({_ROUTES}) GROUP BY id HAVING count(*) > 1"
        " UNION ALL SELECT 'answer_unreadable', key, NULL, NULL, 'JSON and 2xx', status::text"
        " FROM said WHERE status NOT BETWEEN 200 AND 299 OR NOT readable",
    ),
    Pass(
        (
            Check("event_missing", "both sides of a transfer are told, or will be", pauses=False),
            Check("event_invented", "nobody is told of a transfer that was not made", pauses=False),
        ),
        "WITH due AS (SELECT t.id, t.asset, p.principal FROM transfers t,"
        "  LATERAL (VALUES (t.payer_id), (t.payee_id)) p(principal)),"
        " told AS (SELECT seq, ref, principal_id FROM events WHERE type = 'transfer.completed')"
        " SELECT CASE WHEN d.id IS NULL THEN 'event_invented' ELSE 'event_missing' END,"
        " coalesce(d.id, e.seq::text), NULL, d.asset,"
        " CASE WHEN d.id IS NULL THEN 'a transfer' ELSE d.principal END, e.ref"
        " FROM due d FULL JOIN told e ON e.ref = d.id AND e.principal_id = d.principal"
        " WHERE d.id IS NULL OR (e.seq IS NULL AND NOT EXISTS (SELECT FROM outbox o"
        "  WHERE o.ref = d.id AND o.principal_id = d.principal"
        "  AND o.type = 'transfer.completed'))",
    ),
    Check(
        "event_deposit_invented",
        "nobody is told of a deposit that was not credited to them",
        "SELECT e.seq, d.network, d.asset, 'a credited deposit of ' || e.principal_id, e.ref"
        " FROM events e LEFT JOIN deposits d ON d.id = e.ref WHERE e.type = 'deposit.credited'"
        " AND (d.id IS NULL OR d.entry_id IS NULL OR d.principal_id IS DISTINCT FROM"
        " e.principal_id)",
        pauses=False,
    ),
    Check(
        "event_withdrawal_off",
        "a withdrawal pays what its owner was told when it was asked for, and there",
        "SELECT w.id, w.network, w.asset, concat_ws(' ', e.principal_id, e.data #>>"
        " '{money,amount}', e.data #>> '{money,asset}', 'to', e.data->>'to_address'),"
        " concat_ws(' ', w.principal_id, w.amount_minor, w.asset, 'to', w.to_address)"
        " FROM events e JOIN withdrawals w ON w.id = e.ref WHERE e.type = 'withdrawal.held'"
        " AND (w.principal_id <> e.principal_id OR lower(w.to_address) <>"
        "   lower(e.data->>'to_address') OR w.network <> e.data->>'network'"
        "  OR w.asset <> e.data #>> '{money,asset}' OR w.amount_minor::text <>"
        "   ltrim(replace(e.data #>> '{money,amount}', '.', ''), '0'))",
    ),
    Check(
        "event_gap",
        "events are numbered 1, 2, 3 … without a gap",
        "SELECT 'events', NULL, NULL, max(seq) - min(seq) + 1, count(*) FROM events"
        " HAVING max(seq) - min(seq) + 1 <> count(*)",
        pauses=False,
    ),
    Check(
        "usage_orphaned",
        "what counts for somebody's day is a withdrawal or a payment",
        "SELECT u.ref, NULL, NULL, u.kind, NULL FROM outgoing_usage u WHERE NOT CASE u.kind"
        "  WHEN 'withdrawal' THEN EXISTS (SELECT FROM withdrawals w WHERE w.id = u.ref)"
        "  ELSE EXISTS (SELECT FROM payments p WHERE p.id = u.ref) END",
        pauses=False,
    ),
)
