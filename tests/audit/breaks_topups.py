"""Corruptions of top-ups, charge-backs, strays, the gateway's list, corrections and the seal."""

from __future__ import annotations

from tests.audit.breaking import (
    ADA,
    BEN,
    POSTING,
    TRANSFER,
    Break,
    customer,
    new_entry,
    of,
    unchecked,
)

CARD = "(SELECT min(id) FROM topups WHERE method = 'card' AND status = 'succeeded')"
BACK = "(SELECT min(id) FROM topups WHERE status = 'charged_back')"
OWING = (
    "(SELECT t.id FROM topups t JOIN postings p ON p.entry_id = t.charge_back_entry_id"
    " JOIN accounts a ON a.id = p.account_id WHERE a.path LIKE 'receivable:%')"
)
BANKED = "(SELECT min(topup_id) FROM bank_credits)"
ASSIGNED = "(SELECT id FROM bank_strays WHERE topup_id IS NOT NULL)"
WAITING = "(SELECT id FROM bank_strays WHERE topup_id IS NULL)"
LINE = "(SELECT min(line_id) FROM gateway_lines)"
GIVEN = "(SELECT id FROM gateway_resolutions WHERE deed = 'credit')"
TAKEN = "(SELECT id FROM gateway_resolutions WHERE deed = 'charge_back')"
MORE = "(SELECT id FROM gateway_resolutions WHERE deed = 'adjust' AND listed_minor > booked_minor)"
LESS = "(SELECT id FROM gateway_resolutions WHERE deed = 'adjust' AND listed_minor < booked_minor)"
REVERSAL = "(SELECT min(id) FROM corrections WHERE kind = 'reversal' AND state = 'posted')"
BATCH = "(SELECT id FROM corrections WHERE cardinality(entry_ids) = 2)"
SEALED = "(SELECT max(seq) FROM seals WHERE kind = 'entry')"
EVENT = "(SELECT max(seq) - 1 FROM events)"
GATEWAY = "'gateway:simgate:EUR'"

BREAKS: tuple[Break, ...] = (
    # Top-ups and their causes
    of("topup_entry_off", "a card top-up says another amount",
       f"UPDATE topups SET amount_minor = amount_minor + 1 WHERE id = {CARD}"),
    of("topup_entry_off", "an assigned stray was more than its top-up",
       f"UPDATE bank_strays SET amount_minor = amount_minor + 1 WHERE id = {ASSIGNED}"),
    of("topup_entry_off", "a bank top-up has no transfer behind it",
       f"DELETE FROM bank_credits WHERE topup_id = {BANKED}"),
    of("topup_entry_missing", "a top-up names the entry of a transfer",
       f"UPDATE topups SET entry_id = (SELECT entry_id FROM transfers WHERE id = {TRANSFER})"
       f" WHERE id = {CARD}"),
    of("topup_entry_uncaused", "a top-up is deleted", f"DELETE FROM topups WHERE id = {CARD}"),
    of("topup_state_off", "a top-up succeeded without an entry",
       *unchecked("topups", "topups_check3"),
       f"UPDATE topups SET entry_id = NULL WHERE id = {CARD}"),
    of("topup_state_off", "a charge-back is said and not booked",
       *unchecked("topups", "topups_check6"),
       f"UPDATE topups SET charge_back_entry_id = NULL WHERE id = {BACK}"),
    of("topup_card_off", "a top-up is by somebody else's card",
       "UPDATE cards SET principal_id = 'usr_else' WHERE id ="
       f" (SELECT card_id FROM topups WHERE id = {CARD})"),
    of("charge_back_entry_off", "a charge-back is booked one cent short",
       "UPDATE postings SET amount_minor = amount_minor - 1 WHERE entry_id ="
       f" (SELECT charge_back_entry_id FROM topups WHERE id = {BACK})"
       f" AND account_id = (SELECT id FROM accounts WHERE path = {GATEWAY})"),
    of("charge_back_entry_off", "what is owed for a charge-back is owed by somebody else",
       "UPDATE accounts SET path = 'receivable:usr_else:EUR' WHERE path LIKE 'receivable:%'"),
    of("charge_back_entry_off", "the debtor keeps what was charged back, by a posting each way",
       "UPDATE postings p SET amount_minor = p.amount_minor + CASE WHEN a.kind = 'customer'"
       " THEN 5000 ELSE -5000 END FROM accounts a WHERE a.id = p.account_id AND p.entry_id ="
       f" (SELECT charge_back_entry_id FROM topups WHERE id = {OWING})"
       f" AND a.path <> {GATEWAY}"),
    of("charge_back_entry_uncaused", "a charge-back nobody had",
       *new_entry("topup_charged_back", (GATEWAY, 10), (customer(ADA), -10))),
    of("gateway_aside_entry_off", "what was kept aside says another amount",
       "UPDATE topups SET amount_minor = amount_minor + 1 WHERE kept_aside"),
    of("gateway_aside_entry_uncaused", "a line of nobody's forgets its entry",
       "UPDATE gateway_lines SET entry_id = NULL WHERE entry_id IS NOT NULL"),
    of("stray_entry_off", "a stray says another sum",
       f"UPDATE bank_strays SET amount_minor = amount_minor + 1 WHERE id = {WAITING}"),
    of("stray_entry_uncaused", "a stray is deleted",
       f"DELETE FROM bank_strays WHERE id = {WAITING}"),
    of("stray_line_off", "a stray names another line",
       f"UPDATE bank_strays SET bank_reference = 'nowhere' WHERE id = {WAITING}"),
    of("stray_assigned_off", "a stray was assigned by its proposer",
       *unchecked("bank_strays", "bank_strays_check2"),
       f"UPDATE bank_strays SET approved_by = proposed_by WHERE id = {ASSIGNED}"),
    of("stray_assigned_off", "a stray was assigned to nobody",
       *unchecked("bank_strays", "bank_strays_check"),
       f"UPDATE bank_strays SET principal_id = NULL WHERE id = {ASSIGNED}"),
    of("stray_assigned_off", "a stray went to somebody else than was agreed",
       f"UPDATE bank_strays SET principal_id = {ADA} WHERE id = {ASSIGNED}"),
    of("stray_assigned_off", "a stray's top-up has the wrong sum",
       "UPDATE topups SET amount_minor = amount_minor - 1 WHERE id ="
       f" (SELECT topup_id FROM bank_strays WHERE id = {ASSIGNED})"),
    of("bank_credit_off", "a credit says another owner than its top-up",
       f"UPDATE bank_credits SET principal_id = {BEN} WHERE principal_id = {ADA}"),
    of("bank_credit_line_off", "a credit says more than the statement",
       "UPDATE bank_credits SET amount_minor = amount_minor + 1 WHERE topup_id = " + BANKED),
    of("bank_line_skipped", "a line kept aside is forgotten", "DELETE FROM bank_lines_aside"),
    of("receivable_overpaid", "more is collected than is owed",
       "UPDATE accounts SET balance_minor = 1 WHERE path LIKE 'receivable:%'"),
    # The gateway's own list
    of("gateway_books_off", "the gateway lists less than was credited",
       f"UPDATE simgate.list SET amount_minor = amount_minor - 1 WHERE reference = {CARD}"),
    of("gateway_books_off", "a card top-up is credited that the gateway never listed",
       *new_entry("topup", (GATEWAY, -10), (customer(ADA), 10))),
    of("gateway_books_off", "a charge-back is on the list no more",
       f"DELETE FROM simgate.list WHERE kind = 'charge_back' AND reference = {BACK}"),
    of("gateway_charge_off", "the gateway declined what was credited",
       f"UPDATE simgate.charges SET status = 'declined' WHERE reference = {CARD}"),
    of("gateway_charge_off", "the gateway never heard of what was credited",
       f"DELETE FROM simgate.charges WHERE reference = {CARD}"),
    of("gateway_line_off", "a line was read as another amount",
       f"UPDATE gateway_lines SET amount_minor = amount_minor + 1 WHERE line_id = {LINE}"),
    of("gateway_line_skipped", "a line was passed over",
       f"DELETE FROM gateway_lines WHERE line_id = {LINE}"),
    of("gateway_list_off", "the list's running balance is off",
       "UPDATE simgate.list SET balance_after_minor = balance_after_minor + 1"
       " WHERE id = (SELECT min(id) FROM simgate.list)"),
    of("gateway_balance_off", "the gateway owes one cent less",
       "UPDATE simgate.balances SET balance_minor = balance_minor - 1 WHERE asset = 'EUR'"),
    # Differences with it that operators resolved
    of("resolution_entry_off", "more was resolved than is booked",
       f"UPDATE gateway_resolutions SET listed_minor = listed_minor + 1 WHERE id = {MORE}"),
    of("resolution_entry_off", "what was taken went to somebody else",
       f"UPDATE gateway_resolutions SET principal_id = {ADA} WHERE id = {LESS}"),
    of("resolution_entry_off", "what was given is nobody's",
       f"UPDATE gateway_resolutions SET principal_id = NULL WHERE id = {MORE}"),
    of("resolution_entry_missing", "a resolution names the entry of a transfer",
       f"UPDATE gateway_resolutions SET entry_id = (SELECT entry_id FROM transfers WHERE id ="
       f" {TRANSFER}) WHERE id = {MORE}"),
    of("resolution_entry_uncaused", "a resolution is deleted",
       f"DELETE FROM gateway_resolutions WHERE id = {LESS}"),
    of("resolution_entry_uncaused", "an entry of a resolution without one",
       *new_entry("gateway.resolved", (GATEWAY, -10), (customer(ADA), 10))),
    of("resolution_agreed_off", "a resolution was approved by its proposer",
       *unchecked("gateway_resolutions", "gateway_resolutions_check5"),
       f"UPDATE gateway_resolutions SET ended_by = proposed_by WHERE id = {GIVEN}"),
    of("resolution_agreed_off", "the books name another who agreed",
       f"UPDATE gateway_resolutions SET ended_by = 'mallory' WHERE id = {TAKEN}"),
    of("resolution_agreed_off", "another sum was agreed than was credited",
       f"UPDATE gateway_resolutions SET listed_minor = listed_minor + 1 WHERE id = {GIVEN}"),
    of("resolution_agreed_off", "another sum was agreed than was charged back",
       f"UPDATE gateway_resolutions SET booked_minor = booked_minor + 1 WHERE id = {TAKEN}"),
    of("resolution_agreed_off", "a resolution names another top-up",
       f"UPDATE gateway_resolutions SET reference = {CARD} WHERE id = {TAKEN}"),
    of("resolution_agreed_off", "what was credited is not what was resolved",
       f"UPDATE gateway_resolutions SET entry_id = (SELECT entry_id FROM topups WHERE id = {CARD})"
       f" WHERE id = {GIVEN}"),
    of("gateway_charge_off", "the gateway's word is followed by nobody any more",
       f"DELETE FROM gateway_resolutions WHERE id = {GIVEN}"),
    of("gateway_books_off", "a resolution covered less of the list than was booked",
       f"UPDATE gateway_resolutions SET through_line = 0 WHERE id = {MORE}"),
    # Corrections
    of("correction_entry_off", "a correction's document is altered after it was agreed",
       "UPDATE corrections SET document = jsonb_set(document,"
       f" '{{entries,0,postings,0,minor}}', '\"-1\"') WHERE id = {BATCH}"),
    of("correction_entry_off", "a reversal's document says another amount",
       "UPDATE corrections SET document = jsonb_set(document,"
       f" '{{entries,0,postings,0,minor}}', '\"-1\"') WHERE id = {REVERSAL}"),
    of("correction_entry_missing", "one of two entries is not named any more",
       f"UPDATE corrections SET entry_ids = entry_ids[1:1] WHERE id = {BATCH}"),
    of("correction_entry_missing", "a reversal undid another entry than was agreed",
       f"UPDATE corrections SET reverses = (SELECT entry_id FROM transfers WHERE id = {TRANSFER})"
       f" WHERE id = {REVERSAL}"),
    of("correction_entry_uncaused", "an entry of a correction without a correction",
       *new_entry("correction", ("'expense:correction:EUR'", -10), (customer(ADA), 10))),
    of("correction_entry_uncaused", "a correction is deleted",
       f"DELETE FROM corrections WHERE id = {REVERSAL}"),
    of("correction_claimed_twice", "two corrections undo one entry",
       "INSERT INTO corrections (id, kind, reverses, document, reason, state, proposed_by,"
       " ended_by, ended_at, entry_ids) SELECT 'cor_planted', kind, reverses, document, reason,"
       " state, proposed_by, ended_by, ended_at, entry_ids FROM corrections"
       f" WHERE id = {REVERSAL}"),
    of("reversal_twice", "a reversal of what was reversed",
       "DROP INDEX entries_reverses_key",
       *new_entry("reversal", (customer(ADA), -1), (customer(BEN), 1)),
       "UPDATE entries SET reverses = (SELECT reverses FROM corrections"
       f" WHERE id = {REVERSAL}) WHERE id = 'ent_planted'"),
    of("correction_four_eyes_off", "a correction was approved by its proposer",
       *unchecked("corrections", "corrections_check4"),
       f"UPDATE corrections SET ended_by = proposed_by WHERE id = {BATCH}"),
    of("correction_four_eyes_off", "the books name another who agreed",
       f"UPDATE corrections SET ended_by = 'mallory' WHERE id = {REVERSAL}"),
    of("correction_expense_off", "goodwill by another door",
       *new_entry("transfer", ("'expense:correction:EUR'", -10), (customer(ADA), 10))),
    # The seal
    of("seal_genesis_off", "the chain has another name",
       "UPDATE seals SET subject = 'another' WHERE seq = 0"),
    of("seal_genesis_off", "the chain has no beginning", "DELETE FROM seals WHERE seq = 0"),
    of("seal_gap", "a link is taken out", "DELETE FROM seals WHERE seq = 5"),
    of("seal_gap", "the beginning of the chain is taken out",
       "DELETE FROM seals WHERE seq < 3"),
    of("seal_link_off", "a digest is altered with its entry",
       "UPDATE seals SET digest = sha256('x') WHERE seq = " + SEALED),
    of("seal_link_off", "a link says another time",
       f"UPDATE seals SET sealed_at = sealed_at + interval '1 microsecond' WHERE seq = {SEALED}"),
    of("seal_link_off", "a hash is altered", "UPDATE seals SET hash = sha256('x') WHERE seq = 7"),
    of("seal_entry_altered", "a posting's amount changes",
       f"UPDATE postings SET amount_minor = amount_minor + 1 WHERE id = {POSTING}"),
    of("seal_entry_altered", "an entry is of another time",
       f"UPDATE entries SET event_at = event_at - interval '1 day' WHERE id ="
       f" (SELECT entry_id FROM transfers WHERE id = {TRANSFER})"),
    of("seal_entry_altered", "an entry's story changes",
       "UPDATE entries SET meta = meta || '{\"approved_by\": \"mallory\"}'"
       " WHERE kind = 'reversal'"),
    of("seal_entry_altered", "a posting changes hands",
       f"UPDATE postings SET account_id = (SELECT id FROM accounts WHERE path = {GATEWAY})"
       f" WHERE id = {POSTING}"),
    of("seal_entry_altered", "a sealed entry is gone",
       f"DELETE FROM entries WHERE id = (SELECT entry_id FROM transfers WHERE id = {TRANSFER})"),
    of("seal_event_altered", "an event tells something else",
       f"UPDATE events SET data = data || '{{\"x\": 1}}' WHERE seq = {EVENT}"),
    of("seal_event_altered", "an event is told to somebody else",
       f"UPDATE events SET principal_id = 'usr_else' WHERE seq = {EVENT}"),
    of("seal_event_altered", "an event is gone", f"DELETE FROM events WHERE seq = {EVENT}"),
    of("seal_event_order_off", "an event was never sealed",
       f"DELETE FROM seals WHERE kind = 'event' AND subject = {EVENT}::text"),
    of("seal_event_order_off", "the first event was never sealed",
       "DELETE FROM seals WHERE kind = 'event' AND subject = '1'"),
    of("seal_missing", "an entry was never sealed and waits for nothing",
       f"DELETE FROM seals WHERE seq = {SEALED}"),
    of("seal_late", "an entry waits for its seal for an hour",
       "INSERT INTO unsealed (entry_id) SELECT entry_id FROM transfers ORDER BY id LIMIT 1",
       "UPDATE entries SET created_at = created_at - interval '1 hour'"
       " WHERE id IN (SELECT entry_id FROM unsealed)"),
    of("seal_late", "an event waits for its seal for an hour",
       "UPDATE seals SET sealed_at = sealed_at - interval '1 hour'",
       "INSERT INTO events (seq, id, type, ref, data, created_at) SELECT max(seq) + 1,"
       " 'evt_planted', 'x.y', 'z', '{}', bifold_now() - interval '1 hour' FROM events"),
)  # fmt: skip
