-- r0050: the auditor reads what assets count by, whom a transfer names, and which account waits for a debt ----
-- And which forks were followed: what was booked before one stays in the block where it was booked.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT (code, kind, scale) ON asset_terms TO bifold_audit;
        GRANT SELECT (principal_id, reference) ON bank_references TO bifold_audit;
        GRANT SELECT (account_id, principal_id) ON receivable_freezes TO bifold_audit;
        GRANT SELECT (network, fork_number, approved_at) ON fork_proposals TO bifold_audit;
    END IF;
END $$;
