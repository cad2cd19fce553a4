"""Corruptions of quotes, payments, the bank's list and what people were told."""

from __future__ import annotations

from tests.audit.breaking import (
    ADA,
    COMPLETED,
    CONVERSION,
    QUEUED,
    RETURNED,
    TRANSFER,
    Break,
    customer,
    new_entry,
    of,
)

BREAKS: tuple[Break, ...] = (
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
    of("payout_answer_off", "the bank never answered what counts as paid",
       f"UPDATE payouts SET answer = NULL WHERE ref = {COMPLETED}"),
    of("payout_answer_off", "the bank never answered what came back",
       f"UPDATE payouts SET answer = NULL, told_at = NULL WHERE ref = {RETURNED}"),
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
    of("event_withdrawal_off", "a withdrawal that waits goes to another address",
       "SELECT events_publish(ARRAY(SELECT 'evt_' || n FROM generate_series(1, 100) n))",
       f"UPDATE chain_intents SET to_address = '0x' || repeat('ab', 20) WHERE ref = {QUEUED}",
       f"UPDATE withdrawals SET to_address = '0x' || repeat('ab', 20) WHERE id = {QUEUED}"),
    of("event_gap", "an event is deleted",
       "DELETE FROM events WHERE seq = (SELECT min(seq) + 1 FROM events)"),
    of("usage_orphaned", "the day counts a payment that was not made",
       f"UPDATE outgoing_usage SET ref = 'pay_nobody' WHERE ref = {COMPLETED}"),
)  # fmt: skip
