"""Corruptions of addresses, blocks, moves of the house, and of what entries tell of their rows."""

from __future__ import annotations

from tests.audit.breaking import BEN, CREDITED, HOUSE_DEPOSIT, SETTLED, SWEEP, Break, of, unchecked

WARM = "(SELECT address FROM house_addresses WHERE place = 'warm')"
ARRIVAL = "(SELECT id FROM unattributed_arrivals WHERE deposit_id IS NOT NULL)"
LOST = "(SELECT id FROM deposit_losses WHERE return_entry_id IS NULL ORDER BY id LIMIT 1)"
OUT_OF_WARM = "(SELECT id FROM treasury_moves WHERE kind = 'to_hot' AND state = 'done')"
WAITS = "(SELECT id FROM treasury_moves WHERE kind = 'warm_to_cold' AND state = 'approved')"

BREAKS: tuple[Break, ...] = (
    # What entries tell
    of("entry_story_off", "a booked deposit was in another block",
       f"UPDATE deposits SET block_number = block_number - 1 WHERE id = {CREDITED}"),
    of("entry_story_off", "a deposit is of another time",
       f"UPDATE deposits SET block_time = block_time - interval '1 day' WHERE id = {CREDITED}"),
    of("entry_story_off", "a withdrawal was mined as another transaction",
       "UPDATE chain_intents SET mined_tx_hash = '0x' || repeat('ab', 32) WHERE id ="
       f" (SELECT intent_id FROM withdrawals WHERE id = {SETTLED})"),
    of("entry_story_off", "an arrival lay at another address",
       "UPDATE unattributed_arrivals SET address = '0x' || repeat('ab', 20) WHERE id ="
       " (SELECT min(id) FROM unattributed_arrivals WHERE deposit_id IS NULL)"),
    of("entry_story_off", "another operator agreed whose an arrival is",
       f"UPDATE unattributed_arrivals SET approved_by = 'mallory' WHERE id = {ARRIVAL}"),
    of("entry_story_off", "another operator agreed who bears a loss",
       "UPDATE deposit_losses SET bearer_approved_by = 'mallory'"
       " WHERE settle_entry_id IS NOT NULL"),
    of("entry_story_off", "a loss is of another deposit of the same amount",
       *unchecked("deposit_losses", "deposit_losses_deposit_id_fkey"),
       "INSERT INTO deposits SELECT (d.r).* FROM (SELECT jsonb_populate_record(x,"
       " jsonb_build_object('id', 'dep_again', 'block_hash', '0xother', 'entry_id', NULL,"
       " 'status', 'seen')) AS r FROM deposits x JOIN deposit_losses l ON l.deposit_id = x.id"
       f" WHERE l.id = {LOST}) d",
       f"UPDATE deposit_losses SET deposit_id = 'dep_again' WHERE id = {LOST}"),
    of("entry_story_off", "the gas of a cold address was another transaction's",
       "UPDATE cold_gas SET tx_hash = '0x' || repeat('ab', 32)"),
    of("entry_story_off", "a nonce was burnt by another transaction",
       "UPDATE nonce_burns SET tx_hash = '0x' || repeat('ab', 32)"),
    of("entry_story_off", "a move to warm says that it went to cold",
       "UPDATE treasury_moves SET kind = 'to_cold' WHERE kind = 'to_warm'"),
    of("entry_story_off", "another operator agreed whose a stray is",
       "UPDATE bank_strays SET approved_by = 'mallory' WHERE topup_id IS NOT NULL"),
    # Addresses
    of("signer_place_off", "the warm address is told to be hot",
       f"UPDATE house_addresses SET place = 'hot' WHERE address = {WARM}"),
    of("signer_place_off", "a hot address is no address of the house any more",
       "DELETE FROM house_addresses WHERE place = 'hot'"),
    of("signer_place_off", "a deposit address signs by another index",
       "UPDATE chain_signers SET deposit_index = deposit_index + 100 WHERE role = 'deposit'"),
    of("deposit_place_off", "what came to hot came to warm",
       f"UPDATE deposits SET to_address = {WARM} WHERE id = {HOUSE_DEPOSIT}"),
    of("deposit_place_off", "capital came from a stranger",
       f"UPDATE deposits SET from_address = '0x' || repeat('ab', 20) WHERE id = {HOUSE_DEPOSIT}"),
    of("cold_gas_place_off", "a cold address is told to be the faucet",
       "UPDATE house_addresses SET place = 'faucet' WHERE place = 'cold'"),
    # Blocks
    of("block_place_off", "what is set aside came in a block of another number",
       "UPDATE deposits SET block_number = block_number - 1 WHERE status = 'quarantined'"),
    of("block_place_off", "a block is of another time",
       "UPDATE chain_blocks SET block_time = block_time - interval '1 day'"),
    of("block_time_off", "a block is older than the one before it",
       "UPDATE chain_blocks SET block_time = block_time - interval '1 day' WHERE number ="
       " (SELECT max(number) FROM chain_blocks)"),
    of("booked_block_off", "gas of a cold address was burnt on another chain",
       "UPDATE cold_gas SET block_hash = '0xelse'"),
    of("scan_place_off", "what is final is another block",
       "UPDATE scan_state SET final_hash = '0xelse'"),
    of("scan_place_off", "the scanner is said to have seen a block more",
       "UPDATE scan_state SET tip_number = tip_number + 1"),
    of("loss_fork_off", "a fork took what lay below it",
       "UPDATE deposit_losses SET fork_number = fork_number + 100"),
    of("arrival_assignment_off", "an assigned arrival was found in another block",
       f"UPDATE unattributed_arrivals SET at_block = at_block + 1 WHERE id = {ARRIVAL}"),
    # Moves of the house
    of("deposit_move_off", "a sweep moved coins in another block",
       f"UPDATE deposit_moves SET block_number = block_number + 1 WHERE sweep_id = {SWEEP}"),
    of("deposit_move_off", "a sweep emptied an address that is not ours",
       "UPDATE deposit_moves SET address = '0x' || repeat('ab', 20)"
       f" WHERE sweep_id = {SWEEP}"),
    of("sweep_intent_off", "what is sent for a sweep of one asset is another",
       f"UPDATE sweeps SET asset = 'USDC' WHERE id = {SWEEP}"),
    of("sweep_intent_off", "what is sent for a sweep says another",
       "UPDATE chain_intents SET ref = 'swp_else' WHERE id ="
       f" (SELECT intent_id FROM sweeps WHERE id = {SWEEP})"),
    of("treasury_intent_off", "a move that is paid was dismissed",
       f"UPDATE treasury_moves SET state = 'dismissed' WHERE id = {OUT_OF_WARM}"),
    of("treasury_way_off", "a move that waits for signatures leaves hot",
       f"UPDATE treasury_moves SET kind = 'to_cold' WHERE id = {WAITS}"),
    of("treasury_intent_off", "a move names another transaction",
       "UPDATE treasury_moves SET tx_hash = '0x' || repeat('ab', 32)"
       f" WHERE id = {OUT_OF_WARM}"),
    of("treasury_intent_off", "a move was agreed to and nothing is sent for it",
       "UPDATE treasury_moves SET state = 'approved', approved_by = 'ben'"
       " WHERE state = 'proposed'"),
    of("treasury_warm_signatures_off", "one of two signatures for what left warm is another's",
       "DELETE FROM chain_approvals WHERE by_whom = 'cy'"),
    # What people and the networks file say
    of("event_deposit_off", "a deposit came to another address of its owner",
       "UPDATE deposits SET to_address = '0x' || repeat('ab', 20), tx_hash = '0x' ||"
       f" repeat('cd', 32) WHERE id = {CREDITED}"),
    of("event_state_off", "a top-up that waits has failed",
       *unchecked("topups", "topups_check1", "topups_check2"),
       "UPDATE topups SET status = 'failed' WHERE status = 'pending'"),
    of("answer_topup_off", "a top-up is somebody else's than who asked for it",
       "UPDATE topups SET principal_id = 'usr_else' WHERE id = (SELECT body::jsonb->>'id'"
       " FROM idempotency_answers WHERE route = '/v1/topups')"),
    of("answer_quote_off", "a quote is somebody else's than who asked for it",
       "UPDATE quotes SET principal_id = 'usr_else' WHERE used_by IS NULL"),
    of("answer_payee_off", "a recipient is somebody else's than who named it",
       "UPDATE recipients SET principal_id = 'usr_else' WHERE id = (SELECT min(id)"
       " FROM recipients)"),
    of("answer_topup_terms_off", "somebody's transfers name somebody else",
       *unchecked("bank_references", "bank_references_pkey"),
       f"UPDATE bank_references SET principal_id = {BEN}"),
    of("account_status_off", "another's account is opened once a debt is paid",
       f"UPDATE receivable_freezes SET principal_id = {BEN}"),
    of("asset_terms_off", "a token counts by other digits",
       "UPDATE asset_terms SET scale = scale - 1 WHERE code = 'USDC'"),
    of("network_off", "a network is another chain",
       "UPDATE network_state SET chain_id = chain_id + 1"),
)  # fmt: skip
