"""Corruptions of what only an answer, an event, a stored price or a row beside it can tell."""

from __future__ import annotations

from tests.audit.breaking import (
    ADA,
    COMPLETED,
    OPEN_HOLD,
    QUEUED,
    RETURNED,
    SETTLED,
    SETTLED_TOKEN,
    Break,
    of,
)

_ORDER = f"(SELECT reference FROM payouts WHERE ref = {COMPLETED})"
_OPEN_PAYMENT = "(SELECT min(id) FROM payments WHERE status = 'converted')"
_UNUSED = "(SELECT max(id) FROM quotes WHERE used_by IS NULL AND source_asset = 'EUR')"
_NOT_EURO = "(SELECT max(id) FROM quotes WHERE source_asset = 'USDC')"
_FREE = "(SELECT max(id) FROM payment_holds WHERE ended = 'expired')"
_PUBLISHED = "SELECT events_publish(ARRAY(SELECT 'evt_' || n FROM generate_series(1, 100) n))"


def _both_say(beneficiary: str) -> tuple[str, ...]:
    """Our order and the bank's are altered alike: they agree with each other."""
    return (
        f"UPDATE simbank.orders SET beneficiary = {beneficiary} WHERE reference = {_ORDER}",
        f"UPDATE payouts SET beneficiary = {beneficiary} WHERE ref = {COMPLETED}",
    )


BREAKS: tuple[Break, ...] = (
    # Who is paid abroad
    of("payout_beneficiary_off", "an order pays somebody else",
       *_both_say("jsonb_set(beneficiary, '{name}', '\"Mallory\"')")),
    of("payout_beneficiary_off", "an order pays into another account",
       *_both_say("jsonb_set(beneficiary, '{clabe}', '\"002010077777770000\"')")),
    of("answer_beneficiary_off", "an order pays into an account with the same end",
       *_both_say("jsonb_set(beneficiary, '{clabe}', '\"032180000000007771\"')")),
    of("answer_recipient_off", "two payments of one payer swap their recipients",
       "UPDATE payments SET recipient_id = (SELECT o.recipient_id FROM payments o WHERE o.id ="
       f" CASE WHEN payments.id = {COMPLETED} THEN {RETURNED} ELSE {COMPLETED} END)"
       f" WHERE id IN ({COMPLETED}, {RETURNED})"),
    of("answer_payment_terms_off", "a payment goes by another rail than was told",
       f"UPDATE payments SET rail = 'swift' WHERE id = {_OPEN_PAYMENT}"),
    of("event_payment_off", "a payment takes less than its payer was told",
       f"UPDATE quotes SET source_minor = source_minor - 1 WHERE used_by = {COMPLETED}"),
    # What is on its way in
    of("event_deposit_off", "a deposit grows before it is credited",
       _PUBLISHED,
       "UPDATE deposits SET amount_minor = amount_minor + 1 WHERE status IN ('seen', 'confirmed')"),
    of("event_topup_off", "a top-up grows while its gateway is asked",
       _PUBLISHED, "UPDATE topups SET amount_minor = amount_minor + 1 WHERE status = 'pending'"),
    # Accounts
    of("account_status_off", "an account that is frozen for a debt is opened",
       "UPDATE accounts SET status = 'open' WHERE status = 'frozen'"),
    of("account_status_off", "an account of the house is closed",
       "UPDATE accounts SET status = 'closed' WHERE path = 'bank:simbank:EUR'"),
    # What counts for somebody's day
    of("payment_usage_worth_off", "a payment counts for one cent",
       f"UPDATE outgoing_usage SET eur_minor = 1 WHERE ref = {COMPLETED}"),
    of("usage_worth_off", "a withdrawal counts for one cent",
       f"UPDATE outgoing_usage SET eur_minor = 1 WHERE ref = {QUEUED}"),
    of("usage_time_off", "a payment counts for another day",
       "UPDATE outgoing_usage SET created_at = created_at - interval '1 day' WHERE ref ="
       f" {COMPLETED}"),
    of("usage_time_off", "a withdrawal counts for another day",
       "UPDATE outgoing_usage SET created_at = created_at - interval '1 day' WHERE ref ="
       f" {QUEUED}"),
    # Prices
    of("quote_eur_off", "a quote in euro counts for one cent",
       f"UPDATE quotes SET eur_minor = 1 WHERE id = {_UNUSED}"),
    of("quote_eur_off", "a quote in dollars counts for one cent more",
       f"UPDATE quotes SET eur_minor = eur_minor + 1 WHERE id = {_NOT_EURO}"),
    of("quote_mid_off", "a quote gives a tenth more than any price then, with all that follows",
       "UPDATE quotes SET mid_rate = mid_rate * 1.1, rate = mid_rate * 1.1 * (1 - spread),"
       f" target_minor = round(target_minor * 1.1) WHERE id = {_UNUSED}"),
    of("answer_quote_terms_off", "a quote gives more than was told",
       "UPDATE quotes SET mid_rate = mid_rate * 2, rate = rate * 2, target_minor = target_minor * 2"
       f" WHERE id = {_UNUSED}"),
    of("answer_quote_terms_off", "a quote holds longer than was told",
       f"UPDATE quotes SET expires_at = expires_at + interval '1 hour' WHERE id = {_UNUSED}"),
    # Withdrawals
    of("withdrawal_gas_rate_off", "gas of a coin costs twice itself",
       f"UPDATE withdrawals SET gas_rate = 2 WHERE id = {QUEUED}"),
    of("withdrawal_gas_rate_off", "gas is cheaper than the bound that is held for it",
       f"UPDATE withdrawals SET gas_rate = gas_rate * 0.9 WHERE id = {SETTLED_TOKEN}"),
    of("withdrawal_gas_rate_off", "gas is dearer than the bound that is held for it",
       f"UPDATE withdrawals SET gas_rate = gas_rate * 1.1 WHERE id = {SETTLED_TOKEN}"),
    of("withdrawal_gas_price_off", "gas costs one part in a thousand more than by any price then",
       f"UPDATE withdrawals SET gas_rate = gas_rate * 1.001 WHERE id = {SETTLED_TOKEN}"),
    of("answer_withdrawal_terms_off", "a withdrawal expects another fee than was told",
       f"UPDATE withdrawals SET fee_expected_minor = fee_expected_minor + 1 WHERE id = {SETTLED}"),
    of("event_withdrawal_off", "a withdrawal and its hold keep more for the fee than was told",
       "UPDATE holds SET amount_minor = amount_minor + 1, released_minor = released_minor + 1"
       f" WHERE ref = {SETTLED}",
       f"UPDATE withdrawals SET fee_bound_minor = fee_bound_minor + 1 WHERE id = {SETTLED}"),
    # Holds
    of("hold_time_off", "a hold between people stays for years",
       f"UPDATE holds SET expires_at = expires_at + interval '3 years' WHERE id = {OPEN_HOLD}"),
    of("hold_time_off", "a hold ends a fraction of a second later",
       "UPDATE holds SET expires_at = expires_at + interval '5 milliseconds' WHERE id ="
       f" {OPEN_HOLD}"),
    of("hold_time_off", "what a withdrawal holds has an end",
       f"UPDATE holds SET expires_at = created_at WHERE ref = {QUEUED}"),
    of("hold_time_off", "a hold that expired had time left",
       f"UPDATE holds SET expires_at = expires_at + interval '1 day' WHERE id = {_FREE}"),
    of("answer_hold_terms_off", "a hold ends a day later than was told",
       f"UPDATE holds SET expires_at = expires_at + interval '1 day' WHERE id = {OPEN_HOLD}"),
    of("answer_hold_terms_off", "a hold is for somebody else than was told",
       f"UPDATE payment_holds SET payee_id = {ADA} || 'x' WHERE id = {OPEN_HOLD}"),
    of("event_hold_off", "a hold is for somebody else than both were told",
       f"UPDATE payment_holds SET payee_id = {ADA} || 'x' WHERE id = {_FREE}"),
    of("event_hold_off", "a hold that expired was voided",
       f"UPDATE payment_holds SET ended = 'voided' WHERE id = {_FREE}"),
)  # fmt: skip
