"""Corrections by hand: what two people agreed is what was posted, and nothing else was."""

from __future__ import annotations

from wallet.auditor.check import Check

# Entry by entry what a posted correction says, in the order in which it was posted.
_POSTED = (
    "posted AS (SELECT c.id, c.kind, c.reverses, c.proposed_by, c.ended_by, n.entry_id,"
    " c.document->'entries'->(n.place::int - 1) AS said FROM corrections c,"
    " LATERAL unnest(c.entry_ids) WITH ORDINALITY n(entry_id, place) WHERE c.state = 'posted')"
)
_ASSET = "(SELECT min(p.asset) FROM postings p WHERE p.entry_id = {0})"

CHECKS = (
    Check(
        "correction_entry_off",
        "a correction posts exactly the document that was agreed",
        f"WITH {_POSTED}, want AS (SELECT d.entry_id, l.line->>'account' AS path,"
        "  l.line->>'asset' AS asset, sum((l.line->>'minor')::numeric) AS amount FROM posted d,"
        "  LATERAL jsonb_array_elements(d.said->'postings') l(line) GROUP BY 1, 2, 3"
        "  HAVING sum((l.line->>'minor')::numeric) <> 0),"
        " have AS (SELECT p.entry_id, a.path, p.asset, p.amount_minor AS amount FROM postings p"
        "  JOIN accounts a ON a.id = p.account_id"
        "  WHERE p.entry_id IN (SELECT entry_id FROM posted))"
        " SELECT entry_id, NULL, asset, path || ' ' || coalesce(want.amount, 0),"
        " coalesce(have.amount, 0) FROM want FULL JOIN have USING (entry_id, path, asset)"
        " WHERE want.amount IS DISTINCT FROM have.amount",
    ),
    Check(
        "correction_entry_missing",
        "every entry of a posted correction is there, under its kind, once for each it proposed",
        f"WITH {_POSTED} SELECT d.id, NULL, {_ASSET.format('d.entry_id')}, d.entry_id,"
        " coalesce(e.kind, 'nothing') FROM posted d LEFT JOIN entries e ON e.id = d.entry_id"
        " WHERE e.kind IS DISTINCT FROM CASE d.kind WHEN 'reversal' THEN 'reversal'"
        "  ELSE 'correction' END OR e.reverses IS DISTINCT FROM d.reverses"
        " UNION ALL SELECT c.id, NULL, NULL, jsonb_array_length(c.document->'entries')::text,"
        " coalesce(cardinality(c.entry_ids), 0)::text FROM corrections c"
        " WHERE (c.state = 'posted' AND coalesce(cardinality(c.entry_ids), 0)"
        "  <> jsonb_array_length(c.document->'entries'))"
        "  OR (c.state <> 'posted' AND c.entry_ids IS NOT NULL)",
    ),
    Check(
        "correction_entry_uncaused",
        "what was corrected by hand was proposed and agreed",
        f"SELECT e.id, NULL, {_ASSET.format('e.id')}, 'a correction', e.kind FROM entries e"
        " WHERE e.kind IN ('correction', 'reversal') AND e.id NOT IN (SELECT n.entry_id"
        "  FROM corrections c, LATERAL unnest(c.entry_ids) n(entry_id) WHERE c.state = 'posted')",
    ),
    Check(
        "correction_claimed_twice",
        "an entry is of one correction, and an entry is undone by one correction",
        "SELECT n.entry_id, NULL, NULL, 1, count(*) FROM corrections c,"
        " LATERAL unnest(c.entry_ids) n(entry_id) GROUP BY n.entry_id HAVING count(*) > 1"
        " UNION ALL SELECT c.reverses, NULL, NULL, 1, count(*) FROM corrections c"
        " WHERE c.state = 'posted' AND c.reverses IS NOT NULL GROUP BY 1 HAVING count(*) > 1",
    ),
    Check(
        "correction_four_eyes_off",
        "who proposes a correction does not agree to it, and the books tell of it as it was agreed",
        f"WITH {_POSTED} SELECT d.id, NULL, {_ASSET.format('d.entry_id')},"
        " 'another than ' || d.proposed_by, coalesce(d.ended_by, 'nobody') || ', in the books '"
        "  || coalesce(e.meta->>'approved_by', 'nobody') FROM posted d"
        " LEFT JOIN entries e ON e.id = d.entry_id WHERE d.ended_by IS NULL"
        "  OR d.ended_by = d.proposed_by OR (e.id IS NOT NULL AND"
        "  (e.meta->>'correction' <> d.id OR e.meta->>'note' <> d.said->>'note'"
        "   OR (e.meta->>'approved_by') IS DISTINCT FROM d.ended_by"
        "   OR (e.meta->>'proposed_by') IS DISTINCT FROM d.proposed_by))",
    ),
    Check(
        "correction_expense_off",
        "what corrections cost the house comes from corrections alone",
        "SELECT p.entry_id, NULL, p.asset, 'a correction', e.kind FROM accounts a"
        " JOIN postings p ON p.account_id = a.id JOIN entries e ON e.id = p.entry_id"
        " WHERE a.path LIKE 'expense:correction:%' AND e.kind NOT IN ('correction', 'reversal')",
    ),
)
