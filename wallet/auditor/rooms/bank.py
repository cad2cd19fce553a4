"""The bank's own list: its statement against our reading of it, and both against the books.

The bank here is the simulated one, another company's books in a schema of their own. Its statement
may be ahead of what we have read; it may never say something else about what we have read.
"""

from __future__ import annotations

from wallet.auditor.check import Check

# A line that was not read yet, or not held against its payout.
_WAITING = (
    "SELECT reference FROM bank_lines WHERE matched_at IS NULL AND problem IS NULL"
    "  UNION SELECT s.reference FROM simbank.statement s WHERE NOT EXISTS"
    "   (SELECT FROM bank_lines l WHERE l.line_id = s.id AND l.asset = s.asset) AND NOT EXISTS"
    "   (SELECT FROM bank_lines_aside k WHERE k.line_id = s.id AND k.account = s.asset)"
)
_BANKED = (
    "booked AS (SELECT split_part(a.path, ':', 2) AS bank, p.asset,"
    " coalesce(o.reference, c.bank_reference, e.ref) AS reference, -sum(p.amount_minor) AS amount"
    " FROM postings p"
    " JOIN accounts a ON a.id = p.account_id JOIN entries e ON e.id = p.entry_id"
    # What is kept aside goes by its sender's own words, which may be an id of ours.
    " LEFT JOIN payouts o ON o.ref = e.ref AND e.kind <> 'bank.unattributed'"
    " LEFT JOIN bank_credits c ON c.topup_id = e.ref AND e.kind <> 'bank.unattributed'"
    " WHERE a.path LIKE 'bank:%' GROUP BY 1, 2, 3),"
    # A line kept aside is held against the entry that settles it, once there is one.
    " told AS (SELECT bank, asset, reference, sum(amount_minor) AS amount FROM"
    "  (SELECT bank, asset, reference, amount_minor FROM bank_lines UNION ALL"
    "   SELECT k.bank, s.asset, 'line ' || s.id, s.amount_minor FROM bank_lines_aside k"
    "   JOIN simbank.statement s ON k.bank = 'simbank' AND s.asset = k.account AND s.id = k.line_id"
    "   WHERE EXISTS (SELECT FROM booked b WHERE b.bank = k.bank AND b.asset = s.asset"
    "    AND b.reference = 'line ' || s.id) AND EXISTS (SELECT FROM entries e"
    "    WHERE e.ref = 'line ' || s.id AND e.kind <> 'bank.unattributed')) t GROUP BY 1, 2, 3),"
    # A payout may be booked before its line is read, and its line read before the answer.
    # One whose payment ended before the bank was told has no answer, and waits for none.
    " open AS (SELECT o.reference FROM payouts o WHERE o.answer = 'accepted' OR (o.answer IS NULL"
    "  AND NOT EXISTS (SELECT FROM payments y WHERE y.id = o.ref AND y.status = 'failed'))"
    f"  UNION {_WAITING})"
)

CHECKS = (
    Check(
        "bank_books_off",
        "every bank reference moved in the books what it moved on the statement",
        f"WITH {_BANKED} SELECT reference, bank, asset, coalesce(t.amount, 0),"
        " coalesce(b.amount, 0) FROM booked b FULL JOIN told t USING (bank, asset, reference)"
        " WHERE coalesce(t.amount, 0) <> coalesce(b.amount, 0)"
        " AND reference NOT IN (SELECT reference FROM open)",
    ),
    Check(
        "bank_line_off",
        "a line of the statement is what the bank says it is",
        "SELECT l.bank || ' ' || l.line_id, l.bank, l.asset, s.amount_minor || ' ' || s.reference,"
        " l.amount_minor || ' ' || l.reference FROM bank_lines l"
        " LEFT JOIN simbank.statement s ON s.id = l.line_id WHERE l.bank = 'simbank'"
        " AND (s.id IS NULL OR s.asset <> l.asset OR s.amount_minor <> l.amount_minor"
        "  OR s.reference <> l.reference OR s.kind <> l.kind OR s.at <> l.at)",
    ),
    Check(
        "bank_line_skipped",
        "no line of the statement is passed over: it is read, or kept aside by its name",
        "SELECT s.id, 'simbank', s.asset, s.amount_minor || ' ' || s.reference, NULL"
        " FROM simbank.statement s WHERE s.id < (SELECT max(l.line_id) FROM bank_lines l"
        "  WHERE l.bank = 'simbank' AND l.asset = s.asset) AND NOT EXISTS (SELECT FROM bank_lines l"
        "  WHERE l.bank = 'simbank' AND l.asset = s.asset AND l.line_id = s.id)"
        " AND NOT EXISTS (SELECT FROM bank_lines_aside k WHERE k.bank = 'simbank'"
        "  AND k.account = s.asset AND k.line_id = s.id)",
    ),
    Check(
        "bank_statement_off",
        "the bank's statement adds up, line by line",
        "SELECT id, 'simbank', asset, running, balance_after_minor FROM (SELECT id, asset,"
        " balance_after_minor, sum(amount_minor) OVER (PARTITION BY asset ORDER BY id) AS running"
        " FROM simbank.statement) s WHERE running <> balance_after_minor",
    ),
    Check(
        "bank_balance_off",
        "the bank's balance is where its statement ends",
        "SELECT a.number, 'simbank', a.asset, coalesce(s.amount, 0), a.balance_minor"
        " FROM simbank.accounts a LEFT JOIN (SELECT asset, sum(amount_minor) AS amount"
        "  FROM simbank.statement GROUP BY 1) s ON s.asset = a.asset"
        " WHERE a.balance_minor <> coalesce(s.amount, 0)",
    ),
    Check(
        "bank_order_off",
        "the bank was told what we wrote down",
        "SELECT o.reference, o.rail, o.asset, o.amount_minor || ' ' || (o.beneficiary::text),"
        " b.amount_minor || ' ' || (b.beneficiary::text) FROM payouts o"
        " JOIN simbank.orders b ON b.reference = o.reference WHERE b.amount_minor <> o.amount_minor"
        " OR b.asset <> o.asset OR b.rail <> o.rail OR b.beneficiary <> o.beneficiary",
    ),
    Check(
        "bank_order_unknown",
        "the bank has no order that we did not give",
        "SELECT b.reference, b.rail, b.asset, NULL, b.amount_minor FROM simbank.orders b"
        " LEFT JOIN payouts o ON o.reference = b.reference WHERE o.reference IS NULL",
    ),
    Check(
        "bank_answer_unheard",
        "the bank has ended an order as it was heard to, and none that it never heard of",
        # A bank that does otherwise after its last word is marked with the line that says so; one
        # that was kept aside marks nothing, and has a case.
        "SELECT o.reference, o.rail, o.asset, o.answer, b.status FROM payouts o"
        " LEFT JOIN simbank.orders b ON b.reference = o.reference"
        " WHERE o.answer IS NOT NULL AND (b.reference IS NULL"
        "  OR (o.answer <> 'accepted' AND o.contradicted_at IS NULL AND b.status <> o.answer"
        f"   AND o.reference NOT IN ({_WAITING} UNION SELECT s.reference FROM bank_lines_aside k"
        "    JOIN simbank.statement s ON k.bank = 'simbank' AND s.asset = k.account"
        "     AND s.id = k.line_id)))",
    ),
    Check(
        "bank_entry_uncaused",
        "what the books say of a bank has a line on its statement",
        "SELECT e.id, NULL, (SELECT min(asset) FROM postings p WHERE p.entry_id = e.id), e.kind,"
        " NULL FROM entries e WHERE e.kind IN ('bank.opening', 'bank.unattributed')"
        " AND NOT EXISTS (SELECT FROM bank_lines l WHERE l.reference = e.ref) OR"
        " e.kind = 'payout.contradicted' AND NOT EXISTS (SELECT FROM payouts o WHERE o.ref = e.ref"
        "  AND o.contradicted_at IS NOT NULL) AND NOT EXISTS (SELECT FROM bank_lines l"
        "  WHERE l.reference = e.ref)",
    ),
    Check(
        "bank_entry_off",
        "money at the bank that is nobody's goes to capital or is kept aside",
        "SELECT e.id, NULL, p.asset, e.kind, a.path FROM entries e"
        " JOIN postings p ON p.entry_id = e.id JOIN accounts a ON a.id = p.account_id"
        " WHERE e.kind IN ('bank.opening', 'bank.unattributed', 'payout.contradicted')"
        " AND NOT (a.path LIKE 'bank:%' OR CASE WHEN e.kind = 'bank.opening'"
        "  THEN a.path = 'house:capital:' || p.asset ELSE a.path LIKE 'unattributed:%:' || p.asset"
        "  END)",
    ),
)
