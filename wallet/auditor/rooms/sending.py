"""Withdrawals, the intents that pay them, and the nonces they use."""

from __future__ import annotations

from wallet.auditor.check import Check

_PAIRS = "FROM withdrawals w LEFT JOIN chain_intents i ON i.id = w.intent_id"
_OVER = "('settled', 'failed', 'cancelled')"
_SPENT = "('final_ok', 'final_reverted', 'cancelled')"

CHECKS = (
    Check(
        "withdrawal_hold_off",
        "a withdrawal holds amount and fee bound on its owner's account",
        "SELECT w.id, w.network, w.asset, w.principal_id || ' ' || (w.amount_minor"
        "  + w.fee_bound_minor) || ' ' || w.asset, coalesce(a.principal_id, '?') || ' '"
        "  || coalesce(h.amount_minor, 0) || ' ' || coalesce(h.asset, '?') FROM withdrawals w"
        " LEFT JOIN holds h ON h.id = w.hold_id LEFT JOIN accounts a ON a.id = h.account_id"
        " WHERE h.amount_minor IS DISTINCT FROM w.amount_minor + w.fee_bound_minor"
        "  OR h.asset IS DISTINCT FROM w.asset OR h.ref IS DISTINCT FROM w.id"
        "  OR a.principal_id IS DISTINCT FROM w.principal_id",
    ),
    Check(
        "withdrawal_intent_off",
        "what is sent for a withdrawal is what its owner asked for",
        "SELECT w.id, w.network, w.asset,"
        " concat_ws(' ', w.network, w.amount_minor, w.asset, w.to_address),"
        f" concat_ws(' ', i.network, i.amount_minor, i.asset, i.to_address) {_PAIRS}"
        " WHERE i.id IS NULL OR i.purpose <> 'withdrawal' OR i.ref <> w.id"
        "  OR i.network <> w.network OR i.asset <> w.asset OR i.to_address <> w.to_address"
        "  OR i.amount_minor <> w.amount_minor OR i.data IS NOT NULL",
    ),
    Check(
        "withdrawal_status_off",
        "a withdrawal stands where its intent stands",
        f"SELECT w.id, w.network, w.asset, i.state, w.status {_PAIRS} WHERE NOT CASE i.state"
        "  WHEN 'queued' THEN w.status = 'held' WHEN 'allocated' THEN w.status = 'held'"
        "  WHEN 'signed' THEN w.status = 'signed' WHEN 'sent' THEN w.status = 'broadcast'"
        "  WHEN 'mined' THEN w.status = 'mined' WHEN 'final_ok' THEN w.status = 'settled'"
        "  WHEN 'final_reverted' THEN w.status = 'failed' WHEN 'failed' THEN w.status = 'failed'"
        "  WHEN 'cancelled' THEN w.status IN ('cancelled', 'failed')"
        "  WHEN 'in_review' THEN w.status = 'in_review' ELSE false END",
    ),
    Check(
        "withdrawal_unbooked",
        "a withdrawal that paid or cost something is in the books",
        "SELECT w.id, w.network, w.asset, 'an entry', w.status FROM withdrawals w"
        " LEFT JOIN chain_intents i ON i.id = w.intent_id WHERE w.entry_id IS NULL"
        f" AND w.status IN {_OVER} AND (w.status = 'settled' OR coalesce(w.fee_minor, 0) > 0"
        "  OR coalesce(i.gas_fee_wei, 0) > 0)",
    ),
    Check(
        "withdrawal_booked_early",
        "a withdrawal that has not ended is not in the books",
        "SELECT w.id, w.network, w.asset, NULL, w.entry_id FROM withdrawals w"
        f" WHERE w.entry_id IS NOT NULL AND w.status NOT IN {_OVER}",
    ),
    Check(
        "withdrawal_hold_end_off",
        "a withdrawal's hold is open until it ends, and captured for what was due",
        f"SELECT w.id, w.network, w.asset, CASE WHEN w.status IN {_OVER} THEN 'captured '"
        "  || (CASE WHEN w.status = 'settled' THEN w.amount_minor ELSE 0 END"
        "   + coalesce(w.fee_minor, 0)) ELSE 'open' END, h.status || ', captured '"
        " || h.captured_minor FROM withdrawals w JOIN holds h ON h.id = w.hold_id"
        f" WHERE CASE WHEN w.status IN {_OVER} THEN h.status <> 'closed' OR h.captured_minor <>"
        "  CASE WHEN w.status = 'settled' THEN w.amount_minor ELSE 0 END + coalesce(w.fee_minor, 0)"
        " ELSE h.status <> 'open' OR h.captured_minor <> 0 OR h.released_minor <> 0 END",
    ),
    Check(
        "withdrawal_fee_off",
        "the fee is the gas burnt at the fixed rate, rounded up, within the bound",
        "SELECT w.id, w.network, w.asset, least(w.fee_bound_minor,"
        f"  ceil(coalesce(i.gas_fee_wei, 0) * w.gas_rate)), w.fee_minor {_PAIRS}"
        " WHERE w.fee_minor > w.fee_bound_minor"
        f" OR (w.fee_minor IS NOT NULL AND w.status NOT IN {_OVER})"
        " OR (w.status = 'settled' AND w.fee_minor"
        "  IS DISTINCT FROM least(w.fee_bound_minor, ceil(i.gas_fee_wei * w.gas_rate)))"
        " OR (w.status IN ('failed', 'cancelled') AND (w.fee_minor IS NULL OR w.fee_minor NOT IN"
        "  (0, least(w.fee_bound_minor, ceil(coalesce(i.gas_fee_wei, 0) * w.gas_rate)))))",
    ),
    Check(
        "withdrawal_usage_off",
        "a withdrawal counts for its owner's day unless its money came back",
        "SELECT w.id, w.network, w.asset, CASE WHEN w.status IN ('failed', 'cancelled')"
        "  THEN 'released' ELSE 'counted' END, CASE WHEN u.ref IS NULL THEN 'nothing'"
        "  WHEN u.released_at IS NULL THEN 'counted' ELSE 'released' END FROM withdrawals w"
        " LEFT JOIN outgoing_usage u ON u.ref = w.id AND u.kind = 'withdrawal'"
        " WHERE u.ref IS NULL OR u.principal_id <> w.principal_id"
        "  OR (u.released_at IS NOT NULL) <> (w.status IN ('failed', 'cancelled'))",
    ),
    Check(
        "withdrawal_to_house",
        "a withdrawal leaves the house",
        "SELECT w.id, w.network, w.asset, 'an outside address', w.to_address FROM withdrawals w"
        " WHERE EXISTS (SELECT FROM house_addresses h WHERE h.network = w.network"
        "   AND lower(h.address) = lower(w.to_address) AND h.place <> 'faucet'"
        "   AND h.created_at < w.created_at)"
        " OR EXISTS (SELECT FROM deposit_addresses d WHERE lower(d.address) = lower(w.to_address)"
        "   AND d.created_at < w.created_at)",
    ),
    Check(
        "nonce_twice",
        "a nonce of an address is given once",
        "SELECT network || ' ' || from_address || ' ' || nonce, network, min(asset), 1, count(*)"
        " FROM chain_intents WHERE nonce IS NOT NULL"
        " GROUP BY network, lower(from_address), from_address, nonce HAVING count(*) > 1",
    ),
    Check(
        "nonce_above_next",
        "no nonce is used that was not given",
        "SELECT i.id, i.network, i.asset, 'below ' || s.next_nonce, i.nonce FROM chain_intents i"
        " JOIN chain_signers s ON s.network = i.network AND s.address = i.from_address"
        " WHERE i.nonce >= s.next_nonce",
    ),
    Check(
        "nonce_gap",
        "the nonces of a hot or warm address follow each other up to the next one",
        "SELECT s.network || ' ' || s.address, s.network, NULL,"
        " s.next_nonce - min(i.nonce), count(*) FROM chain_signers s"
        " JOIN chain_intents i ON i.network = s.network AND i.from_address = s.address"
        " WHERE s.role <> 'deposit' AND i.nonce IS NOT NULL"
        " GROUP BY s.network, s.address, s.next_nonce"
        " HAVING s.next_nonce - min(i.nonce) <> count(*)",
    ),
    Check(
        "intent_signer_unknown",
        "only a signer of ours gives nonces",
        "SELECT i.id, i.network, i.asset, 'a signer of ours', i.from_address FROM chain_intents i"
        " LEFT JOIN chain_signers s ON s.network = i.network AND s.address = i.from_address"
        " WHERE i.from_address IS NOT NULL AND s.address IS NULL",
    ),
    Check(
        "intent_nonce_off",
        "who is beyond the queue has a nonce, or is in a batch",
        "SELECT id, network, asset, CASE WHEN state IN ('queued', 'failed') THEN 'no nonce'"
        "  ELSE 'a nonce' END, nonce FROM chain_intents WHERE (from_address IS NULL) <>"
        " (nonce IS NULL)"
        " OR (state IN ('queued', 'failed') AND nonce IS NOT NULL)"
        " OR (state NOT IN ('queued', 'cancelled', 'failed') AND nonce IS NULL AND batch_id"
        " IS NULL)",
    ),
    Check(
        "intent_attempt_missing",
        "who has a nonce has its bytes, one after the other and for its network, and signed ones"
        " before they are sent",
        "SELECT i.id, i.network, i.asset, i.state, count(a.seq) || ' attempts, ' || count(a.raw)"
        " || ' signed' FROM chain_intents i LEFT JOIN chain_attempts a ON a.intent_id = i.id"
        " WHERE i.nonce IS NOT NULL GROUP BY i.id HAVING count(a.seq) = 0"
        " OR max(a.seq) <> count(a.seq) OR bool_or(a.network <> i.network)"
        " OR (i.state IN ('signed', 'sent', 'mined', 'final_ok', 'final_reverted')"
        "  AND count(a.raw) = 0)",
    ),
    Check(
        "intent_receipt_off",
        "what ended on chain has its receipt, of an attempt of its own",
        "SELECT i.id, i.network, i.asset, 'a receipt of its own', coalesce(i.mined_tx_hash,"
        "  'nothing') || ' status ' || coalesce(i.mined_status::text, '?') FROM chain_intents i"
        " WHERE (i.state IN ('mined', 'final_ok', 'final_reverted') AND (i.mined_tx_hash IS NULL"
        "   OR i.mined_block IS NULL OR i.mined_block_hash IS NULL))"
        " OR (i.state = 'final_ok' AND i.mined_status IS DISTINCT FROM 1)"
        " OR (i.mined_tx_hash IS NULL AND (i.mined_kind IS NOT NULL OR i.mined_block IS NOT NULL"
        "  OR i.mined_block_hash IS NOT NULL OR i.mined_status IS NOT NULL))"
        " OR (i.mined_tx_hash IS NOT NULL AND NOT EXISTS (SELECT FROM chain_attempts a"
        "  WHERE a.intent_id = coalesce(i.batch_id, i.id) AND a.tx_hash = i.mined_tx_hash))",
    ),
    Check(
        "intent_paid_by_nothing",
        "what counts as paid was paid by bytes that pay, and which were mined is told",
        "SELECT i.id, i.network, i.asset, coalesce(i.mined_kind, 'pay or bump'), a.kind"
        " FROM chain_intents i"
        " JOIN chain_attempts a ON a.intent_id = coalesce(i.batch_id, i.id)"
        "  AND a.tx_hash = i.mined_tx_hash"
        " WHERE (i.state = 'final_ok' AND a.kind NOT IN ('pay', 'bump')) OR a.kind <> i.mined_kind"
        "  OR (i.mined_kind IS NULL AND i.batch_id IS NULL)",
    ),
    Check(
        "receipt_twice",
        "a transaction on chain ends one intent",
        "SELECT mined_tx_hash, min(network), min(asset), 1, count(*) FROM chain_intents"
        " WHERE mined_tx_hash IS NOT NULL AND batch_id IS NULL"
        " GROUP BY network, mined_tx_hash HAVING count(*) > 1",
    ),
    Check(
        "intent_gas_off",
        "gas that was burnt is known, and within its limit",
        "SELECT id, network, asset, 'at most ' || gas_limit, coalesce(gas_used::text, 'unknown')"
        " FROM chain_intents WHERE (batch_id IS NULL AND gas_used > gas_limit) OR gas_fee_wei < 0"
        f" OR (state IN {_SPENT} AND mined_tx_hash IS NOT NULL AND batch_id IS NULL"
        "  AND (gas_used IS NULL OR gas_fee_wei IS NULL))",
    ),
    Check(
        "batch_off",
        "a payment in a batch goes with its batch",
        "SELECT m.id, m.network, m.asset, coalesce(b.state, 'a batch'), m.state"
        " FROM chain_intents m LEFT JOIN chain_intents b ON b.id = m.batch_id"
        " WHERE m.batch_id IS NOT NULL AND (b.id IS NULL OR b.purpose <> 'payout_batch'"
        "  OR b.network <> m.network OR m.nonce IS NOT NULL"
        "  OR NOT (m.state = b.state OR m.state IN ('in_review', 'final_ok', 'final_reverted',"
        "   'cancelled')))",
    ),
    Check(
        "batch_gas_off",
        "the members of a batch share its gas, to the wei",
        "SELECT b.id, b.network, b.asset, b.gas_fee_wei, sum(coalesce(m.gas_fee_wei, 0))"
        " FROM chain_intents b JOIN chain_intents m ON m.batch_id = b.id"
        " WHERE b.state = 'final_ok' GROUP BY b.id"
        " HAVING sum(coalesce(m.gas_fee_wei, 0)) <> b.gas_fee_wei",
    ),
    Check(
        "intent_promise_missing",
        "an intent pays for something that was promised",
        "SELECT i.id, i.network, i.asset, i.purpose || ' ' || i.ref, NULL FROM chain_intents i"
        " WHERE NOT CASE i.purpose"
        "  WHEN 'withdrawal' THEN EXISTS (SELECT FROM withdrawals w WHERE w.intent_id = i.id)"
        "  WHEN 'treasury' THEN EXISTS (SELECT FROM treasury_moves t WHERE t.intent_id = i.id"
        "   AND t.asset = i.asset AND t.amount_minor = i.amount_minor"
        "   AND t.to_address = i.to_address)"
        "  WHEN 'payout_batch' THEN i.state IN ('failed', 'cancelled', 'final_reverted')"
        "   OR EXISTS (SELECT FROM chain_intents m WHERE m.batch_id = i.id)"
        "  WHEN 'allowance' THEN i.amount_minor = 0"
        "  WHEN 'sweep' THEN EXISTS (SELECT FROM sweeps s WHERE s.intent_id = i.id)"
        "  WHEN 'top_up' THEN EXISTS (SELECT FROM sweeps s WHERE s.intent_id = i.id)"
        "  ELSE false END",
    ),
    Check(
        "house_gas_entry_off",
        "gas of a batch or an allowance that charged nobody is the house's expense",
        "SELECT e.id, i.network, p.asset, coalesce(i.gas_fee_wei, 0), abs(p.amount_minor)"
        " FROM entries e JOIN postings p ON p.entry_id = e.id JOIN accounts a ON a.id ="
        " p.account_id"
        " LEFT JOIN chain_intents i ON i.id = e.ref AND i.purpose = e.kind"
        " WHERE e.kind IN ('payout_batch', 'allowance') AND (i.id IS NULL"
        "  OR abs(p.amount_minor) IS DISTINCT FROM i.gas_fee_wei OR NOT (a.path LIKE"
        "   'expense:gas:' || i.network || ':%' AND p.amount_minor < 0 OR a.path ="
        "   'chain:' || i.network || ':' || p.asset || ':hot' AND p.amount_minor > 0))",
    ),
    Check(
        "house_gas_unbooked",
        "such gas is in the books once",
        "SELECT i.id, i.network, i.asset, 1, count(e.id) FROM chain_intents i"
        " LEFT JOIN entries e ON e.ref = i.id AND e.kind = i.purpose"
        " WHERE i.purpose IN ('payout_batch', 'allowance') AND i.gas_fee_wei > 0"
        f" AND i.state IN {_SPENT} AND NOT (i.state = 'final_ok'"
        "  AND EXISTS (SELECT FROM chain_intents m WHERE m.batch_id = i.id))"
        " GROUP BY i.id HAVING count(e.id) <> 1",
    ),
    Check(
        "nonce_burn_entry_off",
        "the gas of a burnt nonce is the house's expense",
        "SELECT e.id, b.network, p.asset, 'gas and hot of ' || coalesce(b.network, '?'), a.path"
        " FROM entries e JOIN postings p ON p.entry_id = e.id JOIN accounts a ON a.id ="
        " p.account_id"
        " LEFT JOIN nonce_burns b ON b.entry_id = e.id AND e.ref = b.network || '/' || b.address"
        " WHERE e.kind = 'nonce_burn' AND (b.network IS NULL OR NOT (a.path LIKE"
        "  'expense:gas:' || b.network || ':%' AND p.amount_minor < 0 OR a.path ="
        "  'chain:' || b.network || ':' || p.asset || ':hot' AND p.amount_minor > 0))",
    ),
)
