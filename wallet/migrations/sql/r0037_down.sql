-- Back to r0035: payer and payee of a hold are checked by the code above, and nothing bounds open holds.
DROP TRIGGER hold_captures_paid ON hold_captures;
DROP FUNCTION hold_captures_check();
DROP TRIGGER payment_holds_on_payers ON payment_holds;
DROP FUNCTION payment_holds_of_payers();
DROP FUNCTION ledger_refuse_opening(jsonb), ledger_odd_opening(jsonb, integer),
    ledger_open_holds(text, text, integer);
