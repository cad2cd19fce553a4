"""What people were told: answers kept for repeats, and events. They must be what was done."""

from __future__ import annotations

from wallet.auditor.check import Check, Pass
from wallet.auditor.rooms.terms import TERMS, kept_terms

USAGE_SECONDS = 600
"""Both are written by one transaction, which may have waited in between."""
_MADE = {
    # route, and what stands for it: the table, its owner, its asset
    "transfer": ("/v1/transfers", "transfers", "payer_id", "t.asset"),
    "hold": ("/v1/holds", "payment_holds", "payer_id", "NULL"),
    "withdrawal": ("/v1/withdrawals", "withdrawals", "principal_id", "t.asset"),
    "conversion": ("/v1/conversions", "conversions", "principal_id", "t.source_asset"),
    "payment": ("/v1/payments", "payments", "principal_id", "NULL"),
    "quote": ("/v1/quotes", "quotes", "principal_id", "t.source_asset"),
    "topup": ("/v1/topups", "topups", "principal_id", "t.asset"),
    "payee": ("/v1/recipients", "recipients", "principal_id", "NULL"),
}
_ONCE = ", ".join(f"'{route}'" for route, *_ in _MADE.values() if route != "/v1/recipients")
# Every kept answer, read once. The body is text that left once; a broken one must not end the
# audit, and OFFSET 0 keeps the planner from reading it anew for every column. Of transfers there
# are many: the rest of what is said of them is left out, and the others stand by themselves.
_SAID = (
    "said AS MATERIALIZED (SELECT principal_id, method, route, key, status, readable,"
    " body->>'id' AS id, body #>> '{money,asset}' AS asset, body #>> '{money,amount}' AS amount,"
    " CASE WHEN route <> '/v1/transfers' THEN body END AS body"
    " FROM (SELECT *, body IS NOT NULL AS readable FROM (SELECT principal_id, method, route, key,"
    "   status, CASE WHEN pg_input_is_valid(body, 'jsonb') THEN body::jsonb END AS body"
    "   FROM idempotency_answers OFFSET 0) c) b),"
    " other AS MATERIALIZED (SELECT * FROM said WHERE method = 'POST' AND route <> '/v1/transfers')"
)


def _answer(code: str) -> str:
    """Answers that made a row of a table name one that exists and belongs to who asked."""
    route, table, owner, asset = _MADE[code]
    return (
        f"SELECT 'answer_{code}_off', s.key, NULL, {asset}, s.principal_id || ' ' ||"
        f" coalesce(s.id, 'no id'), coalesce(t.{owner}, 'nothing') FROM other s"
        f" LEFT JOIN {table} t ON t.id = s.id WHERE s.route = '{route}'"
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


# Events that tell of more than that something was made, read once.
_HEARD = (
    "heard AS MATERIALIZED (SELECT seq, ref, principal_id, type, data FROM events WHERE type IN"
    " ('withdrawal.held', 'payment.created', 'hold.created', 'hold.voided', 'hold.expired',"
    "  'deposit.seen', 'deposit.credited', 'topup.pending', 'topup.succeeded', 'topup.failed',"
    "  'topup.charged_back', 'withdrawal.settled', 'withdrawal.failed', 'withdrawal.cancelled',"
    "  'account.frozen', 'account.unfrozen'))"
)


def _minor(*path: str) -> str:
    return "ltrim(replace(e.data #>> '{" + ",".join(path) + "}', '.', ''), '0')"


_WITHDRAWAL_HEARD = (
    "SELECT 'event_withdrawal_off', w.id, w.network, w.asset, concat_ws(' ', e.principal_id,"
    " e.data #>> '{money,amount}', e.data #>> '{money,asset}', 'to', e.data->>'to_address',"
    " 'fee at most', e.data #>> '{fee_max,amount}'),"
    " concat_ws(' ', w.principal_id, w.amount_minor, w.asset, 'to', w.to_address, 'fee at most',"
    " w.fee_bound_minor)"
    " FROM heard e JOIN withdrawals w ON w.id = e.ref WHERE e.type = 'withdrawal.held'"
    " AND (w.principal_id <> e.principal_id OR lower(w.to_address) <>"
    "   lower(e.data->>'to_address') OR w.network <> e.data->>'network'"
    "  OR w.asset <> e.data #>> '{money,asset}'"
    f"  OR w.amount_minor::text <> {_minor('money', 'amount')}"
    f"  OR w.fee_bound_minor::text <> {_minor('fee_max', 'amount')})"
)
_PAYMENT_HEARD = (
    "SELECT 'event_payment_off', p.id, NULL, q.source_asset, concat_ws(' ', e.principal_id,"
    " e.data #>> '{source,amount}', e.data #>> '{source,asset}', 'for',"
    " e.data #>> '{target,amount}', e.data #>> '{target,asset}'), concat_ws(' ', p.principal_id,"
    " q.source_minor, q.source_asset, 'for', q.target_minor, q.target_asset)"
    " FROM heard e JOIN payments p ON p.id = e.ref JOIN quotes q ON q.id = p.quote_id"
    " WHERE e.type = 'payment.created' AND (p.principal_id <> e.principal_id"
    "  OR q.source_asset <> e.data #>> '{source,asset}'"
    "  OR q.target_asset <> e.data #>> '{target,asset}'"
    f"  OR q.source_minor::text <> {_minor('source', 'amount')}"
    f"  OR q.target_minor::text <> {_minor('target', 'amount')})"
)
_HOLD_HEARD = (
    "SELECT 'event_hold_off', p.id, NULL, h.asset, concat_ws(' ', e.data->>'direction',"
    " e.principal_id, e.data #>> '{money,amount}', e.type), concat_ws(' ', p.payer_id, 'to',"
    " p.payee_id, h.amount_minor, p.ended) FROM heard e JOIN payment_holds p ON p.id = e.ref"
    " JOIN holds h ON h.id = p.id WHERE e.type LIKE 'hold.%'"
    " AND (CASE e.data->>'direction' WHEN 'out' THEN p.payer_id WHEN 'in' THEN p.payee_id END <>"
    "   e.principal_id OR (e.type = 'hold.created' AND (h.asset <> e.data #>> '{money,asset}'"
    f"   OR h.amount_minor::text <> {_minor('money', 'amount')}))"
    "  OR (e.type <> 'hold.created' AND 'hold.' || p.ended <> e.type))"
)


def _came_in(code: str, type_: str, table: str, network: str) -> str:
    """What is on its way in, as its owner was told when it was first heard of."""
    return (
        f"SELECT '{code}', e.ref, {network}, t.asset, concat_ws(' ', e.principal_id,"
        " e.data #>> '{money,amount}', e.data #>> '{money,asset}'), concat_ws(' ', t.principal_id,"
        f" t.amount_minor, t.asset) FROM heard e LEFT JOIN {table} t ON t.id = e.ref"
        f" WHERE e.type = '{type_}' AND (t.id IS NULL OR t.principal_id <> e.principal_id"
        f"  OR t.asset <> e.data #>> '{{money,asset}}'"
        f"  OR t.amount_minor::text <> {_minor('money', 'amount')})"
    )


# Where it came, and by which transaction; the block is told once it is final.
_DEPOSIT_PLACE = (
    "SELECT 'event_deposit_off', d.id, d.network, d.asset, concat_ws(' ', e.data->>'network',"
    " e.data->>'address', e.data->>'tx_hash', e.data->>'block_number'), concat_ws(' ', d.network,"
    " d.to_address, d.tx_hash, d.block_number) FROM heard e JOIN deposits d ON d.id = e.ref"
    " WHERE e.type IN ('deposit.seen', 'deposit.credited') AND (d.network <> e.data->>'network'"
    "  OR d.to_address <> e.data->>'address' OR d.tx_hash <> e.data->>'tx_hash' OR (e.type ="
    "  'deposit.credited' AND d.block_number::text <> e.data->>'block_number'))"
)
# The newest of each that was told, where nothing newer waits to be. A top-up that is kept aside was
# for an account that is closed.
_ENDED_AS_TOLD = (
    "SELECT 'event_state_off', t.id, t.network, t.asset, e.type, t.status FROM (SELECT"
    "  DISTINCT ON (ref) ref, type FROM heard WHERE type LIKE 'topup.%' OR type LIKE"
    "  'withdrawal.%' ORDER BY ref, seq DESC) e JOIN (SELECT id, NULL AS network, asset, status"
    "  FROM topups WHERE NOT kept_aside UNION ALL SELECT id, network, asset, CASE WHEN status IN"
    "  ('settled', 'failed', 'cancelled') THEN status ELSE 'held' END FROM withdrawals) t"
    " ON t.id = e.ref WHERE split_part(e.type, '.', 2) <> t.status"
    " AND NOT EXISTS (SELECT FROM outbox o WHERE o.ref = t.id)"
)
# The collector freezes whom it finds in debt within a second, and says so each time.
_STATUS = (
    "SELECT 'account_status_off', a.path, NULL, a.asset, 'frozen', a.status FROM (SELECT"
    "  DISTINCT ON (ref) ref, type FROM heard WHERE type LIKE 'account.%' ORDER BY ref, seq DESC) e"
    " JOIN accounts a ON a.id = e.ref WHERE e.type = 'account.frozen' AND a.status = 'open'"
    " AND NOT EXISTS (SELECT FROM outbox o WHERE o.ref = a.id AND o.type LIKE 'account.%')"
    " AND EXISTS (SELECT FROM accounts r LEFT JOIN (SELECT account_id, sum(amount_minor) AS amount"
    "   FROM account_deltas GROUP BY 1) d ON d.account_id = r.id"
    "  WHERE starts_with(r.path, 'receivable:' || a.principal_id || ':')"
    "   AND r.balance_minor + coalesce(d.amount, 0) < 0)"
    " UNION ALL SELECT 'account_status_off', path, NULL, asset, 'open', status FROM accounts"
    " WHERE kind = 'system' AND status <> 'open'"
    # What is opened once a debt is paid is an account of the debtor's.
    " UNION ALL SELECT 'account_status_off', f.account_id, NULL, a.asset, f.principal_id,"
    " a.principal_id FROM receivable_freezes f LEFT JOIN accounts a ON a.id = f.account_id"
    " WHERE a.kind IS DISTINCT FROM 'customer' OR a.principal_id IS DISTINCT FROM f.principal_id"
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
            Check("answer_quote_terms_off", "a quote is what who asked for it was answered"),
            Check("answer_hold_terms_off", "a hold is for whom, of what and until when it said"),
            Check("answer_withdrawal_terms_off", "a withdrawal goes where, and costs what it said"),
            Check(
                "answer_topup_terms_off",
                "a top-up is what was asked for, and its transfer named who asked for it",
            ),
            Check("answer_payment_terms_off", "a payment goes by the quote and way that it said"),
            Check("answer_recipient_off", "a payment is for the recipient that its payer named"),
            Check("answer_beneficiary_off", "an order pays into the account that its payer named"),
        ),
        f"WITH {_SAID} {_TRANSFER_ANSWERS} UNION ALL "
        + " UNION ALL ".join(_answer(code) for code in _MADE if code != "transfer")
        + "".join(f" UNION ALL {kept_terms(route)}" for route in TERMS)
        + " UNION ALL SELECT 'answer_shared', id, NULL, NULL, '1', count(*)::text FROM said"
        f" WHERE method = 'POST' AND route IN ({_ONCE}) GROUP BY id HAVING count(*) > 1"
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
    Pass(
        (
            Check(
                "event_withdrawal_off",
                "a withdrawal pays what its owner was told when it was asked for, and there",
            ),
            Check("event_payment_off", "a payment takes and gives what its payer was told"),
            Check(
                "event_hold_off", "a hold is between whom both were told, and ended as they were"
            ),
            Check("event_deposit_off", "a deposit is what its owner was told when it was seen"),
            Check(
                "event_state_off",
                "a top-up or a withdrawal stands as its owner was told last",
                pauses=False,
            ),
            Check("event_topup_off", "a top-up is what its owner was told when it began"),
            Check(
                "account_status_off",
                "who was told to be frozen for a debt is, and is opened again by theirs alone; no"
                " account of the house is stopped",
                pauses=False,
            ),
        ),
        f"WITH {_HEARD} {_WITHDRAWAL_HEARD} UNION ALL {_PAYMENT_HEARD} UNION ALL {_HOLD_HEARD}"
        f" UNION ALL {_came_in('event_deposit_off', 'deposit.seen', 'deposits', 't.network')}"
        f" UNION ALL {_DEPOSIT_PLACE} UNION ALL {_ENDED_AS_TOLD}"
        f" UNION ALL {_came_in('event_topup_off', 'topup.pending', 'topups', 'NULL')}"
        f" UNION ALL {_STATUS}",
    ),
    Check(
        "event_gap",
        "events are numbered 1, 2, 3 … without a gap",
        "SELECT 'events', NULL, NULL, max(seq) - min(seq) + 1, count(*) FROM events"
        " HAVING max(seq) - min(seq) + 1 <> count(*)",
        pauses=False,
    ),
    Check(
        "usage_time_off",
        "what counts for somebody's day counts from when it was made",
        "SELECT u.ref, NULL, NULL, m.created_at, u.created_at FROM outgoing_usage u JOIN"
        " (SELECT id, created_at FROM withdrawals UNION ALL SELECT id, created_at FROM payments) m"
        f" ON m.id = u.ref WHERE abs(extract(epoch FROM u.created_at - m.created_at))"
        f" > {USAGE_SECONDS}",
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
