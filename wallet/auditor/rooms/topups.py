"""Top-ups by card and by bank transfer, charge-backs, strays, and the gateway's own list.

The gateway here is the simulated one, another company's books in a schema of their own. Its list
may be ahead of our books (an answer is on its way); the books may never be ahead of its list.
"""

from __future__ import annotations

from wallet.auditor.check import Check
from wallet.auditor.expected import Cause, checks_of

_BY_CARD = (
    "paid AS (SELECT t.principal_id, t.asset, t.amount_minor, t.kept_aside, t.entry_id,"
    " t.charge_back_entry_id, c.gateway FROM topups t JOIN cards c ON c.id = t.card_id"
    " WHERE t.entry_id IS NOT NULL)"
)
TOPUPS = Cause(
    "topup",
    "a top-up credits its owner with what gateway, bank or the money kept aside gives",
    ("topup",),
    "SELECT entry_id, 'customer:' || principal_id || ':' || asset AS path, asset,"
    " amount_minor AS amount FROM topups WHERE NOT kept_aside UNION ALL"
    " SELECT entry_id, 'gateway:' || gateway || ':' || asset, asset, -amount_minor FROM paid"
    " WHERE NOT kept_aside UNION ALL"
    " SELECT c.entry_id, 'bank:' || l.bank || ':' || c.asset, c.asset, -l.amount_minor"
    " FROM bank_credits c JOIN bank_lines l ON l.bank = c.bank AND l.line_id = c.line_id"
    "  AND l.reference = c.bank_reference AND l.kind = 'credit' AND l.asset = c.asset UNION ALL"
    " SELECT t.entry_id, 'unattributed:' || s.bank || ':' || s.asset, s.asset, -s.amount_minor"
    " FROM bank_strays s JOIN topups t ON t.id = s.topup_id",
    "SELECT entry_id FROM topups WHERE NOT kept_aside",
    _BY_CARD,
)
ASIDE = Cause(
    "gateway_aside",
    "what the gateway has for nobody who can have it is kept aside",
    ("gateway.unattributed",),
    "SELECT entry_id, 'gateway:' || gateway || ':' || asset AS path, asset,"
    " -amount_minor AS amount FROM paid WHERE kept_aside UNION ALL"
    " SELECT entry_id, 'unattributed:' || gateway || ':' || asset, asset, amount_minor FROM paid"
    " WHERE kept_aside UNION ALL"
    " SELECT entry_id, 'gateway:' || gateway || ':' || asset, asset, -amount_minor"
    " FROM gateway_lines UNION ALL"
    " SELECT entry_id, 'unattributed:' || gateway || ':' || asset, asset, amount_minor"
    " FROM gateway_lines",
    "SELECT entry_id FROM topups WHERE kept_aside UNION ALL SELECT entry_id FROM gateway_lines",
    _BY_CARD,
)
CHARGE_BACKS = Cause(
    "charge_back",
    "a charge-back gives the gateway the whole amount, out of what its owner has or will owe",
    ("topup_charged_back",),
    # How it split between what was there and what is owed is in no row: both are the owner's.
    "SELECT charge_back_entry_id AS entry_id, 'gateway:' || gateway || ':' || asset AS path,"
    " asset, amount_minor AS amount FROM paid UNION ALL"
    " SELECT charge_back_entry_id, CASE WHEN kept_aside THEN 'unattributed:' || gateway"
    "  ELSE 'owner:' || principal_id END || ':' || asset, asset, -amount_minor FROM paid",
    "SELECT charge_back_entry_id AS entry_id FROM topups",
    _BY_CARD,
)
STRAYS = Cause(
    "stray",
    "a transfer that names nobody is kept aside, whole",
    ("bank.unattributed",),
    "SELECT entry_id, 'bank:' || bank || ':' || asset AS path, asset, -amount_minor AS amount"
    " FROM bank_strays UNION ALL"
    " SELECT entry_id, 'unattributed:' || bank || ':' || asset, asset, amount_minor"
    " FROM bank_strays",
    # What the bank took back by itself is nobody's to have: it has a line and no stray.
    # A stray may share its reference with what the bank took back, or with a payout.
    "SELECT entry_id FROM bank_strays UNION ALL SELECT e.id FROM entries e"
    " WHERE e.kind = 'bank.unattributed' AND e.id NOT IN (SELECT entry_id FROM bank_strays)"
    " AND e.ref IN (SELECT reference FROM bank_lines WHERE amount_minor < 0)",
)
RESOLVED = Cause(
    "resolution",
    "a difference with the gateway's list that two operators resolved moves what differed, for its"
    " owner or against what they have or will owe",
    ("gateway.resolved",),
    "SELECT entry_id, 'gateway:' || gateway || ':' || asset AS path, asset,"
    " booked_minor - listed_minor AS amount FROM gateway_resolutions WHERE deed = 'adjust'"
    " UNION ALL"
    " SELECT entry_id, coalesce('owner:' || principal_id, 'unattributed:' || gateway) || ':'"
    "  || asset, asset, listed_minor - booked_minor FROM gateway_resolutions WHERE deed = 'adjust'",
    "SELECT entry_id FROM gateway_resolutions WHERE deed = 'adjust'",
)
CAUSES = (TOPUPS, ASIDE, CHARGE_BACKS, STRAYS, RESOLVED)


def _of_owners(cause: Cause) -> Check:
    """Its entries, where no row says how they split between what is there and what is owed."""
    extra = cause.extra + ", " if cause.extra else ""
    return Check(
        f"{cause.code}_entry_off",
        f"{cause.means}: its entry moves exactly that",
        f"WITH {extra}want AS (SELECT entry_id, path, asset, sum(amount) AS amount"
        f" FROM ({cause.lines}) l WHERE entry_id IS NOT NULL"
        " AND ({after} < 0 OR entry_id IN (SELECT entry_id FROM postings WHERE id > {after}))"
        " GROUP BY 1, 2, 3), have AS (SELECT p.entry_id, CASE WHEN a.path LIKE 'customer:%'"
        "  OR a.path LIKE 'receivable:%'"
        "  THEN 'owner:' || split_part(a.path, ':', 2) || ':' || a.asset"
        "  ELSE a.path END AS path, p.asset, sum(p.amount_minor) AS amount,"
        "  bool_and(p.amount_minor < 0) AS taken FROM postings p JOIN accounts a"
        "  ON a.id = p.account_id"
        "  WHERE p.id > {after} AND p.entry_id IN (SELECT entry_id FROM want) GROUP BY 1, 2, 3)"
        " SELECT entry_id, NULL, asset, path || ' ' || coalesce(want.amount, 0),"
        " coalesce(have.amount, 0) FROM want FULL JOIN have USING (entry_id, path, asset)"
        " WHERE want.amount IS DISTINCT FROM have.amount OR (want.amount < 0) <> have.taken",
    )


_SPLIT = {cause: _of_owners(cause) for cause in (CHARGE_BACKS, RESOLVED)}

CHECKS = (
    *_SPLIT.values(),
    *(
        check
        for cause in CAUSES
        for check in checks_of(cause)
        if cause not in _SPLIT or check.code != _SPLIT[cause].code
    ),
    Check(
        "topup_state_off",
        "a top-up has its entries exactly when it says so",
        "SELECT id, NULL, asset, status || CASE WHEN kept_aside THEN ', kept aside' ELSE '' END,"
        " 'credit ' || coalesce(entry_id, 'none') || ', back '"
        "  || coalesce(charge_back_entry_id, 'none') FROM topups"
        " WHERE (entry_id IS NOT NULL) <> (status IN ('succeeded', 'charged_back') OR kept_aside)"
        "  OR (kept_aside AND status <> 'failed')"
        "  OR (status = 'charged_back' AND charge_back_entry_id IS NULL)"
        "  OR (charge_back_entry_id IS NOT NULL AND status <> 'charged_back' AND NOT kept_aside)",
    ),
    Check(
        "topup_card_off",
        "a card payment is by a card of its owner, bank transfers have none",
        "SELECT t.id, NULL, t.asset, t.principal_id, c.principal_id FROM topups t"
        " LEFT JOIN cards c ON c.id = t.card_id WHERE (t.method = 'card') <> (c.id IS NOT NULL)"
        "  OR c.principal_id <> t.principal_id",
    ),
    Check(
        "bank_credit_off",
        "a credit of the bank is the top-up that it names",
        "SELECT c.bank_reference, NULL, c.asset, c.principal_id || ' ' || c.amount_minor || ' '"
        " || c.entry_id, t.principal_id || ' ' || t.amount_minor || ' '"
        " || coalesce(t.entry_id, 'no entry') FROM bank_credits c"
        " LEFT JOIN topups t ON t.id = c.topup_id WHERE t.id IS NULL OR t.method <> 'bank_transfer'"
        "  OR t.principal_id <> c.principal_id OR t.asset <> c.asset"
        "  OR t.amount_minor <> c.amount_minor OR t.entry_id IS DISTINCT FROM c.entry_id",
    ),
    Check(
        "bank_credit_line_off",
        "a credit is what the bank's statement says came in",
        "SELECT c.bank_reference, NULL, c.asset, coalesce(l.amount_minor, 0), c.amount_minor"
        " FROM bank_credits c LEFT JOIN bank_lines l ON l.bank = c.bank AND l.line_id = c.line_id"
        "  AND l.reference = c.bank_reference AND l.kind = 'credit' AND l.asset = c.asset"
        " WHERE l.amount_minor IS DISTINCT FROM c.amount_minor",
    ),
    Check(
        "stray_line_off",
        "a stray is a line of the statement",
        "SELECT s.id, s.bank, s.asset, coalesce(l.amount_minor, 0), s.amount_minor"
        " FROM bank_strays s LEFT JOIN bank_lines l ON l.bank = s.bank AND l.kind = 'credit'"
        "  AND l.line_id = s.line_id AND l.reference = s.bank_reference AND l.asset = s.asset"
        " WHERE l.amount_minor IS DISTINCT FROM s.amount_minor",
    ),
    Check(
        "stray_assigned_off",
        "a stray becomes the top-up of whom two people named, of the same amount",
        "SELECT s.id, s.bank, s.asset, coalesce(s.principal_id, 'nobody') || ' ' || s.amount_minor"
        " || ' by ' || coalesce(s.proposed_by, 'nobody') || ', another agreed',"
        " coalesce(t.principal_id || ' ' || t.amount_minor, 'no top-up') || ', '"
        " || coalesce(s.approved_by, 'nobody') || ' agreed' FROM bank_strays s"
        " LEFT JOIN topups t ON t.id = s.topup_id WHERE (s.topup_id IS NOT NULL"
        "  OR s.approved_by IS NOT NULL) AND (t.id IS NULL OR s.proposed_by IS NULL"
        "  OR s.approved_by IS NULL OR s.approved_by = s.proposed_by OR t.method <> 'bank_transfer'"
        "  OR t.principal_id IS DISTINCT FROM s.principal_id OR t.asset <> s.asset"
        "  OR t.amount_minor <> s.amount_minor)",
    ),
    Check(
        "receivable_overpaid",
        "nobody pays back more than they owe",
        "SELECT a.path, NULL, a.asset, 'at most 0', a.balance_minor + coalesce(o.amount, 0)"
        " FROM accounts a LEFT JOIN (SELECT account_id, sum(amount_minor) AS amount"
        "  FROM account_deltas GROUP BY 1) o ON o.account_id = a.id"
        " WHERE a.path LIKE 'receivable:%' AND a.balance_minor + coalesce(o.amount, 0) > 0",
    ),
    # The gateway's own list
    Check(
        "gateway_books_off",
        "every reference moved in the books what it moved on the gateway's list",
        "WITH listed AS (SELECT l.asset, l.reference, sum(l.amount_minor) AS amount"
        "  FROM simgate.list l LEFT JOIN topups t ON t.id = l.reference AND t.method = 'card'"
        "  LEFT JOIN gateway_lines g ON g.gateway = 'simgate' AND g.line_id = l.id"
        # Listed already, and our own answer is on its way; what was resolved is booked as listed.
        "  WHERE g.entry_id IS NOT NULL OR CASE l.kind WHEN 'charge' THEN t.entry_id"
        "   ELSE t.charge_back_entry_id END IS NOT NULL"
        "   OR EXISTS (SELECT FROM gateway_resolutions r WHERE r.gateway = 'simgate'"
        "    AND r.state = 'posted' AND r.reference = l.reference"
        "    AND r.asset = l.asset AND r.through_line >= l.id) GROUP BY 1, 2),"
        " booked AS (SELECT p.asset, e.ref AS reference, -sum(p.amount_minor) AS amount"
        "  FROM postings p JOIN accounts a ON a.id = p.account_id"
        "  JOIN entries e ON e.id = p.entry_id WHERE a.path LIKE 'gateway:simgate:%' GROUP BY 1, 2)"
        " SELECT reference, 'simgate', asset, coalesce(l.amount, 0), coalesce(b.amount, 0)"
        " FROM listed l FULL JOIN booked b USING (asset, reference)"
        " WHERE coalesce(l.amount, 0) <> coalesce(b.amount, 0)",
    ),
    Check(
        "gateway_charge_off",
        "a card top-up that was credited is what the gateway took, or two operators followed its"
        " list and not its answer",
        "SELECT t.id, 'simgate', t.asset, coalesce(c.amount_minor || ' ' || c.asset || ' '"
        "  || c.status, 'no charge'), t.amount_minor || ' ' || t.asset || ' ' || t.status"
        " FROM topups t JOIN cards k ON k.id = t.card_id AND k.gateway = 'simgate'"
        " LEFT JOIN simgate.charges c ON c.reference = t.id WHERE t.entry_id IS NOT NULL"
        " AND (c.reference IS NULL OR c.amount_minor IS DISTINCT FROM t.amount_minor"
        "  OR c.asset IS DISTINCT FROM t.asset"
        "  OR c.status NOT IN ('succeeded', 'charged_back')"
        "  OR (t.charge_back_entry_id IS NOT NULL AND c.status <> 'charged_back'))"
        " AND NOT EXISTS (SELECT FROM gateway_resolutions r WHERE r.reference = t.id"
        "  AND r.state = 'posted')",
    ),
    Check(
        "resolution_agreed_off",
        "what one operator proposed and another agreed to is what was booked, once",
        "SELECT r.id, r.gateway, r.asset, r.deed || ' ' || (r.listed_minor - r.booked_minor)"
        " || ' for '"
        " || r.reference || ' by ' || r.proposed_by || ', another agreed', coalesce(r.entry_id,"
        "  'no entry') || ', ' || coalesce(r.ended_by, 'nobody') || ' agreed, in the books '"
        "  || coalesce(e.meta->>'approved_by', 'nobody') FROM gateway_resolutions r"
        " LEFT JOIN topups t ON t.id = r.reference LEFT JOIN entries e ON e.id = r.entry_id"
        " LEFT JOIN cards c ON c.id = t.card_id"
        " WHERE (r.deed <> 'adjust' AND r.asset IS DISTINCT FROM t.asset)"
        " OR r.gateway IS DISTINCT FROM c.gateway"
        " OR (r.through_line > 0 AND r.gateway = 'simgate' AND NOT EXISTS (SELECT FROM simgate.list"
        "  l WHERE l.id = r.through_line AND l.reference = r.reference AND l.asset = r.asset))"
        " OR (r.state = 'posted') <> (r.entry_id IS NOT NULL) OR (r.state = 'posted' AND ("
        "  r.ended_by IS NULL OR r.ended_by = r.proposed_by OR (r.principal_id IS NULL"
        "   AND r.deed <> 'adjust' AND NOT t.kept_aside) OR e.ref IS DISTINCT FROM r.reference"
        "  OR e.meta->>'resolution' IS DISTINCT FROM r.id"
        "  OR e.meta->>'proposed_by' IS DISTINCT FROM r.proposed_by"
        "  OR e.meta->>'approved_by' IS DISTINCT FROM r.ended_by"
        "  OR r.principal_id IS DISTINCT FROM CASE WHEN r.principal_id IS NOT NULL"
        "   THEN t.principal_id END"
        "  OR (r.deed = 'credit' AND (t.entry_id IS DISTINCT FROM r.entry_id"
        "   OR (r.listed_minor, r.booked_minor) IS DISTINCT FROM (t.amount_minor, 0)))"
        "  OR (r.deed = 'charge_back' AND (t.charge_back_entry_id IS DISTINCT FROM r.entry_id"
        "   OR (r.listed_minor, r.booked_minor) IS DISTINCT FROM (0, t.amount_minor)))))",
    ),
    Check(
        "gateway_line_off",
        "a line of the gateway's list is what the gateway says it is",
        "SELECT g.gateway || ' ' || g.line_id, g.gateway, g.asset, s.amount_minor || ' '"
        " || s.reference, g.amount_minor || ' ' || g.reference FROM gateway_lines g"
        " LEFT JOIN simgate.list s ON s.id = g.line_id WHERE g.gateway = 'simgate'"
        " AND (s.id IS NULL OR s.asset <> g.asset OR s.amount_minor <> g.amount_minor"
        "  OR s.reference <> g.reference OR s.kind <> g.kind OR s.at <> g.at)",
    ),
    Check(
        "gateway_line_skipped",
        "no line of the gateway's list is passed over",
        "SELECT s.id, 'simgate', s.asset, s.amount_minor || ' ' || s.reference, NULL"
        " FROM simgate.list s JOIN (SELECT asset, max(line_id) AS last FROM gateway_lines"
        "  WHERE gateway = 'simgate' GROUP BY 1) m ON m.asset = s.asset AND s.id < m.last"
        " LEFT JOIN gateway_lines g ON g.gateway = 'simgate' AND g.line_id = s.id"
        " WHERE g.line_id IS NULL",
    ),
    Check(
        "gateway_list_off",
        "the gateway's list adds up, line by line",
        "SELECT id, 'simgate', asset, running, balance_after_minor FROM (SELECT id, asset,"
        " balance_after_minor, sum(amount_minor) OVER (PARTITION BY asset ORDER BY id) AS running"
        " FROM simgate.list) s WHERE running <> balance_after_minor",
    ),
    Check(
        "gateway_balance_off",
        "the gateway owes us where its list ends",
        "SELECT b.asset, 'simgate', b.asset, coalesce(s.amount, 0), b.balance_minor"
        " FROM simgate.balances b LEFT JOIN (SELECT asset, sum(amount_minor) AS amount"
        "  FROM simgate.list GROUP BY 1) s ON s.asset = b.asset"
        " WHERE b.balance_minor <> coalesce(s.amount, 0)",
    ),
)
