"""Ways to break healthy books, each with the name under which it must be found.

`Break(code, what, *sql)`: the statements run as the superuser with triggers and foreign keys
asleep; the last one must touch a row. What a constraint would still refuse is dropped first.
"""

from __future__ import annotations

from dataclasses import dataclass

ADA = "(SELECT id FROM users ORDER BY created_at LIMIT 1)"
BEN = "(SELECT id FROM users ORDER BY created_at OFFSET 1 LIMIT 1)"
CUSTOMER = (
    "(SELECT id FROM accounts WHERE kind = 'customer' AND posting_count > 2 ORDER BY path LIMIT 1)"
)
SYSTEM = "(SELECT id FROM accounts WHERE path = 'chain:local:ETH:hot')"
POSTING = "(SELECT max(id) FROM postings WHERE account_seq > 1)"
SYSTEM_POSTING = f"(SELECT min(id) FROM postings WHERE account_id = {SYSTEM})"
TRANSFER = "(SELECT id FROM transfers WHERE asset = 'EUR' ORDER BY id LIMIT 1)"
SETTLED = (
    "(SELECT id FROM withdrawals WHERE status = 'settled' AND asset = 'ETH' ORDER BY id LIMIT 1)"
)
SETTLED_TOKEN = "(SELECT id FROM withdrawals WHERE status = 'settled' AND asset = 'USDC' LIMIT 1)"
QUEUED = "(SELECT id FROM withdrawals WHERE status = 'held' LIMIT 1)"
INTENT = f"(SELECT intent_id FROM withdrawals WHERE id = {SETTLED})"
TOKEN_INTENT = f"(SELECT intent_id FROM withdrawals WHERE id = {SETTLED_TOKEN})"
CREDITED = "(SELECT min(id) FROM deposits WHERE status = 'credited' AND principal_id IS NOT NULL)"
HOUSE_DEPOSIT = "(SELECT min(id) FROM deposits WHERE principal_id IS NULL AND entry_id IS NOT NULL)"
COMPLETED = "(SELECT min(id) FROM payments WHERE status = 'completed')"
RETURNED = "(SELECT min(id) FROM payments WHERE status = 'returned')"
CONVERSION = "(SELECT min(id) FROM conversions)"
CAPTURED = "(SELECT min(hold_id) FROM hold_captures c JOIN payment_holds p ON p.id = c.hold_id)"
OPEN_HOLD = (
    "(SELECT min(p.id) FROM payment_holds p JOIN holds h ON h.id = p.id WHERE h.status = 'open')"
)
SWEEP = "(SELECT min(id) FROM sweeps WHERE state = 'done' AND kind = 'coin')"
FUTURE = "clock_timestamp() + interval '10 years'"


@dataclass(frozen=True)
class Break:
    code: str
    what: str
    sql: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.code}: {self.what}"


def of(code: str, what: str, *sql: str) -> Break:
    return Break(code, what, sql)


def unchecked(table: str, *names: str) -> tuple[str, ...]:
    return tuple(f"ALTER TABLE {table} DROP CONSTRAINT {name}" for name in names)


def new_entry(kind: str, *lines: tuple[str, int], ref: str = "x") -> tuple[str, ...]:
    """An entry out of nothing, balanced where its lines are, with balances to match."""
    made = [
        "INSERT INTO entries (id, kind, ref, event_at) VALUES"
        f" ('ent_planted', '{kind}', '{ref}', clock_timestamp())"
    ]
    for path, minor in lines:
        where = f"FROM accounts a WHERE a.path = {path}"
        made += [
            "INSERT INTO postings (entry_id, account_id, asset, amount_minor, account_seq,"
            f" balance_after_minor) SELECT 'ent_planted', a.id, a.asset, {minor},"
            " CASE WHEN a.kind = 'customer' THEN a.posting_count + 1 END,"
            f" CASE WHEN a.kind = 'customer' THEN a.balance_minor + {minor} END {where}",
            f"UPDATE accounts a SET balance_minor = balance_minor + {minor},"
            f" posting_count = posting_count + 1 WHERE a.path = {path}",
        ]
    return tuple(made)


def customer(who: str, asset: str = "EUR") -> str:
    return f"'customer:' || {who} || ':{asset}'"


BREAKS = (
    # Books
    of("entry_unbalanced", "a posting grows by one unit",
       f"UPDATE postings SET amount_minor = amount_minor + 1 WHERE id = {POSTING}"),
    of("entry_empty", "an entry loses its postings",
       f"DELETE FROM postings WHERE entry_id = (SELECT entry_id FROM postings WHERE id ="
       f" {POSTING})"),
    of("posting_orphaned", "an entry is deleted",
       f"DELETE FROM entries WHERE id = (SELECT entry_id FROM postings WHERE id = {POSTING})"),
    of("posting_account_missing", "an account is deleted",
       f"DELETE FROM accounts WHERE id = {CUSTOMER}"),
    of("posting_asset_off", "a posting changes its asset",
       f"UPDATE postings SET asset = 'USD' WHERE id = {POSTING}"),
    of("posting_amount_off", "a posting moves nothing",
       *unchecked("postings", "postings_amount_minor_check"),
       f"UPDATE postings SET amount_minor = 0 WHERE id = {POSTING}"),
    of("posting_account_twice", "a posting stands twice in its entry",
       *unchecked("postings", "postings_once_per_account"),
       "INSERT INTO postings (entry_id, account_id, asset, amount_minor) SELECT entry_id,"
       f" account_id, asset, amount_minor FROM postings WHERE id = {SYSTEM_POSTING}"),
    of("posting_place_off", "a customer's posting loses its number",
       f"UPDATE postings SET account_seq = NULL WHERE id = {POSTING}"),
    of("balance_customer_off", "a customer is given one cent",
       f"UPDATE accounts SET balance_minor = balance_minor + 1 WHERE id = {CUSTOMER}"),
    of("balance_customer_off", "ten thousand units appear, chain and all, in the balance only",
       f"UPDATE accounts SET balance_minor = balance_minor + 10000 WHERE path = {customer(BEN)}"),
    of("balance_system_off", "a house account is given one wei",
       f"UPDATE accounts SET balance_minor = balance_minor + 1 WHERE id = {SYSTEM}"),
    of("balance_system_off", "an open delta is lost",
       "DELETE FROM account_deltas WHERE id = (SELECT min(id) FROM account_deltas)"),
    of("balance_system_off", "an open delta is doubled",
       "INSERT INTO account_deltas (account_id, amount_minor, lines) SELECT account_id,"
       " amount_minor, lines FROM account_deltas ORDER BY id LIMIT 1"),
    of("posting_count_off", "an account counts one more",
       f"UPDATE accounts SET posting_count = posting_count + 1 WHERE id = {CUSTOMER}"),
    of("chain_gap", "a number is skipped",
       f"UPDATE postings SET account_seq = account_seq + 1000 WHERE id = {POSTING}"),
    of("chain_gap", "a posting and its number vanish, the balance too",
       f"UPDATE accounts a SET balance_minor = a.balance_minor - p.amount_minor FROM postings p"
       f" WHERE p.id = {POSTING} AND a.id = p.account_id",
       "DELETE FROM postings WHERE id = (SELECT p.id FROM postings p WHERE p.account_seq = 2"
       " ORDER BY p.id LIMIT 1)"),
    of("chain_number_twice", "two postings have one number",
       "DROP INDEX postings_account_seq_idx",
       f"UPDATE postings SET account_seq = account_seq - 1 WHERE id = {POSTING}"),
    of("chain_balance_off", "a balance in the middle of a chain changes",
       "UPDATE postings SET balance_after_minor = balance_after_minor + 1"
       f" WHERE account_seq = 1 AND account_id = {CUSTOMER}"),
    of("trial_balance_off", "an asset does not sum to zero",
       f"UPDATE accounts SET balance_minor = balance_minor - 5 WHERE id = {SYSTEM}"),
    of("balance_overdrawn", "a balance falls below what is held",
       *unchecked("accounts", "accounts_never_below_zero"),
       "UPDATE accounts SET balance_minor = held_minor - 1 WHERE held_minor > 0"),
    of("delta_misplaced", "a delta on a customer's account",
       f"INSERT INTO account_deltas (account_id, amount_minor, lines) VALUES ({CUSTOMER}, 1, 1)"),
    of("account_path_off", "a path names somebody else",
       f"UPDATE accounts SET path = 'customer:usr_nobody:EUR' WHERE path = {customer(ADA)}"),
    of("account_side_off", "an account changes its side",
       f"UPDATE accounts SET side = 'C' WHERE id = {SYSTEM}"),
    of("account_twice", "somebody has two accounts in an asset",
       "DROP INDEX accounts_owner_idx",
       "INSERT INTO accounts (id, path, principal_id, asset, kind, side) SELECT 'acc_planted',"
       f" path || ':', principal_id, asset, kind, side FROM accounts WHERE id = {CUSTOMER}"),
    of("reversal_off", "a reversal gives back one unit more",
       *new_entry("reversal", (customer(ADA), -2), ("'income:fx_spread:EUR'", 2)),
       "UPDATE entries SET reverses = (SELECT entry_id FROM transfers LIMIT 1)"
       " WHERE id = 'ent_planted'"),
    of("reversal_kind_off", "an entry says it reverses and is none",
       "UPDATE entries SET reverses = (SELECT entry_id FROM transfers ORDER BY id LIMIT 1)"
       " WHERE id = (SELECT entry_id FROM transfers ORDER BY id DESC LIMIT 1)"),
    of("reversal_twice", "an entry is reversed twice",
       *unchecked("entries", "entries_reverses_key"),
       "UPDATE entries SET reverses = (SELECT min(id) FROM entries) WHERE id IN"
       " (SELECT id FROM entries ORDER BY id DESC LIMIT 2)"),
    of("capital_paid_customer", "capital goes to a customer",
       *new_entry("topup", ("'house:capital:EUR'", -100), (customer(ADA), 100))),
    # Entries and their causes
    of("entry_kind_unknown", "an entry of a kind that nobody knows",
       *new_entry("gift", ("'income:fx_spread:EUR'", -100), (customer(ADA), 100))),
    of("transfer_entry_uncaused", "money moves by a transfer that is not there",
       *new_entry("transfer", (customer(BEN), -1), (customer(ADA), 1))),
    of("transfer_entry_uncaused", "a transfer is deleted",
       f"DELETE FROM transfers WHERE id = {TRANSFER}"),
    of("transfer_entry_off", "a transfer says another amount",
       f"UPDATE transfers SET amount_minor = amount_minor + 1 WHERE id = {TRANSFER}"),
    of("transfer_entry_off", "a transfer says another payee",
       f"UPDATE transfers SET payee_id = (SELECT id FROM users ORDER BY created_at DESC LIMIT 1)"
       f" WHERE id = {TRANSFER}"),
    of("transfer_entry_missing", "a transfer names an entry that is not there",
       f"UPDATE transfers SET entry_id = 'ent_nowhere' WHERE id = {TRANSFER}"),
    of("transfer_parties_off", "somebody pays themselves",
       *unchecked("transfers", "transfers_check"),
       f"UPDATE transfers SET payee_id = payer_id WHERE id = {TRANSFER}"),
    of("entry_claimed_twice", "two transfers stand on one entry",
       *unchecked("transfers", "transfers_entry_id_key"),
       f"UPDATE transfers SET entry_id = (SELECT entry_id FROM transfers WHERE id = {TRANSFER})"
       f" WHERE id = (SELECT max(id) FROM transfers)"),
    of("deposit_entry_uncaused", "a deposit is credited that never arrived",
       *new_entry("deposit", ("'chain:local:ETH:deposit'", -10), (customer(ADA, "ETH"), 10))),
    of("withdrawal_entry_uncaused", "a withdrawal is booked that nobody made",
       *new_entry("withdrawal", ("'chain:local:ETH:hot'", 10), (customer(ADA, "ETH"), -10))),
    of("topup_entry_uncaused", "a top-up is booked that the bank never sent",
       *new_entry("topup", ("'bank:simbank:EUR'", -10), (customer(ADA), 10))),
    of("topup_entry_off", "a top-up is credited to somebody else",
       f"UPDATE bank_credits SET principal_id = {BEN} WHERE principal_id = {ADA}"),
    of("conversion_entry_uncaused", "a conversion is deleted",
       f"DELETE FROM conversions WHERE id = {CONVERSION}"),
    of("cold_gas_entry_uncaused", "gas of a cold address out of nothing",
       *new_entry("cold_gas", ("'chain:local:ETH:cold'", 7), ("'expense:gas:local:ETH'", -7))),
    of("cold_gas_entry_off", "gas of a cold address is more than it was",
       *new_entry("cold_gas", ("'chain:local:ETH:cold'", 7), ("'expense:gas:local:ETH'", -7)),
       "INSERT INTO cold_gas (network, tx_hash, block_hash, block_number, block_time, address,"
       " fee_minor, entry_id) VALUES ('local', '0x1', '0x1', 1, clock_timestamp(), '0x', 8,"
       " 'ent_planted')"),
    of("arrival_entry_off", "an arrival is booked for less",
       *new_entry("unattributed", ("'chain:local:ETH:deposit'", -7), ("'house:capital:ETH'", 7)),
       "INSERT INTO unattributed_arrivals (id, network, address, asset, amount_minor, at_block,"
       " block_hash, block_time, entry_id) VALUES ('una_1', 'local', '0x', 'ETH', 8, 1, '0x1',"
       " clock_timestamp(), 'ent_planted')"),
    of("treasury_entry_off", "a move to cold says another amount",
       "UPDATE postings SET account_id = (SELECT id FROM accounts WHERE path ="
       " 'chain:local:ETH:deposit') WHERE id = (SELECT p.id FROM postings p JOIN treasury_moves m"
       " ON m.entry_id = p.entry_id JOIN accounts a ON a.id = p.account_id"
       " WHERE a.path LIKE '%:cold')"),
    of("sweep_entry_off", "a sweep's move says one wei less",
       f"UPDATE deposit_moves SET minor = minor + 1 WHERE sweep_id = {SWEEP}"),
    of("sweep_entry_uncaused", "a sweep forgets its entry",
       f"UPDATE sweeps SET entry_id = NULL WHERE id = {SWEEP}"),
    # Holds
    of("held_off", "an account keeps one cent more than its holds",
       f"UPDATE accounts SET held_minor = held_minor + 1 WHERE path = {customer(ADA)}"),
    of("held_off", "a hold is deleted while its money is kept",
       f"DELETE FROM holds WHERE id = {OPEN_HOLD}"),
    of("hold_overspent", "more is taken than was held",
       *unchecked("holds", "holds_within_amount", "holds_closed_is_spent"),
       f"UPDATE holds SET captured_minor = captured_minor + 1 WHERE id = {CAPTURED}"),
    of("hold_status_off", "a hold is closed while money is left",
       *unchecked("holds", "holds_closed_is_spent"),
       f"UPDATE holds SET status = 'closed' WHERE id = {OPEN_HOLD}"),
    of("hold_captured_off", "a capture is forgotten",
       f"DELETE FROM hold_captures WHERE hold_id = {CAPTURED}"),
    of("hold_account_off", "a hold moves to another asset",
       f"UPDATE holds SET asset = 'USD' WHERE id = {OPEN_HOLD}"),
    of("capture_not_posted", "a capture is bigger than what was spent",
       f"UPDATE hold_captures SET amount_minor = amount_minor + 1 WHERE hold_id = {CAPTURED}"),
    of("capture_account_off", "a capture moves to another account",
       f"UPDATE hold_captures SET account_id = {SYSTEM} WHERE hold_id = {CAPTURED}"),
    of("hold_owner_missing", "a hold belongs to nothing",
       f"DELETE FROM payment_holds WHERE id = {OPEN_HOLD}"),
    of("hold_capture_entry_uncaused", "what was captured belongs to no hold between people",
       f"DELETE FROM payment_holds WHERE id = {CAPTURED}"),
    of("hold_capture_entry_off", "what is captured goes to somebody else",
       f"UPDATE payment_holds SET payee_id = (SELECT id FROM users ORDER BY created_at DESC"
       f" LIMIT 1)"
       f" WHERE id = {CAPTURED}"),
    of("payment_hold_missing", "a hold between people keeps nothing",
       f"DELETE FROM holds WHERE id = {OPEN_HOLD}"),
    of("payment_hold_payer_off", "a hold between people is on another account",
       f"UPDATE payment_holds SET payer_id = 'usr_else' WHERE id = {OPEN_HOLD}"),
    of("payment_hold_end_off", "an open hold says it was voided",
       f"UPDATE payment_holds SET ended = 'voided' WHERE id = {OPEN_HOLD}"),
    of("payment_hold_late_capture", "a hold is captured after its time",
       f"UPDATE holds SET expires_at = created_at - interval '1 day' WHERE id = {CAPTURED}"),
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
    of("arrival_assignment_off", "an arrival is assigned to somebody as another amount",
       "INSERT INTO unattributed_arrivals (id, network, address, asset, amount_minor, at_block,"
       " block_hash, block_time, entry_id, principal_id, tx_hash, proposed_by, approved_by,"
       " deposit_id) SELECT 'una_1', network, to_address, asset, amount_minor + 1, 1, '0x1',"
       " clock_timestamp(), 'ent_x', principal_id, '0x' || repeat('a', 64), 'ada', 'ben', id"
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
       "INSERT INTO accounts (id, path, asset, kind, side, balance_minor) VALUES ('acc_s',"
       " 'suspense:chain_loss:local:ETH', 'ETH', 'system', 'D', -9)"),
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
    # Exchange and payments
    of("quote_use_off", "a quote is used by nobody",
       "UPDATE quotes SET used_by = 'cnv_nobody', used_at = created_at WHERE used_by IS NULL"),
    of("quote_use_off", "a quote is used after its time",
       "UPDATE quotes SET expires_at = created_at - interval '1 hour' WHERE used_by IS NOT NULL"),
    of("quote_parts_off", "a quote's rate is above the mid rate",
       "UPDATE quotes SET rate = mid_rate * 2"),
    of("quote_rate_off", "a quote's rate is not its mid less its spread",
       "UPDATE quotes SET rate = rate * 0.999 WHERE used_by IS NOT NULL"),
    of("quote_price_off", "a quote gives one unit more than its rate",
       "UPDATE quotes SET target_minor = target_minor + 1 WHERE used_by IS NULL"),
    of("quote_price_off", "a quote hides a part of its spread",
       "UPDATE quotes SET spread_minor = spread_minor - 1 WHERE used_by IS NULL"),
    of("conversion_quote_off", "a conversion is not its quote",
       f"UPDATE conversions SET target_minor = target_minor + 1 WHERE id = {CONVERSION}"),
    of("conversion_entry_off", "a conversion was posted by another quote",
       "UPDATE quotes SET fee_minor = fee_minor + 1 WHERE id = (SELECT quote_id FROM conversions"
       f" WHERE id = {CONVERSION})"),
    of("payment_quote_off", "a payment is by somebody else's quote",
       f"UPDATE payments SET principal_id = {ADA} WHERE id = {COMPLETED}"),
    of("payment_recipient_off", "a payment goes to somebody else's recipient",
       f"UPDATE recipients SET principal_id = {ADA} WHERE id = (SELECT recipient_id FROM payments"
       f" WHERE id = {COMPLETED})"),
    of("payment_step_missing", "a payment says it was completed",
       "UPDATE payments SET status = 'completed', ended_at = updated_at"
       " WHERE id = (SELECT min(id) FROM payments WHERE status = 'paying_out')"),
    of("payment_step_extra", "a completed payment says it is only funded",
       f"UPDATE payments SET status = 'funded', ended_at = NULL WHERE id = {COMPLETED}"),
    of("payment_step_twice", "a payment's payout is booked twice",
       *new_entry("payment.completed", ("'payouts:spei:in_transit:MXN'", -1),
                  ("'bank:simbank:MXN'", 1)),
       f"UPDATE entries SET ref = {COMPLETED} WHERE id = 'ent_planted'"),
    of("payment_step_uncaused", "a payment is deleted",
       f"DELETE FROM payments WHERE id = {COMPLETED}"),
    of("payment_entry_off", "a payment's quote says another target",
       "UPDATE quotes SET target_minor = target_minor + 1 WHERE id = (SELECT quote_id FROM payments"
       f" WHERE id = {COMPLETED})"),
    of("payments_transit_off", "something lies in transit for no payment",
       "UPDATE accounts SET balance_minor = balance_minor + 4 WHERE path ="
       " 'payments:in_transit:MXN'"),
    of("payouts_transit_off", "a rail owes for no payment",
       "UPDATE accounts SET balance_minor = balance_minor + 4 WHERE path ="
       " 'payouts:spei:in_transit:MXN'"),
    of("leg_amount_off", "a leg carries one unit more",
       "UPDATE payment_legs SET amount_minor = amount_minor + 1 WHERE id = (SELECT min(id) FROM"
       " payment_legs)"),
    of("leg_missing", "a leg is deleted",
       "DELETE FROM payment_legs WHERE id = (SELECT min(id) FROM payment_legs)"),
    of("leg_status_off", "a payout that was made is pending",
       f"UPDATE payment_legs SET status = 'pending' WHERE kind = 'payout' AND payment_id ="
       f" {COMPLETED}"),
    of("payment_refund_off", "more went back than was taken",
       f"UPDATE payments SET refund_minor = refund_minor + 1 WHERE id = {RETURNED}"),
    of("payment_usage_off", "a payment does not count for the day",
       f"UPDATE outgoing_usage SET released_at = created_at WHERE ref = {COMPLETED}"),
    of("payout_missing", "an order to the bank says another amount",
       f"UPDATE payouts SET amount_minor = amount_minor + 1 WHERE ref = {COMPLETED}"),
    of("payout_answer_off", "the bank refused what counts as paid",
       f"UPDATE payouts SET answer = 'refused' WHERE ref = {COMPLETED}"),
    of("payout_uncaused", "an order to the bank is of no payment",
       f"UPDATE payouts SET ref = 'pay_nobody' WHERE ref = {COMPLETED}"),
    # The bank's own list
    of("bank_books_off", "a line of the statement is forgotten",
       f"DELETE FROM bank_lines WHERE reference = (SELECT reference FROM payouts WHERE ref"
       f" = {COMPLETED})",
       "DELETE FROM simbank.statement WHERE reference = (SELECT reference FROM payouts WHERE ref ="
       f" {COMPLETED})"),
    of("bank_line_off", "we read another amount than the bank wrote",
       "UPDATE bank_lines SET amount_minor = amount_minor + 1 WHERE line_id = (SELECT min(line_id)"
       " FROM bank_lines)"),
    of("bank_line_skipped", "a line in the middle was never read",
       "DELETE FROM bank_lines WHERE (asset, line_id) = (SELECT asset, min(line_id) FROM bank_lines"
       " GROUP BY asset HAVING count(*) > 1 LIMIT 1)"),
    of("bank_statement_off", "the bank's statement does not add up",
       "UPDATE simbank.statement SET balance_after_minor = balance_after_minor + 1 WHERE id ="
       " (SELECT min(id) FROM simbank.statement)"),
    of("bank_balance_off", "the bank's balance is not its statement's",
       "UPDATE simbank.accounts SET balance_minor = balance_minor + 1 WHERE asset = 'EUR'"),
    of("bank_order_off", "the bank was told another recipient",
       "UPDATE simbank.orders SET beneficiary = '{\"name\": \"Mallory\"}'"),
    of("bank_order_unknown", "the bank has an order that we did not give",
       f"UPDATE payouts SET reference = 'leg_else' WHERE ref = {COMPLETED}"),
    of("bank_answer_unheard", "the bank never heard of what it answered",
       "DELETE FROM simbank.orders WHERE reference = (SELECT reference FROM payouts WHERE ref ="
       f" {COMPLETED})"),
    of("bank_entry_uncaused", "an opening balance that no statement has",
       *new_entry("bank.opening", ("'bank:simbank:EUR'", -9), ("'house:capital:EUR'", 9))),
    of("bank_entry_off", "an opening balance goes to a customer",
       *new_entry("bank.opening", ("'bank:simbank:EUR'", -9), (customer(ADA), 9))),
    # Promises
    of("answer_transfer_off", "a kept answer names a transfer that was not made",
       "UPDATE idempotency_answers SET body = '{\"id\": \"trf_nowhere\"}' WHERE route ="
       " '/v1/transfers' AND key = (SELECT min(key) FROM idempotency_answers WHERE route ="
       " '/v1/transfers')"),
    of("answer_transfer_off", "a transfer's answer goes to somebody else",
       "UPDATE idempotency_answers SET principal_id = 'usr_else' WHERE route = '/v1/transfers'"),
    of("answer_hold_off", "a kept answer names a hold that was not made",
       "UPDATE idempotency_answers SET body = '{}' WHERE route = '/v1/holds'"),
    of("answer_withdrawal_off", "a kept answer names a withdrawal that was not made",
       "UPDATE idempotency_answers SET body = '{\"id\": \"wdr_x\"}' WHERE route ="
       " '/v1/withdrawals'"),
    of("answer_conversion_off", "a kept answer names a conversion that was not made",
       "UPDATE idempotency_answers SET body = '{\"id\": \"cnv_x\"}' WHERE route ="
       " '/v1/conversions'"),
    of("answer_payment_off", "a kept answer names a payment that was not made",
       "UPDATE idempotency_answers SET body = '{\"id\": \"pay_x\"}' WHERE route = '/v1/payments'"),
    of("answer_amount_off", "a kept answer tells of another amount",
       "UPDATE idempotency_answers SET body = replace(body, '250.40', '250.41')"
       " WHERE route = '/v1/transfers' AND body LIKE '%250.40%'"),
    of("answer_shared", "two keys answer with one transfer",
       "UPDATE idempotency_answers SET body = (SELECT body FROM idempotency_answers WHERE route ="
       " '/v1/transfers' ORDER BY key LIMIT 1) WHERE route = '/v1/transfers'"),
    of("answer_unreadable", "a kept answer is cut off",
       "UPDATE idempotency_answers SET body = '{\"id\":' WHERE route = '/v1/transfers'"),
    of("event_missing", "a transfer's event is lost",
       f"DELETE FROM events WHERE type = 'transfer.completed' AND ref = {TRANSFER}"),
    of("event_invented", "somebody is told of a transfer that was not made",
       "UPDATE events SET ref = 'trf_nowhere' WHERE seq = (SELECT min(seq) FROM events WHERE type ="
       " 'transfer.completed')"),
    of("event_deposit_invented", "somebody is told of a deposit that is not theirs",
       "UPDATE events SET principal_id = 'usr_else' WHERE seq = (SELECT min(seq) FROM events WHERE"
       " type = 'deposit.credited')"),
    of("event_gap", "an event is deleted",
       "DELETE FROM events WHERE seq = (SELECT min(seq) + 1 FROM events)"),
    of("usage_orphaned", "the day counts a payment that was not made",
       f"UPDATE outgoing_usage SET ref = 'pay_nobody' WHERE ref = {COMPLETED}"),
)  # fmt: skip
