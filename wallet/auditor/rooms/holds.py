"""Holds, what was captured of them, and the holds that people make for one another."""

from __future__ import annotations

from wallet.auditor.check import Check

_LEFT = "h.amount_minor - h.captured_minor - h.released_minor"

CHECKS = (
    Check(
        "held_off",
        "what an account keeps for holds is the sum of its open holds",
        "SELECT a.path, NULL, a.asset, coalesce(h.held, 0), a.held_minor FROM accounts a"
        f" LEFT JOIN (SELECT h.account_id, sum({_LEFT}) AS held FROM holds h"
        "  WHERE h.status = 'open' GROUP BY 1) h ON h.account_id = a.id"
        " WHERE a.held_minor IS DISTINCT FROM coalesce(h.held, 0)",
    ),
    Check(
        "hold_overspent",
        "what is captured and given back does not exceed the hold",
        "SELECT h.id, NULL, h.asset, h.amount_minor, h.captured_minor + h.released_minor"
        " FROM holds h WHERE h.captured_minor < 0 OR h.released_minor < 0"
        f" OR {_LEFT} < 0 OR h.amount_minor <= 0",
    ),
    Check(
        "hold_status_off",
        "a hold is closed exactly when nothing of it is left",
        f"SELECT h.id, NULL, h.asset, CASE WHEN {_LEFT} = 0 THEN 'closed' ELSE 'open' END, h.status"
        f" FROM holds h WHERE (h.status = 'closed') <> ({_LEFT} = 0)"
        " OR (h.status = 'closed') <> (h.closed_at IS NOT NULL)",
    ),
    Check(
        "hold_captured_off",
        "a hold's captured amount is the sum of its captures",
        "SELECT h.id, NULL, h.asset, coalesce(c.amount, 0), h.captured_minor FROM holds h"
        " LEFT JOIN (SELECT hold_id, sum(amount_minor) AS amount FROM hold_captures GROUP BY 1) c"
        "  ON c.hold_id = h.id WHERE h.captured_minor <> coalesce(c.amount, 0)",
    ),
    Check(
        "hold_account_off",
        "a hold is on a customer's account, in its asset",
        "SELECT h.id, NULL, h.asset, 'a customer''s account in ' || h.asset,"
        " coalesce(a.path, h.account_id) FROM holds h LEFT JOIN accounts a ON a.id = h.account_id"
        " WHERE a.id IS NULL OR a.kind <> 'customer' OR a.asset <> h.asset",
    ),
    Check(
        "capture_not_posted",
        "what is captured is spent by the entry, to the unit",
        "SELECT c.entry_id, NULL, max(h.asset), sum(c.amount_minor),"
        " max(-coalesce(p.amount_minor, 0))"
        " FROM hold_captures c LEFT JOIN holds h ON h.id = c.hold_id"
        " LEFT JOIN postings p ON p.entry_id = c.entry_id AND p.account_id = c.account_id"
        " GROUP BY c.entry_id, c.account_id"
        " HAVING sum(c.amount_minor) <> max(-coalesce(p.amount_minor, 0))",
    ),
    Check(
        "capture_account_off",
        "a capture is on the account of its hold",
        "SELECT c.hold_id, NULL, h.asset, h.account_id, c.account_id FROM hold_captures c"
        " LEFT JOIN holds h ON h.id = c.hold_id WHERE h.account_id IS DISTINCT FROM c.account_id",
    ),
    Check(
        "hold_owner_missing",
        "a hold belongs to a withdrawal or to a hold between people",
        "SELECT h.id, NULL, h.asset, h.kind || ' ' || h.ref, NULL FROM holds h"
        " LEFT JOIN withdrawals w ON w.hold_id = h.id AND w.id = h.ref AND h.kind = 'withdrawal'"
        " LEFT JOIN payment_holds p ON p.id = h.id AND p.id = h.ref AND h.kind = 'payment_hold'"
        " WHERE w.id IS NULL AND p.id IS NULL",
    ),
    Check(
        "payment_hold_missing",
        "a hold between people keeps money",
        "SELECT p.id, NULL, NULL, 'a hold', h.kind FROM payment_holds p"
        " LEFT JOIN holds h ON h.id = p.id WHERE h.id IS NULL OR h.kind <> 'payment_hold'",
    ),
    Check(
        "payment_hold_payer_off",
        "a hold between people is on the payer's account",
        "SELECT p.id, NULL, h.asset, p.payer_id, a.principal_id FROM payment_holds p"
        " JOIN holds h ON h.id = p.id LEFT JOIN accounts a ON a.id = h.account_id"
        " WHERE a.principal_id IS DISTINCT FROM p.payer_id OR p.payer_id = p.payee_id",
    ),
    Check(
        "payment_hold_end_off",
        "how a hold between people ended is what became of its money",
        "SELECT p.id, NULL, h.asset, CASE WHEN h.status = 'open' THEN 'open'"
        "  WHEN h.released_minor = 0 THEN 'captured' ELSE 'voided or expired' END,"
        " coalesce(p.ended, 'open') FROM payment_holds p JOIN holds h ON h.id = p.id"
        " WHERE CASE WHEN h.status = 'open' THEN p.ended IS NOT NULL"
        "  WHEN h.released_minor = 0 THEN p.ended IS DISTINCT FROM 'captured' AND p.ended"
        " IS NOT NULL"
        "  ELSE p.ended IS NULL OR p.ended = 'captured' END",
    ),
    Check(
        "hold_time_off",
        "a hold between people ends whole seconds after it was made, a minute to 30 days, and does"
        " not expire before; what a withdrawal holds has no end",
        "SELECT h.id, NULL, h.asset, CASE WHEN h.kind = 'payment_hold' THEN 'within 30 days of '"
        "  || p.created_at ELSE 'no end' END, concat_ws(', ', coalesce(h.expires_at::text,"
        "  'no end'), p.ended) FROM holds h LEFT JOIN payment_holds p ON p.id = h.id,"
        " LATERAL extract(epoch FROM h.expires_at - p.created_at) s(seconds)"
        " WHERE CASE WHEN h.kind = 'payment_hold' THEN h.expires_at IS NULL"
        "   OR s.seconds <> trunc(s.seconds) OR s.seconds NOT BETWEEN 60 AND 2592000"
        "   OR (p.ended = 'expired' AND h.closed_at < h.expires_at)"
        "  ELSE h.expires_at IS NOT NULL END",
        pauses=False,
    ),
    Check(
        "payment_hold_late_capture",
        "nothing is captured after a hold's time is over",
        "SELECT p.id, NULL, h.asset, h.expires_at, e.event_at FROM payment_holds p"
        " JOIN holds h ON h.id = p.id JOIN hold_captures c ON c.hold_id = h.id"
        " JOIN entries e ON e.id = c.entry_id WHERE e.event_at > h.expires_at",
    ),
    Check(
        "transfer_parties_off",
        "a transfer is between two, of a whole amount above zero",
        "SELECT id, NULL, asset, 'two people, above zero', payer_id || ' to ' || payee_id || ', '"
        " || amount_minor FROM transfers WHERE payer_id = payee_id OR amount_minor <= 0",
    ),
)
