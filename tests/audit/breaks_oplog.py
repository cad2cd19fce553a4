"""Corruptions of what people decide about, and of the log of it."""

from __future__ import annotations

from tests.audit.breaking import Break, of

LINE = "(SELECT min(seq) FROM operator_log WHERE object = 'deposit_addresses')"

BREAKS: tuple[Break, ...] = (
    of("log_row_off", "an address to which nothing came yet is somebody else's",
       "UPDATE deposit_addresses SET principal_id = 'usr_else' WHERE id = (SELECT min(a.id) FROM"
       " deposit_addresses a WHERE NOT EXISTS (SELECT FROM deposits d"
       " WHERE d.to_address = a.address))"),
    of("log_row_off", "a personal reference is somebody else's",
       "UPDATE bank_references SET principal_id = 'usr_else'"
       " WHERE principal_id = (SELECT min(principal_id) FROM bank_references)"),
    of("log_row_off", "an account is frozen by nobody",
       "UPDATE accounts SET status = 'frozen' WHERE id ="
       " (SELECT min(id) FROM accounts WHERE kind = 'customer' AND status = 'open')"),
    of("log_row_off", "another proposed a move of the treasury",
       "UPDATE treasury_moves SET proposed_by = 'mallory' WHERE id ="
       " (SELECT min(id) FROM treasury_moves)"),
    of("log_row_off", "the float may be higher",
       "UPDATE float_bounds SET high_minor = high_minor + 1"),
    of("log_row_off", "a freeze is taken away", "DELETE FROM network_freezes"),
    of("log_row_off", "a halted token is not halted", "DELETE FROM halted_tokens"),
    of("log_row_off", "an acceptance that nobody gave",
       "INSERT INTO audit_accepted (fingerprint, code, subject, accepted_by, note)"
       " VALUES (repeat('0', 32), 'balance_customer_off', 'x', 'ada', 'x')"),
    of("log_row_off", "a hot address is not halted any more",
       "UPDATE chain_signers SET halted_reason = CASE WHEN halted_reason IS NULL THEN 'x' END,"
       " halted_at = CASE WHEN halted_reason IS NULL THEN now() END"
       " WHERE address = (SELECT min(address) FROM chain_signers WHERE role = 'hot')"),
    of("log_case_off", "a case is closed by nobody",
       "UPDATE cases SET status = 'closed', closed_by = 'mallory', closed_at = now(),"
       " closing_note = 'x' WHERE id ="
       " (SELECT min(id) FROM cases)"),
    of("log_owner_changed", "an address changes hands, with its line in the log",
       "INSERT INTO operator_log (action, object, object_id, fields) OVERRIDING SYSTEM VALUE"
       " SELECT 'update', object, object_id, fields || '{\"principal_id\": \"usr_else\"}'"
       f" FROM operator_log WHERE seq = {LINE}",
       "INSERT INTO unsealed_log SELECT max(seq) FROM operator_log",
       "UPDATE deposit_addresses SET principal_id = 'usr_else' WHERE id ="
       f" (SELECT object_id FROM operator_log WHERE seq = {LINE})"),
    of("seal_log_altered", "somebody else decided it",
       f"UPDATE operator_log SET actor = 'mallory' WHERE seq = {LINE}"),
    of("seal_log_altered", "a decision is gone", f"DELETE FROM operator_log WHERE seq = {LINE}"),
    of("seal_missing", "a line of the log was never sealed",
       f"DELETE FROM seals WHERE kind = 'log' AND subject = {LINE}::text"),
    of("seal_late", "a line of the log waits for its seal for an hour",
       f"INSERT INTO unsealed_log SELECT {LINE}",
       f"UPDATE operator_log SET at = at - interval '1 hour' WHERE seq = {LINE}"),
)  # fmt: skip
