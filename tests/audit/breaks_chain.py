"""Corruptions of withdrawals, nonces, signed bytes, deposits, sweeps and addresses."""

from __future__ import annotations

from tests.audit.breaking import (
    ADA,
    CREDITED,
    CUSTOMER,
    FUTURE,
    HOUSE_DEPOSIT,
    INTENT,
    QUEUED,
    SETTLED,
    SETTLED_TOKEN,
    SWEEP,
    TOKEN_INTENT,
    Break,
    customer,
    new_entry,
    of,
    unchecked,
)

BREAKS: tuple[Break, ...] = (
    # Withdrawals and what is sent
    of("withdrawal_entry_off", "a settled withdrawal says another amount",
       f"UPDATE withdrawals SET amount_minor = amount_minor + 1 WHERE id = {SETTLED}"),
    of("withdrawal_entry_off", "more gas was burnt than is booked",
       f"UPDATE chain_intents SET gas_fee_wei = gas_fee_wei + 1 WHERE id = {INTENT}"),
    of("withdrawal_hold_off", "a withdrawal holds one unit less",
       f"UPDATE holds SET amount_minor = amount_minor - 1 WHERE ref = {QUEUED}"),
    of("withdrawal_intent_off", "a queued payment goes to somebody else",
       "UPDATE chain_intents SET to_address = '0x000000000000000000000000000000000badbad0'"
       f" WHERE ref = {QUEUED}"),
    of("withdrawal_intent_off", "a queued payment pays ten times as much",
       f"UPDATE chain_intents SET amount_minor = amount_minor * 10 WHERE ref = {QUEUED}"),
    of("withdrawal_status_off", "a paid withdrawal says it was cancelled",
       f"UPDATE withdrawals SET status = 'cancelled' WHERE id = {SETTLED}"),
    of("withdrawal_unbooked", "a settled withdrawal forgets its entry",
       f"UPDATE withdrawals SET entry_id = NULL WHERE id = {SETTLED}"),
    of("withdrawal_booked_early", "a queued withdrawal is in the books",
       *new_entry("withdrawal", ("'chain:local:ETH:hot'", 1), (customer(ADA, "ETH"), -1)),
       f"UPDATE withdrawals SET entry_id = 'ent_planted' WHERE id = {QUEUED}"),
    of("withdrawal_hold_end_off", "a queued withdrawal's money is free again",
       "UPDATE holds SET status = 'closed', released_minor = amount_minor,"
       f" closed_at = clock_timestamp() WHERE ref = {QUEUED}"),
    of("withdrawal_fee_off", "a fee is one unit too small",
       f"UPDATE withdrawals SET fee_minor = fee_minor - 1 WHERE id = {SETTLED_TOKEN}"),
    of("withdrawal_usage_off", "a withdrawal does not count for the day",
       f"DELETE FROM outgoing_usage WHERE ref = {SETTLED}"),
    of("withdrawal_to_house", "a withdrawal goes to the house itself",
       "UPDATE withdrawals SET to_address = (SELECT address FROM deposit_addresses ORDER BY"
       f" derivation_index LIMIT 1), created_at = {FUTURE} WHERE id = {SETTLED}"),
    of("nonce_twice", "a nonce is given twice",
       *unchecked("chain_intents", "chain_intents_network_from_address_nonce_key"),
       f"UPDATE chain_intents SET nonce = (SELECT nonce FROM chain_intents WHERE id = {INTENT})"
       f" WHERE id = {TOKEN_INTENT}"),
    of("nonce_above_next", "the next nonce falls back",
       "UPDATE chain_signers SET next_nonce = 0 WHERE role = 'hot'"),
    of("nonce_gap", "a nonce was given to nobody",
       "UPDATE chain_signers SET next_nonce = next_nonce + 1 WHERE role = 'hot'"),
    of("intent_signer_unknown", "a payment was sent by a stranger",
       f"UPDATE chain_intents SET from_address = '0xstranger' WHERE id = {INTENT}"),
    of("intent_nonce_off", "a failed payment has a nonce",
       f"UPDATE chain_intents SET state = 'failed' WHERE id = {INTENT}"),
    of("intent_attempt_missing", "a paid payment has no bytes",
       f"DELETE FROM chain_attempts WHERE intent_id = {INTENT}"),
    of("intent_receipt_off", "a payment is final by somebody else's transaction",
       f"UPDATE chain_intents SET mined_tx_hash = '0x' || repeat('ab', 32) WHERE id = {INTENT}"),
    of("intent_receipt_off", "a reverted payment counts as paid",
       f"UPDATE chain_intents SET mined_status = 0 WHERE id = {INTENT}"),
    of("intent_paid_by_nothing", "a cancel counts as a payment",
       f"UPDATE chain_attempts SET kind = 'cancel' WHERE intent_id = {INTENT}"),
    of("receipt_twice", "one transaction pays two withdrawals",
       f"UPDATE chain_intents SET mined_tx_hash = (SELECT mined_tx_hash FROM chain_intents"
       f" WHERE id = {INTENT}) WHERE id = {TOKEN_INTENT}"),
    of("intent_gas_off", "more gas is used than the limit",
       f"UPDATE chain_intents SET gas_used = gas_limit + 1 WHERE id = {INTENT}"),
    of("batch_off", "a payment is in a batch that is none",
       f"UPDATE chain_intents SET batch_id = {INTENT} WHERE ref = {QUEUED}"),
    of("batch_gas_off", "the gas of a batch is not shared to the wei",
       *unchecked("chain_intents", "chain_intents_check5"),
       f"UPDATE chain_intents SET batch_id = {INTENT}, gas_fee_wei = 1 WHERE id = {TOKEN_INTENT}"),
    of("intent_promise_missing", "an intent pays for no withdrawal",
       f"DELETE FROM withdrawals WHERE id = {QUEUED}"),
    of("intent_promise_missing", "an intent of a purpose that nobody knows",
       f"UPDATE chain_intents SET purpose = 'bonus' WHERE ref = {QUEUED}"),
    of("house_gas_entry_off", "gas of no batch is booked",
       *new_entry("payout_batch", ("'chain:local:ETH:hot'", 5), ("'expense:gas:local:ETH'", -5))),
    of("house_gas_unbooked", "gas of an allowance is nobody's",
       "UPDATE chain_intents SET purpose = 'allowance', data = '\\x01', amount_minor = 0"
       f" WHERE id = {INTENT}"),
    of("nonce_burn_entry_off", "a nonce that was not burnt costs gas",
       *new_entry("nonce_burn", ("'chain:local:ETH:hot'", 5), ("'expense:gas:local:ETH'", -5))),
    of("attempt_unreadable", "signed bytes are cut off",
       f"UPDATE chain_attempts SET raw = substr(raw, 1, 50) WHERE intent_id = {INTENT}"),
    of("attempt_hash_off", "an attempt has another hash",
       f"UPDATE chain_attempts SET tx_hash = '0x' || repeat('cd', 32) WHERE intent_id = {INTENT}"),
    of("attempt_sender_off", "the sender of an intent is changed",
       "UPDATE chain_intents SET from_address = (SELECT address FROM house_addresses"
       f" WHERE place = 'cold') WHERE id = {INTENT}"),
    of("attempt_nonce_off", "the nonce of an intent is changed",
       f"UPDATE chain_intents SET nonce = nonce + 500 WHERE id = {INTENT}"),
    of("attempt_pays_off", "bytes pay somebody else than is written",
       f"UPDATE chain_intents SET to_address = '0x' || repeat('12', 20) WHERE id = {INTENT}"),
    of("attempt_pays_off", "bytes pay another amount of a token than is written",
       f"UPDATE chain_intents SET amount_minor = amount_minor + 1 WHERE id = {TOKEN_INTENT}"),
    of("attempt_gas_off", "bytes may burn more than the intent allows",
       f"UPDATE chain_intents SET gas_limit = 21000 WHERE id = {TOKEN_INTENT}"),
    # Deposits, sweeps, addresses
    of("deposit_entry_off", "a credited deposit says another amount",
       f"UPDATE deposits SET amount_minor = amount_minor + 1 WHERE id = {CREDITED}"),
    of("deposit_unbooked", "a credited deposit forgets its entry",
       *unchecked("deposits", "deposits_check"),
       f"UPDATE deposits SET entry_id = NULL WHERE id = {CREDITED}"),
    of("deposit_booked_early", "a booked deposit says it is orphaned",
       f"UPDATE deposits SET status = 'orphaned' WHERE id = {CREDITED}"),
    of("deposit_owner_off", "an address is given to somebody else",
       "UPDATE deposit_addresses SET principal_id = 'usr_else', is_current = false"
       f" WHERE address = (SELECT to_address FROM deposits WHERE id = {CREDITED})"),
    of("deposit_twice", "one transfer is credited in two blocks",
       "INSERT INTO deposits SELECT (d.r).* FROM (SELECT jsonb_populate_record(x,"
       " jsonb_build_object("
       "'id', 'dep_again', 'block_hash', '0xother', 'entry_id', 'ent_other')) AS r FROM deposits x"
       f" WHERE x.id = {CREDITED}) d"),
    of("deposit_not_final", "a deposit is credited above the final block",
       f"UPDATE deposits SET block_number = 1000000 WHERE id = {CREDITED}"),
    of("deposit_block_off", "a credited deposit is in a block of another chain",
       "UPDATE deposits SET block_hash = '0xfork' WHERE id = (SELECT d.id FROM deposits d JOIN"
       " chain_blocks b ON b.network = d.network AND b.number = d.block_number"
       " WHERE d.status = 'credited' LIMIT 1)"),
    of("blocks_unlinked", "a stored block names another parent",
       "UPDATE chain_blocks SET parent_hash = '0xelse' WHERE number = (SELECT max(number) FROM"
       " chain_blocks)"),
    of("deposit_house_entry_off", "what the house got is credited to a customer",
       f"UPDATE postings SET account_id = {CUSTOMER} WHERE amount_minor > 0 AND entry_id ="
       f" (SELECT entry_id FROM deposits WHERE id = {HOUSE_DEPOSIT})"),
    of("deposit_move_entry_off", "what came from outside is told to be a move inside the house",
       f"UPDATE deposits SET is_move = true WHERE id = {HOUSE_DEPOSIT}"),
    of("deposit_house_entry_off", "what the house got is taken from the deposits' place",
       "UPDATE postings SET account_id = (SELECT id FROM accounts WHERE path ="
       " 'chain:local:ETH:deposit') WHERE amount_minor > 0 AND entry_id ="
       f" (SELECT entry_id FROM deposits WHERE id = {HOUSE_DEPOSIT})"),
    of("arrival_assignment_off", "an arrival is assigned to somebody as another amount",
       "INSERT INTO unattributed_arrivals (id, network, address, asset, amount_minor, at_block,"
       " block_hash, block_time, entry_id, principal_id, tx_hash, proposed_by, approved_by,"
       " deposit_id) SELECT 'una_1', network, to_address, asset, amount_minor + 1, 1, '0x1',"
       " clock_timestamp(), 'ent_x', principal_id, '0x' || repeat('a', 64), 'ada', 'ben', id"
       f" FROM deposits WHERE id = {CREDITED}"),
    of("release_off", "a deposit is told to have been released as another entry",
       "INSERT INTO deposit_releases (id, deposit_id, reason, state, proposed_by, ended_by,"
       " ended_at, entry_id) SELECT 'rel_1', id, 'good', 'released', 'ada', 'ben',"
       f" clock_timestamp(), (SELECT entry_id FROM deposits WHERE id = {HOUSE_DEPOSIT})"
       f" FROM deposits WHERE id = {CREDITED}"),
    of("loss_entry_off", "a loss is booked for another amount",
       *new_entry("deposit_lost", ("'chain:local:ETH:deposit'", 3), ("'house:capital:ETH'", -3)),
       "INSERT INTO deposit_losses (id, deposit_id, network, fork_number, entry_id) SELECT"
       f" 'los_1', id, network, 1, 'ent_planted' FROM deposits WHERE id = {CREDITED}"),
    of("loss_uncaused", "a loss is booked that nothing tells of",
       *new_entry("deposit_lost", ("'chain:local:ETH:deposit'", 3), ("'house:capital:ETH'", -3))),
    of("loss_return_off", "a loss comes back as another amount",
       *new_entry("deposit_loss_returned", ("'chain:local:ETH:deposit'", -3),
                  ("'house:capital:ETH'", 3)),
       "INSERT INTO deposit_losses (id, deposit_id, network, fork_number, entry_id,"
       " return_entry_id, again_block_hash, again_block_number) SELECT 'los_1', id, network, 1,"
       f" entry_id, 'ent_planted', '0x', 1 FROM deposits WHERE id = {CREDITED}"),
    of("loss_settle_off", "a loss is settled to the owners",
       *new_entry("deposit_loss_settled", ("'chain:local:ETH:hot'", 3),
                  ("'house:capital:ETH'", -3)),
       "INSERT INTO deposit_losses (id, deposit_id, network, fork_number, entry_id,"
       " settle_entry_id, bearer, bearer_proposed_by, bearer_approved_by) SELECT 'los_1', id,"
       " network, 1, entry_id, 'ent_planted', 'house', 'ada', 'ben' FROM deposits"
       f" WHERE id = {CREDITED}"),
    of("suspense_off", "something lies in suspense that was not lost",
       "UPDATE accounts SET balance_minor = balance_minor - 9"
       " WHERE path = 'suspense:chain_loss:local:ETH'"),
    of("collection_off", "what is collected goes to the owners",
       *new_entry("receivable_collected", (customer(ADA), -5), ("'house:capital:EUR'", 5))),
    of("sweep_unbooked", "a sweep forgets its entry",
       f"UPDATE sweeps SET entry_id = NULL WHERE id = {SWEEP}"),
    of("sweep_state_off", "a sweep that ended is open",
       *unchecked("sweeps", "sweeps_check"),
       f"UPDATE sweeps SET state = 'failed' WHERE id = {SWEEP}"),
    of("sweep_place_off", "a sweep goes to a stranger",
       f"UPDATE sweeps SET treasury = '0xstranger' WHERE id = {SWEEP}"),
    of("treasury_four_eyes_off", "one person moves the treasury alone",
       *unchecked("treasury_moves", "treasury_moves_check"),
       "UPDATE treasury_moves SET approved_by = proposed_by"),
    of("treasury_warm_signatures_off", "a move out of warm was signed for by nobody",
       "UPDATE treasury_moves SET kind = 'warm_to_cold' WHERE state = 'done'"),
    of("treasury_tier_off", "a move to cold says that it went to warm",
       "UPDATE treasury_moves SET kind = 'to_warm' WHERE state = 'done'"),
    of("treasury_unbooked", "a move to cold forgets its entry",
       "UPDATE treasury_moves SET entry_id = NULL"),
    of("treasury_fund_off", "capital is told from a customer's money",
       *new_entry("treasury_fund", (customer(ADA), -5), ("'house:capital:EUR'", 5))),
    of("address_twice", "one address has two indices",
       "DROP INDEX deposit_addresses_lower_idx",
       *unchecked("deposit_addresses", "deposit_addresses_address_key"),
       "UPDATE deposit_addresses SET address = (SELECT address FROM deposit_addresses ORDER BY"
       " derivation_index LIMIT 1)"),
    of("address_house_and_customer", "a customer's address is the house's too",
       "INSERT INTO house_addresses (network, address, place) SELECT network, address, 'hot' FROM"
       " deposit_addresses LIMIT 1"),
    of("address_off", "an address is swapped for a thief's",
       "UPDATE deposit_addresses SET address = '0x00000000000000000000000000000000BadBad00'"
       " WHERE derivation_index = (SELECT max(derivation_index) FROM deposit_addresses)"),
)  # fmt: skip
