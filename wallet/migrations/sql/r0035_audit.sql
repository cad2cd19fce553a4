-- The auditor's role reads what `wallet/auditor` reads. -------------------------------------------------
-- Until now it read every table whole: hashes of passwords and sessions, sealed boxes, cards' tokens. A
-- new table is closed to it until its revision opens it; where a table also holds what is secret, or
-- what people wrote to each other, the columns are named one by one.
DO $$
DECLARE
    one text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        RETURN;
    END IF;
    ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM bifold_audit;
    -- Tables of ours: what an extension has put beside them has an owner of its own.
    FOR one IN SELECT format('%I.%I', n.nspname, c.relname)
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname IN ('public', 'jobs', 'simbank', 'simgate')
                  AND c.relkind IN ('r', 'p', 'v') AND pg_has_role(c.relowner, 'USAGE') LOOP
        EXECUTE format('REVOKE SELECT ON %s FROM bifold_audit', one);
    END LOOP;
    REVOKE USAGE ON SCHEMA jobs FROM bifold_audit;

    GRANT SELECT ON
        alembic_version, sandbox_clock, audit_runs, audit_findings, audit_checkpoints,
        accounts, account_deltas, account_balances, entries, postings, holds, hold_captures,
        seals, unsealed, seal_entries, seal_events, events,
        chain_blocks, chain_intents, chain_signers, network_state, scan_state, house_addresses,
        deposit_addresses, deposits, deposit_losses, deposit_moves, unattributed_arrivals, withdrawals,
        sweeps, treasury_moves, cold_gas,
        quotes, conversions, payment_legs, outgoing_usage, bank_lines, bank_credits, gateway_lines,
        simbank.accounts, simgate.balances, simgate.list
        TO bifold_audit;

    -- Without signatures that could be handed over, unsent payloads, and what a node said.
    GRANT SELECT (intent_id, operator, by_whom, created_at) ON chain_approvals TO bifold_audit;
    GRANT SELECT (intent_id, seq, network, kind, raw, tx_hash, created_at, signed_at)
        ON chain_attempts TO bifold_audit;
    GRANT SELECT (network, address, tx_hash, sent_at, entry_id, created_at) ON nonce_burns
        TO bifold_audit;
    -- Without the tokens of cards, what is printed on them, and where a payment is confirmed.
    GRANT SELECT (id, principal_id, gateway) ON cards TO bifold_audit;
    GRANT SELECT (id, principal_id, method, asset, amount_minor, status, card_id, waiting_for, reason,
        kept_aside, entry_id, charge_back_entry_id, told_at, next_at, expires_at, created_at, ended_at)
        ON topups TO bifold_audit;
    GRANT SELECT (reference, asset, amount_minor, status, received_at, ended_at)
        ON simgate.charges TO bifold_audit;
    -- Without what people wrote, and who is paid abroad.
    GRANT SELECT (id, payer_id, payee_id, asset, amount_minor, entry_id, created_at) ON transfers
        TO bifold_audit;
    GRANT SELECT (id, payer_id, payee_id, ended, created_at) ON payment_holds TO bifold_audit;
    GRANT SELECT (id, principal_id, quote_id, recipient_id, corridor, rail, status, reason,
        refund_minor, created_at, updated_at, ended_at) ON payments TO bifold_audit;
    GRANT SELECT (reference, ref, rail, asset, amount_minor, beneficiary, answer, contradicted_at,
        created_at, told_at, answered_at) ON payouts TO bifold_audit;
    GRANT SELECT (id, principal_id) ON recipients TO bifold_audit;
    GRANT SELECT (id, bank, line_id, bank_reference, asset, amount_minor, entry_id, principal_id,
        proposed_by, approved_by, topup_id, created_at) ON bank_strays TO bifold_audit;
    GRANT SELECT (reference, rail, asset, amount_minor, beneficiary, status, received_at, ended_at)
        ON simbank.orders TO bifold_audit;
    GRANT SELECT (id, asset, kind, reference, amount_minor, balance_after_minor, at)
        ON simbank.statement TO bifold_audit;
    GRANT SELECT (id, kind, reverses, document, state, proposed_by, proposed_at, ended_by, ended_at,
        entry_ids) ON corrections TO bifold_audit;
    -- Without the hash of what was asked; the answer is what the auditor holds the books against.
    GRANT SELECT (principal_id, method, route, key, status, body, created_at) ON idempotency_answers
        TO bifold_audit;
    GRANT SELECT (id, principal_id, type, ref, created_at) ON outbox TO bifold_audit;
END $$;
