-- Rights that r0010 to r0018 meant to give are all there is -------------------------------------------
-- r0001 gives the application everything on every new table; those revisions granted less without
-- taking that away first. Revoking at the table takes the columns' grants too, so they are given
-- again. What is agreed between two people, signed, sent or booked is not deleted or rewritten.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE, DELETE ON watched, watched_addresses, watched_balances, selfcustody_key,
            selfcustody_accounts, selfcustody_requests, selfcustody_sends, network_freezes,
            float_bounds, treasury_moves, chain_approvals, sweeps, sweep_accounts, deposit_moves,
            deposit_losses, receivable_freezes, cold_gas, nonce_burns, unattributed_arrivals
            FROM bifold_app;
        GRANT DELETE ON watched, network_freezes, receivable_freezes, cold_gas TO bifold_app;
        GRANT UPDATE ON selfcustody_key, float_bounds TO bifold_app;
        GRANT UPDATE (used_at) ON watched_addresses TO bifold_app;
        GRANT UPDATE (amount_minor, block_number, read_at) ON watched_balances TO bifold_app;
        GRANT UPDATE (removed_at) ON selfcustody_accounts TO bifold_app;
        GRANT UPDATE (box, state, reply, reason, account_id) ON selfcustody_requests TO bifold_app;
        GRANT UPDATE (state, reason, grant_name, nonce, unsigned, raw, tx_hash, mined_block,
            gas_fee_wei, sent_at, updated_at) ON selfcustody_sends TO bifold_app;
        GRANT UPDATE (state, approved_by, intent_id, entry_id, tx_hash, ended_at)
            ON treasury_moves TO bifold_app;
        GRANT UPDATE (state, entry_id, ended_at) ON sweeps TO bifold_app;
        GRANT UPDATE (open) ON sweep_accounts TO bifold_app;
        GRANT UPDATE (again_block_hash, again_block_number, return_entry_id, bearer,
            bearer_proposed_by, bearer_approved_by, settle_entry_id) ON deposit_losses TO bifold_app;
        GRANT UPDATE (entry_id) ON cold_gas TO bifold_app;
        GRANT UPDATE (sent_at, entry_id) ON nonce_burns TO bifold_app;
        GRANT UPDATE (principal_id, tx_hash, proposed_by, proposed_at, approved_by, deposit_id)
            ON unattributed_arrivals TO bifold_app;
    END IF;
END $$;
