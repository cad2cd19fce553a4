"""Deposits, where they arrived, what forks took, sweeps, and the addresses themselves."""

from __future__ import annotations

from wallet.auditor.check import Check

# Lost to a fork and not back: its block is not the chain's any more, and that is known.
_LOST = "EXISTS (SELECT FROM deposit_losses l WHERE l.deposit_id = d.id)"

CHECKS = (
    Check(
        "deposit_unbooked",
        "a credited deposit is in the books",
        "SELECT d.id, d.network, d.asset, 'an entry', d.status FROM deposits d"
        " WHERE d.status = 'credited' AND d.entry_id IS NULL",
    ),
    Check(
        "deposit_booked_early",
        "only a credited deposit is in the books, or one whose owner's account was closed; nothing"
        " that was set aside for a reason is credited by itself",
        "SELECT d.id, d.network, d.asset, NULL, d.status FROM deposits d"
        " WHERE (d.entry_id IS NOT NULL AND d.status NOT IN ('credited', 'quarantined'))"
        "  OR (d.entry_id IS NOT NULL AND d.status = 'quarantined' AND d.principal_id IS NULL)"
        "  OR (d.reason IS NOT NULL AND d.status = 'credited')"
        # One that nodes differ about waits as it stands (`wallet/deposits/witnesses.py`).
        "  OR (d.reason <> 'nodes_differ' AND d.status IN ('seen', 'confirmed'))"
        "  OR (d.reason IS NULL AND d.status = 'quarantined')",
    ),
    Check(
        "deposit_owner_off",
        "a deposit belongs to whom its address was given, on the network for which it was",
        "SELECT d.id, d.network, d.asset, a.principal_id, d.principal_id FROM deposits d"
        " LEFT JOIN deposit_addresses a ON lower(a.address) = lower(d.to_address)"
        " WHERE d.principal_id IS NOT NULL AND d.log_index >= -1"
        "  AND (a.principal_id IS DISTINCT FROM d.principal_id OR a.network <> d.network)",
    ),
    Check(
        "deposit_twice",
        "one transfer on chain is credited once",
        "SELECT d.tx_hash || ' ' || d.log_index || ' ' || d.trace_path, d.network, min(d.asset), 1,"
        " count(*) FROM deposits d WHERE d.status = 'credited'"
        " GROUP BY d.network, d.tx_hash, d.log_index, d.trace_path HAVING count(*) > 1",
    ),
    Check(
        "deposit_not_final",
        "nothing is credited above the final block",
        "SELECT d.id, d.network, d.asset, 'at most ' || s.final_number, d.block_number"
        " FROM deposits d JOIN scan_state s ON s.network = d.network"
        f" WHERE d.status = 'credited' AND d.block_number > s.final_number AND NOT {_LOST}",
    ),
    Check(
        "deposit_block_off",
        "a credited deposit is in a block of the chain that is followed",
        "SELECT d.id, d.network, d.asset, b.hash, d.block_hash FROM deposits d"
        " JOIN chain_blocks b ON b.network = d.network AND b.number = d.block_number"
        f" WHERE d.status = 'credited' AND b.hash <> d.block_hash AND NOT {_LOST}",
    ),
    Check(
        "blocks_unlinked",
        "each block names the one before it",
        "SELECT b.network || ' ' || b.number, b.network, NULL, p.hash, b.parent_hash"
        " FROM chain_blocks b JOIN chain_blocks p ON p.network = b.network"
        "  AND p.number = b.number - 1 WHERE p.hash <> b.parent_hash",
    ),
    Check(
        "block_time_off",
        "no block is older than the one before it; it moves no money, and one node said it",
        "SELECT b.network || ' ' || b.number, b.network, NULL, 'from ' || p.block_time,"
        " b.block_time::text FROM chain_blocks b JOIN chain_blocks p ON p.network = b.network"
        "  AND p.number = b.number - 1 WHERE p.block_time > b.block_time",
        pauses=False,
    ),
    Check(
        "deposit_house_entry_off",
        "what arrived at a house address is in the books at its place, and owed to no customer",
        "SELECT d.id, d.network, d.asset, d.amount_minor || ' at hot, warm or cold', a.path || ' '"
        " || p.amount_minor FROM deposits d JOIN postings p ON p.entry_id = d.entry_id"
        " JOIN accounts a ON a.id = p.account_id WHERE d.principal_id IS NULL"
        " AND NOT d.is_move"
        " AND NOT (p.asset = d.asset AND ((p.amount_minor = -d.amount_minor AND a.path IN"
        "   ('chain:' || d.network || ':' || d.asset || ':hot',"
        "    'chain:' || d.network || ':' || d.asset || ':warm',"
        "    'chain:' || d.network || ':' || d.asset || ':cold'))"
        "  OR (p.amount_minor = d.amount_minor AND a.path IN ('house:capital:' || d.asset,"
        "    'unattributed:house:' || d.asset,"
        "    'chain:' || d.network || ':' || d.asset || ':cold'))))",
    ),
    Check(
        "deposit_move_entry_off",
        "what somebody else swept to the house is in the books as a move from the deposits' place",
        "SELECT d.id, d.network, d.asset, d.amount_minor || ' from deposit to the house', a.path"
        " || ' ' || p.amount_minor FROM deposits d JOIN postings p ON p.entry_id = d.entry_id"
        " JOIN accounts a ON a.id = p.account_id WHERE d.is_move"
        " AND NOT (d.principal_id IS NULL AND p.asset = d.asset AND CASE"
        "  WHEN p.amount_minor > 0 THEN p.amount_minor = d.amount_minor"
        "   AND a.path = 'chain:' || d.network || ':' || d.asset || ':deposit'"
        "  ELSE p.amount_minor = -d.amount_minor AND a.path IN"
        "   ('chain:' || d.network || ':' || d.asset || ':hot',"
        "    'chain:' || d.network || ':' || d.asset || ':warm',"
        "    'chain:' || d.network || ':' || d.asset || ':cold') END)",
    ),
    Check(
        "arrival_assignment_off",
        "an arrival is assigned by two people, as one deposit of its amount",
        "SELECT u.id, u.network, u.asset, u.principal_id || ' ' || u.amount_minor,"
        " coalesce(d.principal_id, 'nobody') || ' ' || coalesce(d.amount_minor, 0)"
        " FROM unattributed_arrivals u LEFT JOIN deposits d ON d.id = u.deposit_id"
        " WHERE u.deposit_id IS NOT NULL AND (d.id IS NULL OR d.amount_minor <> u.amount_minor"
        "  OR d.asset <> u.asset OR d.principal_id IS DISTINCT FROM u.principal_id"
        "  OR d.network <> u.network OR d.to_address <> u.address OR d.tx_hash <> u.tx_hash"
        "  OR d.block_number <> u.at_block OR d.block_hash <> u.block_hash"
        "  OR d.log_index >= -1 OR d.status NOT IN ('credited', 'quarantined')"
        "  OR u.approved_by IS NULL OR u.approved_by = u.proposed_by)",
    ),
    Check(
        "release_off",
        "a deposit that was set aside is released by two people, as its own entry",
        "SELECT r.id, d.network, d.asset, coalesce(d.entry_id, 'no entry'),"
        " coalesce(r.entry_id, 'no entry') || ' by ' || coalesce(r.ended_by, 'nobody')"
        " FROM deposit_releases r LEFT JOIN deposits d ON d.id = r.deposit_id"
        " LEFT JOIN entries e ON e.id = r.entry_id WHERE d.id IS NULL"
        " OR (r.state = 'released') <> (r.entry_id IS NOT NULL) OR (r.state = 'released' AND"
        "  (r.entry_id IS DISTINCT FROM d.entry_id OR r.ended_by IS NULL OR r.ended_by ="
        "   r.proposed_by OR r.ended_at IS NULL"
        "   OR abs(extract(epoch FROM r.ended_at - e.created_at)) > 600))",
    ),
    Check(
        "loss_entry_off",
        "a loss takes the deposit's amount out of its place into suspense",
        "SELECT l.id, l.network, d.asset, d.amount_minor, a.path || ' ' || p.amount_minor"
        " FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
        " JOIN postings p ON p.entry_id = l.entry_id JOIN accounts a ON a.id = p.account_id"
        " WHERE p.asset <> d.asset OR NOT CASE WHEN p.amount_minor > 0"
        "  THEN p.amount_minor = d.amount_minor AND a.path LIKE"
        "   'chain:' || l.network || ':' || d.asset || ':%'"
        "  ELSE p.amount_minor = -d.amount_minor AND (d.principal_id IS NULL OR a.path ="
        "   'suspense:chain_loss:' || l.network || ':' || d.asset) END",
    ),
    Check(
        "loss_return_off",
        "a loss that is back puts the deposit's amount into its place again",
        "SELECT l.id, l.network, d.asset, d.amount_minor, a.path || ' ' || p.amount_minor"
        " FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
        " JOIN postings p ON p.entry_id = l.return_entry_id JOIN accounts a ON a.id = p.account_id"
        " WHERE p.asset <> d.asset OR abs(p.amount_minor) <> d.amount_minor"
        "  OR (p.amount_minor < 0) <> (a.path LIKE 'chain:' || l.network || ':' || d.asset"
        " || ':%')",
    ),
    Check(
        "loss_settle_off",
        "a settled loss leaves suspense whole, for its bearer, by two people",
        "SELECT l.id, l.network, d.asset, d.amount_minor || ' by ' || l.bearer, a.path || ' '"
        " || p.amount_minor FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
        " JOIN postings p ON p.entry_id = l.settle_entry_id JOIN accounts a ON a.id = p.account_id"
        " WHERE p.asset <> d.asset OR l.bearer_approved_by = l.bearer_proposed_by"
        " OR NOT CASE WHEN p.amount_minor > 0 THEN p.amount_minor = d.amount_minor"
        "   AND a.path = 'suspense:chain_loss:' || l.network || ':' || d.asset"
        "  WHEN l.bearer = 'house' THEN"
        "   a.path = 'expense:chain_loss:' || l.network || ':' || d.asset"
        "  ELSE a.path IN ('receivable:' || d.principal_id || ':' || d.asset,"
        "   'customer:' || d.principal_id || ':' || d.asset) END",
    ),
    Check(
        "loss_uncaused",
        "an entry about a loss is named by it",
        "SELECT e.id, NULL, (SELECT min(asset) FROM postings p WHERE p.entry_id = e.id), e.kind,"
        " NULL FROM entries e WHERE NOT CASE e.kind"
        "  WHEN 'deposit_lost' THEN e.id IN (SELECT entry_id FROM deposit_losses)"
        "  WHEN 'deposit_loss_returned' THEN EXISTS (SELECT FROM deposit_losses l"
        "   WHERE l.return_entry_id = e.id)"
        "  WHEN 'deposit_loss_settled' THEN EXISTS (SELECT FROM deposit_losses l"
        "   WHERE l.settle_entry_id = e.id) ELSE true END",
    ),
    Check(
        "suspense_off",
        "what is in suspense is the losses that nobody bears yet",
        "SELECT a.path, split_part(a.path, ':', 3), a.asset, -coalesce(l.amount, 0),"
        " a.balance_minor + coalesce(o.amount, 0) FROM accounts a"
        " LEFT JOIN (SELECT l.network, d.asset, sum(d.amount_minor) AS amount FROM deposit_losses l"
        "  JOIN deposits d ON d.id = l.deposit_id WHERE l.return_entry_id IS NULL"
        "  AND l.settle_entry_id IS NULL AND d.principal_id IS NOT NULL GROUP BY 1, 2) l"
        "  ON a.path = 'suspense:chain_loss:' || l.network || ':' || l.asset"
        " LEFT JOIN (SELECT account_id, sum(amount_minor) AS amount FROM account_deltas"
        " GROUP BY 1) o"
        "  ON o.account_id = a.id WHERE a.path LIKE 'suspense:chain_loss:%'"
        " AND a.balance_minor + coalesce(o.amount, 0) <> -coalesce(l.amount, 0)",
    ),
    Check(
        "collection_off",
        "what is collected goes from somebody who owes to what they owe",
        "SELECT p.entry_id, NULL, p.asset, 'customer to receivable of one person', a.path"
        " FROM entries e JOIN postings p ON p.entry_id = e.id JOIN accounts a ON a.id ="
        " p.account_id"
        " WHERE e.kind = 'receivable_collected' AND NOT EXISTS (SELECT FROM postings q"
        "  JOIN accounts b ON b.id = q.account_id WHERE q.entry_id = e.id"
        "  AND q.amount_minor = -p.amount_minor AND split_part(b.path, ':', 2)"
        "   = split_part(a.path, ':', 2) AND CASE WHEN p.amount_minor < 0"
        "   THEN a.path LIKE 'customer:%' AND b.path LIKE 'receivable:%'"
        "   ELSE b.path LIKE 'customer:%' AND a.path LIKE 'receivable:%' END)",
    ),
    Check(
        "sweep_unbooked",
        "a sweep that ended on chain is in the books",
        "SELECT s.id, s.network, s.asset, 'an entry', s.state FROM sweeps s"
        " JOIN chain_intents i ON i.id = s.intent_id WHERE s.state <> 'open' AND s.entry_id IS NULL"
        " AND coalesce(i.gas_fee_wei, 0) > 0",
    ),
    Check(
        "sweep_state_off",
        "a sweep stands where its intent stands",
        "SELECT s.id, s.network, s.asset, i.state, s.state FROM sweeps s"
        " LEFT JOIN chain_intents i ON i.id = s.intent_id WHERE i.id IS NULL OR i.network"
        " <> s.network"
        " OR (s.state = 'done') <> (i.state = 'final_ok')"
        " OR (s.state = 'open') <> (i.state NOT IN"
        "  ('final_ok', 'final_reverted', 'cancelled', 'failed'))",
    ),
    Check(
        "sweep_place_off",
        "a sweep goes to an address of the house, at the place it says",
        "SELECT s.id, s.network, s.asset, h.place, s.place FROM sweeps s"
        " LEFT JOIN house_addresses h ON h.network = s.network"
        "  AND lower(h.address) = lower(s.treasury) WHERE h.place IS DISTINCT FROM s.place",
    ),
    Check(
        "treasury_four_eyes_off",
        "who proposes a treasury move does not approve it",
        "SELECT id, network, asset, 'another than ' || proposed_by, approved_by"
        " FROM treasury_moves WHERE approved_by = proposed_by"
        "  OR (state IN ('approved', 'done') AND kind NOT IN ('refill', 'refill_warm')"
        "   AND approved_by IS NULL)",
    ),
    Check(
        "treasury_warm_signatures_off",
        "what leaves warm was signed for by two operators, neither of whom proposed it",
        "SELECT t.id, t.network, t.asset, '2 and more, none by ' || t.proposed_by,"
        " count(a.operator) || ' ' || coalesce(string_agg(a.by_whom, ', ' ORDER BY a.by_whom), '')"
        " FROM treasury_moves t JOIN chain_intents i ON i.id = t.intent_id"
        " LEFT JOIN chain_approvals a ON a.intent_id = i.id"
        " WHERE t.kind IN ('to_hot', 'warm_to_cold', 'evacuate_warm') AND i.state IN"
        "  ('sent', 'mined', 'final_ok', 'final_reverted')"
        " GROUP BY t.id HAVING count(DISTINCT lower(a.operator)) < 2"
        "  OR bool_or(a.by_whom = t.proposed_by)",
    ),
    Check(
        "treasury_tier_off",
        "a treasury move leaves an address of its tier and comes to one of its own",
        "SELECT t.id, t.network, t.asset, t.kind, coalesce(f.place, 'unknown') || ' to '"
        " || coalesce(h.place, 'unknown') FROM treasury_moves t"
        " JOIN chain_intents i ON i.id = t.intent_id"
        " LEFT JOIN house_addresses f ON f.network = t.network AND f.address = i.from_address"
        " LEFT JOIN house_addresses h ON h.network = t.network AND h.address = t.to_address"
        " WHERE i.from_address IS NOT NULL AND (coalesce(f.place, 'hot') <> CASE WHEN t.kind IN"
        "   ('to_hot', 'warm_to_cold', 'evacuate_warm') THEN 'warm' ELSE 'hot' END"
        "  OR (t.kind <> 'profit' AND h.place IS DISTINCT FROM CASE t.kind"
        "   WHEN 'to_warm' THEN 'warm' WHEN 'to_hot' THEN 'hot' ELSE 'cold' END))",
    ),
    Check(
        "treasury_unbooked",
        "a treasury move that ended on chain is in the books",
        "SELECT t.id, t.network, t.asset, 'an entry', t.state FROM treasury_moves t"
        " JOIN chain_intents i ON i.id = t.intent_id WHERE t.entry_id IS NULL"
        " AND (t.state = 'done' OR coalesce(i.gas_fee_wei, 0) > 0)"
        " AND i.state IN ('final_ok', 'final_reverted', 'cancelled')",
    ),
    Check(
        "treasury_fund_off",
        "what is told to be capital was nobody's before",
        "SELECT e.id, NULL, p.asset, 'unattributed to capital', a.path || ' ' || p.amount_minor"
        " FROM entries e JOIN postings p ON p.entry_id = e.id JOIN accounts a ON a.id ="
        " p.account_id"
        " WHERE e.kind = 'treasury_fund' AND NOT CASE WHEN p.amount_minor < 0"
        "  THEN a.path = 'unattributed:house:' || p.asset ELSE a.path = 'house:capital:' || p.asset"
        "  END",
    ),
    Check(
        "address_twice",
        "a deposit address belongs to one person, and its index to one address",
        "SELECT min(address), min(network), NULL, 1, count(*) FROM deposit_addresses"
        " GROUP BY lower(address) HAVING count(*) > 1 UNION ALL"
        " SELECT 'index ' || derivation_index, min(network), NULL, 1, count(*)"
        " FROM deposit_addresses GROUP BY derivation_index HAVING count(*) > 1",
    ),
    Check(
        "address_house_and_customer",
        "an address is the house's or a customer's",
        "SELECT d.address, d.network, NULL, d.principal_id, h.place FROM deposit_addresses d"
        " JOIN house_addresses h ON lower(h.address) = lower(d.address)",
    ),
)
