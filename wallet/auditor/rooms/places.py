"""Where coins lie and which blocks they came in: addresses of the house, signers, sweeps' moves."""

from __future__ import annotations

from wallet.auditor.check import Check

TOGETHER_SECONDS = 600
"""Both are written by one transaction, which may have waited in between."""
_OPEN = "('queued', 'allocated', 'signed', 'sent', 'mined', 'in_review')"
# The last part of a path of coins.
_PLACE = "split_part(a.path, ':', 4)"

CHECKS = (
    Check(
        "signer_place_off",
        "who gives nonces is an address of the house at that place, or a deposit address at its"
        " index",
        "SELECT s.network || ' ' || s.address, s.network, NULL, s.role,"
        " coalesce(h.place, 'nowhere') FROM chain_signers s LEFT JOIN house_addresses h"
        "  ON h.network = s.network AND lower(h.address) = lower(s.address)"
        " WHERE s.role <> 'deposit' AND h.place IS DISTINCT FROM s.role"
        " UNION ALL SELECT s.network || ' ' || s.address, s.network, NULL, 'index '"
        "  || coalesce(s.deposit_index::text, 'none'),"
        " coalesce(d.derivation_index::text, 'nowhere')"
        " FROM chain_signers s LEFT JOIN deposit_addresses d ON lower(d.address) = lower(s.address)"
        " WHERE s.role = 'deposit' AND d.derivation_index IS DISTINCT FROM s.deposit_index",
    ),
    Check(
        "deposit_place_off",
        "what came to the house is booked at the place of its address, and as from where it came",
        "SELECT d.id, d.network, d.asset, CASE WHEN h.place IN ('warm', 'cold') THEN h.place"
        "  WHEN h.place IS NULL THEN 'no address of the house' ELSE 'hot' END, a.path"
        " FROM deposits d JOIN postings p ON p.entry_id = d.entry_id AND p.amount_minor < 0"
        " JOIN accounts a ON a.id = p.account_id LEFT JOIN house_addresses h"
        "  ON h.network = d.network AND lower(h.address) = lower(d.to_address)"
        " WHERE d.principal_id IS NULL AND (h.place IS NULL OR"
        f"  {_PLACE} <> CASE WHEN h.place IN ('warm', 'cold') THEN h.place ELSE 'hot' END)"
        " UNION ALL SELECT d.id, d.network, d.asset, coalesce(h.place, 'elsewhere'), a.path"
        " FROM deposits d JOIN postings p ON p.entry_id = d.entry_id AND p.amount_minor > 0"
        " JOIN accounts a ON a.id = p.account_id LEFT JOIN house_addresses h"
        "  ON h.network = d.network AND lower(h.address) = lower(d.from_address)"
        " WHERE d.principal_id IS NULL AND NOT d.is_move AND CASE"
        "  WHEN a.path LIKE 'chain:%' THEN h.place IS DISTINCT FROM 'cold'"
        "  WHEN a.path LIKE 'house:capital:%' THEN h.place IS DISTINCT FROM 'faucet' END",
    ),
    Check(
        "block_place_off",
        "what came in a block has its number and its time",
        "SELECT r.subject, r.network, r.asset, b.number || ' at ' || b.block_time,"
        " concat_ws(' at ', r.number, r.at) FROM (SELECT id AS subject, network, asset, block_hash,"
        "  block_number AS number, block_time AS at FROM deposits UNION ALL"
        "  SELECT id, network, asset, block_hash, at_block, block_time FROM unattributed_arrivals"
        "  UNION ALL SELECT tx_hash, network, NULL, block_hash, block_number, block_time"
        "  FROM cold_gas UNION ALL SELECT id, network, NULL, again_block_hash, again_block_number,"
        "  NULL FROM deposit_losses UNION ALL SELECT id, network, asset, mined_block_hash,"
        "  mined_block, NULL FROM chain_intents) r"
        " JOIN chain_blocks b ON b.network = r.network AND b.hash = r.block_hash"
        " WHERE b.number IS DISTINCT FROM r.number OR b.block_time <> r.at",
    ),
    Check(
        "booked_block_off",
        "what is booked without a deposit of its own was found in a block of the chain followed",
        "SELECT g.subject, g.network, NULL, b.hash, g.hash FROM (SELECT tx_hash AS subject,"
        "  network, block_hash AS hash, block_number, entry_id FROM cold_gas UNION ALL SELECT id,"
        "  network, block_hash, at_block, entry_id FROM unattributed_arrivals UNION ALL SELECT id,"
        "  network, again_block_hash, again_block_number, return_entry_id FROM deposit_losses) g"
        " JOIN entries e ON e.id = g.entry_id"
        " JOIN chain_blocks b ON b.network = g.network AND b.number = g.block_number"
        " WHERE b.hash <> g.hash"
        # A fork below finality leaves what was booked before it where it was booked.
        " AND NOT EXISTS (SELECT FROM fork_proposals f WHERE f.network = g.network"
        "  AND f.fork_number < g.block_number AND f.approved_at > e.created_at)",
        pauses=False,
    ),
    Check(
        "scan_place_off",
        "where a network was scanned to, and what is final of it, are blocks that are kept",
        "SELECT s.network, s.network, NULL, coalesce(b.number || ' ' || b.hash, 'none'),"
        " v.name || ' ' || v.number || ' ' || coalesce(v.hash, 'nothing') FROM scan_state s"
        " CROSS JOIN LATERAL (VALUES ('tip', s.tip_number, s.tip_hash), ('final', s.final_number,"
        "  s.final_hash)) v(name, number, hash) LEFT JOIN chain_blocks b"
        "  ON b.network = s.network AND b.number = v.number"
        " WHERE b.hash <> v.hash OR (b.hash IS NOT NULL AND v.hash IS NULL)"
        "  OR s.final_number > s.tip_number UNION ALL"
        " SELECT s.network, s.network, NULL, 'tip ' || max(b.number), 'tip ' || s.tip_number"
        " FROM scan_state s JOIN chain_blocks b ON b.network = s.network"
        " GROUP BY s.network, s.tip_number HAVING max(b.number) <> s.tip_number UNION ALL"
        " SELECT DISTINCT b.network, b.network, NULL, 'a place', NULL FROM chain_blocks b"
        " WHERE NOT EXISTS (SELECT FROM scan_state s WHERE s.network = b.network)",
    ),
    Check(
        "cold_gas_place_off",
        "gas of a cold address was paid by a cold address of the house",
        "SELECT g.tx_hash, g.network, NULL, 'cold', coalesce(h.place, 'nowhere') FROM cold_gas g"
        " LEFT JOIN house_addresses h ON h.network = g.network"
        "  AND lower(h.address) = lower(g.address) WHERE h.place IS DISTINCT FROM 'cold'",
    ),
    Check(
        "deposit_move_off",
        "what a sweep moved lay at an address of ours, and moved in the sweep's own block",
        "SELECT m.sweep_id || ' ' || m.address, m.network, m.asset, s.network || ' block '"
        "  || coalesce(i.mined_block::text, 'none'), m.network || ' block ' || m.block_number"
        " FROM deposit_moves m LEFT JOIN sweeps s ON s.id = m.sweep_id"
        " LEFT JOIN chain_intents i ON i.id = s.intent_id"
        " WHERE s.id IS NULL OR s.network <> m.network OR s.state = 'open'"
        "  OR i.mined_block IS DISTINCT FROM m.block_number"
        "  OR (s.kind IN ('coin', 'token') AND lower(i.from_address) <> lower(m.address))"
        "  OR NOT (EXISTS (SELECT FROM deposit_addresses d WHERE d.address = m.address)"
        "   OR EXISTS (SELECT FROM unattributed_arrivals u WHERE u.address = m.address))",
    ),
    Check(
        "sweep_intent_off",
        "what is sent for a sweep is that sweep",
        "SELECT s.id, s.network, s.asset, concat_ws(' ', s.kind, s.id, s.asset, s.treasury),"
        " concat_ws(' ', i.purpose, i.ref, i.asset, i.to_address) FROM sweeps s"
        " JOIN chain_intents i ON i.id = s.intent_id LEFT JOIN entries e ON e.id = s.entry_id"
        " WHERE i.ref <> s.id"
        "  OR i.purpose <> CASE s.kind WHEN 'top_up' THEN 'top_up' ELSE 'sweep' END"
        "  OR (s.kind IN ('coin', 'token') AND (i.asset <> s.asset"
        "   OR lower(i.to_address) <> lower(s.treasury) OR i.data IS NOT NULL"
        "   OR i.pinned_address IS NULL OR i.from_address <> i.pinned_address))"
        f"  OR abs(extract(epoch FROM s.ended_at - e.created_at)) > {TOGETHER_SECONDS}",
    ),
    Check(
        "treasury_intent_off",
        "a treasury move stands where its payment stands, and ended when that was booked",
        "SELECT t.id, t.network, t.asset, concat_ws(' ', i.state, i.mined_tx_hash, e.created_at),"
        " concat_ws(' ', t.state, t.tx_hash, t.ended_at) FROM treasury_moves t"
        " LEFT JOIN chain_intents i ON i.id = t.intent_id LEFT JOIN entries e ON e.id = t.entry_id"
        " WHERE CASE WHEN t.intent_id IS NULL THEN t.state NOT IN ('proposed', 'dismissed', 'done')"
        "   OR t.entry_id IS NOT NULL OR t.tx_hash IS NOT NULL OR t.approved_by IS NOT NULL"
        "   OR (t.state = 'proposed') <> (t.ended_at IS NULL)"
        "  ELSE i.id IS NULL OR i.purpose <> 'treasury' OR i.data IS NOT NULL"
        "   OR i.ref <> t.id OR i.network <> t.network"
        f"   OR (t.state = 'approved') <> (i.state IN {_OPEN}) OR t.approved_by IS NULL"
        "   OR (t.state = 'done') <> (i.state = 'final_ok')"
        "   OR (t.state = 'approved') <> (t.ended_at IS NULL)"
        "   OR t.tx_hash IS DISTINCT FROM CASE WHEN t.state NOT IN ('approved', 'dismissed')"
        "    THEN i.mined_tx_hash END END"
        f" OR abs(extract(epoch FROM t.ended_at - e.created_at)) > {TOGETHER_SECONDS}",
    ),
    Check(
        "treasury_way_off",
        "a treasury move goes from its tier to its tier, also before it has left",
        "SELECT t.id, t.network, t.asset, t.kind, coalesce(f.place, 'hot') || ' to '"
        " || coalesce(h.place, t.to_address, 'nowhere') FROM treasury_moves t"
        " LEFT JOIN chain_intents i ON i.id = t.intent_id LEFT JOIN house_addresses f"
        "  ON f.network = t.network AND lower(f.address) = lower(i.pinned_address)"
        " LEFT JOIN house_addresses h ON h.network = t.network"
        "  AND lower(h.address) = lower(t.to_address)"
        " WHERE (t.kind IN ('refill', 'refill_warm')) <> (t.to_address IS NULL)"
        "  OR (t.kind NOT IN ('profit', 'refill', 'refill_warm') AND h.place IS DISTINCT FROM"
        "   CASE t.kind WHEN 'to_warm' THEN 'warm' WHEN 'to_hot' THEN 'hot' ELSE 'cold' END)"
        "  OR (i.id IS NOT NULL AND i.pinned_address IS NULL AND t.kind IN"
        "   ('to_hot', 'warm_to_cold', 'evacuate_warm'))"
        "  OR (i.pinned_address IS NOT NULL AND coalesce(f.place, 'hot') <> CASE WHEN t.kind IN"
        "   ('to_hot', 'warm_to_cold', 'evacuate_warm') THEN 'warm' ELSE 'hot' END)",
    ),
    Check(
        "loss_fork_off",
        "a deposit that a fork took was above the last block that both chains share",
        "SELECT l.id, l.network, d.asset, 'below ' || d.block_number, l.fork_number"
        " FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id WHERE l.network <> d.network"
        "  OR (d.block_number <= l.fork_number AND NOT EXISTS (SELECT FROM deposit_losses b"
        "   WHERE b.deposit_id = l.deposit_id AND b.id <> l.id"
        "   AND b.again_block_number > l.fork_number))",
    ),
)
