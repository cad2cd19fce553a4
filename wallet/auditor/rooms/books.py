"""Entries, postings, the chains of customers' accounts, balances.

These grow with every payment, so they can start from a checkpoint: what an account came to at a
posting is kept there, and only postings above it are read (docs/audit.md).
"""

from __future__ import annotations

from wallet.auditor.check import Check, Pass

# What each account came to at the checkpoint; nothing when everything is read.
_BASE = """base AS (
    SELECT account_id, sum_minor, lines, last_balance_minor
      FROM audit_checkpoints WHERE run_id = {base})"""
# What each account comes to, from its postings alone.
SUMS = (
    "WITH "
    + _BASE
    + """, fresh AS (
    SELECT account_id, sum(amount_minor) AS sum_minor, count(*) AS lines,
           count(account_seq) AS seqs, min(account_seq) AS first, max(account_seq) AS last
      FROM postings WHERE id > {after} GROUP BY account_id),
sums AS (
    SELECT coalesce(f.account_id, b.account_id) AS account_id,
           coalesce(b.sum_minor, 0) + coalesce(f.sum_minor, 0) AS sum_minor,
           coalesce(b.lines, 0) + coalesce(f.lines, 0) AS lines,
           coalesce(b.lines, 0) AS old_lines, f.lines AS new_lines, f.seqs, f.first, f.last
      FROM fresh f FULL JOIN base b ON b.account_id = f.account_id),
open AS (
    SELECT account_id, sum(amount_minor) AS amount, sum(lines) AS lines
      FROM account_deltas GROUP BY account_id)
"""
)

CHECKS = (
    Check(
        "entry_unbalanced",
        "the postings of an entry sum to zero in each asset",
        "SELECT entry_id, NULL, asset, 0, sum(amount_minor) FROM postings WHERE id > {after}"
        " GROUP BY entry_id, asset HAVING sum(amount_minor) <> 0",
    ),
    Check(
        "entry_empty",
        "every entry has postings",
        "SELECT e.id, NULL, NULL, 'postings', NULL FROM entries e"
        " WHERE NOT EXISTS (SELECT FROM postings p WHERE p.entry_id = e.id)",
    ),
    Check(
        "posting_orphaned",
        "every posting belongs to an entry",
        "SELECT p.id, NULL, p.asset, p.entry_id, NULL FROM postings p"
        " LEFT JOIN entries e ON e.id = p.entry_id WHERE p.id > {after} AND e.id IS NULL",
    ),
    Check(
        "posting_account_missing",
        "every posting is on an account",
        "SELECT p.id, NULL, p.asset, p.account_id, NULL FROM postings p"
        " LEFT JOIN accounts a ON a.id = p.account_id WHERE p.id > {after} AND a.id IS NULL",
    ),
    Check(
        "posting_asset_off",
        "a posting is in the asset of its account",
        "SELECT p.id, NULL, p.asset, a.asset, p.asset FROM postings p"
        " JOIN accounts a ON a.id = p.account_id WHERE p.id > {after} AND a.asset <> p.asset",
    ),
    Check(
        "posting_amount_off",
        "a posting moves a whole amount that is not zero",
        "SELECT id, NULL, asset, 'not zero', amount_minor FROM postings WHERE id > {after}"
        " AND (amount_minor = 0 OR amount_minor = 'NaN' OR amount_minor <> trunc(amount_minor))",
    ),
    Check(
        "posting_account_twice",
        "an entry posts to an account once",
        "SELECT entry_id, NULL, min(asset), 1, count(*) FROM postings WHERE id > {after}"
        " GROUP BY entry_id, account_id HAVING count(*) > 1",
    ),
    Check(
        "posting_place_off",
        "a posting's place in a chain is there for customers and for nobody else",
        "SELECT p.id, NULL, p.asset, a.kind, p.account_seq FROM postings p"
        " JOIN accounts a ON a.id = p.account_id WHERE p.id > {after}"
        " AND ((a.kind = 'customer') <> (p.account_seq IS NOT NULL)"
        "  OR (p.account_seq IS NULL) <> (p.balance_after_minor IS NULL))",
    ),
    Pass(
        (
            Check("balance_customer_off", "a customer's balance is the sum of the postings"),
            Check(
                "balance_system_off",
                "a system account's folded balance and open deltas are the sum of its postings",
            ),
            Check("posting_count_off", "an account counts its postings, folded and open"),
            Check("chain_gap", "a customer's postings are numbered 1, 2, 3 … without a gap"),
        ),
        SUMS + ", accounted AS (SELECT a.path, a.asset, a.kind, a.balance_minor AS kept,"
        "  a.balance_minor + coalesce(o.amount, 0) AS balance,"
        "  a.posting_count + coalesce(o.lines, 0) AS counted,"
        "  coalesce(s.sum_minor, 0) AS sum_minor, coalesce(s.lines, 0) AS lines, s.old_lines,"
        "  s.new_lines, s.seqs, s.first, s.last"
        "  FROM accounts a LEFT JOIN sums s ON s.account_id = a.id"
        "  LEFT JOIN open o ON o.account_id = a.id)"
        " SELECT f.code, c.path, NULL, c.asset, f.expected, f.found FROM accounted c,"
        " LATERAL (VALUES"
        "  ('balance_customer_off', c.kind = 'customer' AND c.kept IS DISTINCT FROM c.sum_minor,"
        "   c.sum_minor::text, c.kept::text),"
        "  ('balance_system_off', c.kind = 'system' AND c.balance IS DISTINCT FROM c.sum_minor,"
        "   c.sum_minor::text, c.balance::text),"
        "  ('posting_count_off', c.counted IS DISTINCT FROM c.lines, c.lines::text,"
        "   c.counted::text),"
        "  ('chain_gap', c.kind = 'customer' AND c.new_lines IS NOT NULL"
        "   AND (c.first IS DISTINCT FROM c.old_lines + 1 OR c.last IS DISTINCT FROM c.lines"
        "    OR c.seqs <> c.new_lines), c.old_lines + 1 || ' to ' || c.lines,"
        "   c.first || ' to ' || c.last || ', ' || c.seqs || ' of them')"
        " ) f(code, off, expected, found) WHERE f.off",
    ),
    Pass(
        (
            Check("chain_number_twice", "no two postings of an account have one number"),
            Check(
                "chain_balance_off",
                "the balance after a posting is the one before it and its amount",
            ),
        ),
        "WITH " + _BASE + ", chain AS (SELECT p.id, p.account_id, p.asset, p.account_seq,"
        "  p.balance_after_minor, p.amount_minor, lag(p.balance_after_minor) OVER w AS before,"
        "  lag(p.account_seq) OVER w AS number_before, row_number() OVER w AS place"
        "  FROM postings p WHERE p.id > {after} AND p.account_seq IS NOT NULL"
        "  WINDOW w AS (PARTITION BY p.account_id ORDER BY p.account_seq, p.id)),"
        " linked AS (SELECT c.*,"
        "  coalesce(c.before, b.last_balance_minor, 0) + c.amount_minor AS due"
        "  FROM chain c LEFT JOIN base b ON b.account_id = c.account_id AND c.place = 1)"
        " SELECT f.code, f.subject, NULL, l.asset, f.expected, f.found FROM linked l,"
        " LATERAL (VALUES"
        "  ('chain_number_twice', l.number_before = l.account_seq,"
        "   (SELECT a.path FROM accounts a WHERE a.id = l.account_id), 'each number once',"
        "   'number ' || l.account_seq || ' again'),"
        "  ('chain_balance_off', l.balance_after_minor IS DISTINCT FROM l.due,"
        "   l.id::text, l.due::text, l.balance_after_minor::text)"
        " ) f(code, off, subject, expected, found)"
        " WHERE (l.number_before = l.account_seq OR l.balance_after_minor IS DISTINCT FROM l.due)"
        " AND f.off",
    ),
    Check(
        "trial_balance_off",
        "all accounts of an asset sum to zero",
        "SELECT a.asset, NULL, a.asset, 0, sum(a.balance_minor + coalesce(d.amount, 0))"
        " FROM accounts a LEFT JOIN (SELECT account_id, sum(amount_minor) AS amount"
        "  FROM account_deltas GROUP BY 1) d ON d.account_id = a.id"
        " GROUP BY a.asset HAVING sum(a.balance_minor + coalesce(d.amount, 0)) <> 0",
    ),
    Check(
        "balance_overdrawn",
        "a customer's balance covers what is held on it",
        "SELECT path, NULL, asset, 'at least ' || held_minor, balance_minor FROM accounts"
        " WHERE kind = 'customer' AND (balance_minor < held_minor OR balance_minor < 0"
        "  OR held_minor < 0 OR balance_minor = 'NaN')",
    ),
    Check(
        "delta_misplaced",
        "open deltas are of system accounts that exist",
        "SELECT d.id, NULL, a.asset, 'a system account', coalesce(a.path, d.account_id)"
        " FROM account_deltas d LEFT JOIN accounts a ON a.id = d.account_id"
        " WHERE a.id IS NULL OR a.kind <> 'system'",
    ),
    Check(
        "account_path_off",
        "a path says whose account it is, and in which asset",
        "SELECT id, NULL, asset, CASE WHEN kind = 'customer'"
        "  THEN 'customer:' || coalesce(principal_id, '?') || ':' || asset"
        "  ELSE 'a path with ' || asset END, path FROM accounts"
        " WHERE CASE WHEN kind = 'customer' THEN principal_id IS NULL"
        "  OR path <> 'customer:' || principal_id || ':' || asset"
        " ELSE principal_id IS NOT NULL OR path LIKE 'customer:%'"
        "  OR NOT asset = ANY (string_to_array(path, ':')) END",
    ),
    Check(
        "account_side_off",
        "an account is on the side that its path says",
        "SELECT path, NULL, asset, CASE WHEN side = 'C' THEN 'D' ELSE 'C' END, side FROM accounts"
        " WHERE (side = 'D') <> (path ~"
        "  '^(chain|bank|gateway|expense|receivable|suspense):')",
    ),
    Check(
        "account_twice",
        "one owner has one account in an asset, one path is one account",
        "SELECT min(path), NULL, min(asset), 1, count(*) FROM accounts"
        " GROUP BY coalesce(principal_id || ':' || asset, path) HAVING count(*) > 1",
    ),
    Check(
        "reversal_off",
        "a reversal negates every posting of what it undoes",
        "WITH pairs AS (SELECT id, reverses FROM entries WHERE reverses IS NOT NULL),"
        " one AS (SELECT p.entry_id, p.account_id, p.amount_minor FROM postings p"
        "  WHERE p.entry_id IN (SELECT id FROM pairs)),"
        " two AS (SELECT r.id AS entry_id, p.account_id, -p.amount_minor AS amount_minor"
        "  FROM pairs r JOIN postings p ON p.entry_id = r.reverses)"
        " SELECT coalesce(one.entry_id, two.entry_id), NULL, a.asset, two.amount_minor,"
        " one.amount_minor FROM one FULL JOIN two USING (entry_id, account_id)"
        " LEFT JOIN accounts a ON a.id = account_id"
        " WHERE one.amount_minor IS DISTINCT FROM two.amount_minor",
    ),
    Check(
        "reversal_kind_off",
        "a reversal says what it undoes, and nothing else does",
        "SELECT id, NULL, NULL, 'reversal', kind FROM entries"
        " WHERE (reverses IS NOT NULL) <> (kind = 'reversal')",
    ),
    Check(
        "reversal_twice",
        "an entry is reversed at most once",
        "SELECT reverses, NULL, NULL, 1, count(*) FROM entries WHERE reverses IS NOT NULL"
        " GROUP BY reverses HAVING count(*) > 1",
    ),
    Check(
        "capital_paid_customer",
        "what the owners put in does not go to customers",
        "SELECT p.entry_id, NULL, p.asset, 'no customer beside capital', a.path"
        " FROM postings p JOIN accounts a ON a.id = p.account_id JOIN entries e ON e.id ="
        " p.entry_id"
        " WHERE a.path ~ '^house:(capital|profit_taken):' AND e.kind NOT IN ('reversal',"
        " 'correction')"
        " AND EXISTS (SELECT FROM postings q"
        " JOIN accounts b ON b.id = q.account_id WHERE q.entry_id = p.entry_id"
        "  AND b.kind = 'customer')",
    ),
)
