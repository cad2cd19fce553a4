"""What people were told: answers kept for repeats, and events. They must be what was done."""

from __future__ import annotations

from wallet.auditor.check import Check

_MAKING = "'/v1/transfers', '/v1/holds', '/v1/withdrawals', '/v1/conversions', '/v1/payments'"


def _said(routes: str) -> str:
    """The kept answers of these routes. The body is text that left once; a broken one must not end
    the audit, and OFFSET 0 keeps the planner from reading it anew for every column."""
    return (
        "said AS MATERIALIZED (SELECT principal_id, route, key, body->>'id' AS id,"
        " body #>> '{money,asset}' AS asset, body #>> '{money,amount}' AS amount FROM"
        " (SELECT principal_id, route, key,"
        "  CASE WHEN body IS JSON OBJECT THEN body::jsonb ELSE '{}' END AS body"
        f"  FROM idempotency_answers WHERE method = 'POST' AND route IN ({routes}) OFFSET 0) b)"
    )


def _answer(code: str, route: str, table: str, owner: str, asset: str) -> Check:
    """An answer that made a row of `table` names one that exists and belongs to who asked."""
    return Check(
        f"answer_{code}_off",
        f"a kept answer about a {code} names one that was made, by who asked",
        # Only the id is asked for: json is searched for it, jsonb would be built whole.
        f"SELECT s.key, NULL, {asset}, s.principal_id || ' ' || coalesce(s.id, 'no id'),"
        f" coalesce({owner}, 'nothing') FROM (SELECT principal_id, key, CASE WHEN body IS JSON"
        "  OBJECT THEN body::json->>'id' END AS id FROM idempotency_answers"
        f"  WHERE method = 'POST' AND route = '{route}' OFFSET 0) s"
        f" LEFT JOIN {table} ON t.id = s.id WHERE {owner} IS DISTINCT FROM s.principal_id",
    )


CHECKS = (
    _answer("transfer", "/v1/transfers", "transfers t", "t.payer_id", "t.asset"),
    _answer("hold", "/v1/holds", "payment_holds t", "t.payer_id", "NULL"),
    _answer("withdrawal", "/v1/withdrawals", "withdrawals t", "t.principal_id", "t.asset"),
    _answer("conversion", "/v1/conversions", "conversions t", "t.principal_id", "t.source_asset"),
    _answer("payment", "/v1/payments", "payments t", "t.principal_id", "NULL"),
    Check(
        "answer_amount_off",
        "a kept answer about a transfer says its amount",
        f"WITH {_said(repr('/v1/transfers'))} SELECT s.key, NULL, t.asset,"
        " t.amount_minor || ' ' || t.asset, s.amount FROM said s JOIN transfers t ON t.id = s.id"
        " WHERE (s.asset IS DISTINCT FROM t.asset"
        "  OR ltrim(replace(s.amount, '.', ''), '0')"
        "   IS DISTINCT FROM t.amount_minor::text)",
    ),
    Check(
        "answer_shared",
        "two keys never answer with one row",
        "SELECT s.id, NULL, NULL, 1, count(*) FROM (SELECT CASE WHEN body IS JSON OBJECT"
        "  THEN body::json->>'id' END AS id FROM idempotency_answers"
        f"  WHERE method = 'POST' AND route IN ({_MAKING}) OFFSET 0) s"
        " GROUP BY s.id HAVING count(*) > 1",
    ),
    Check(
        "answer_unreadable",
        "a kept answer is JSON and a success",
        "SELECT key, NULL, NULL, 'JSON and 2xx', status FROM idempotency_answers"
        " WHERE status NOT BETWEEN 200 AND 299 OR body IS NOT JSON",
        pauses=False,
    ),
    Check(
        "event_missing",
        "both sides of a transfer are told, or will be",
        "SELECT t.id, NULL, t.asset, p.principal, NULL FROM transfers t,"
        " LATERAL (VALUES (t.payer_id), (t.payee_id)) p(principal) WHERE NOT EXISTS"
        "  (SELECT FROM events e WHERE e.principal_id = p.principal AND e.ref = t.id"
        "   AND e.type = 'transfer.completed')"
        " AND NOT EXISTS (SELECT FROM outbox o WHERE o.ref = t.id AND o.principal_id = p.principal"
        "  AND o.type = 'transfer.completed')",
        pauses=False,
    ),
    Check(
        "event_invented",
        "nobody is told of a transfer that was not made",
        "SELECT e.seq, NULL, NULL, 'a transfer', e.ref FROM events e"
        " LEFT JOIN transfers t ON t.id = e.ref WHERE e.type = 'transfer.completed'"
        " AND (t.id IS NULL OR e.principal_id NOT IN (t.payer_id, t.payee_id))",
        pauses=False,
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
