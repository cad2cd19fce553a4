DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        REVOKE SELECT (code, kind, scale) ON asset_terms FROM bifold_audit;
        REVOKE SELECT (principal_id, reference) ON bank_references FROM bifold_audit;
        REVOKE SELECT (account_id, principal_id) ON receivable_freezes FROM bifold_audit;
        REVOKE SELECT (network, fork_number, approved_at) ON fork_proposals FROM bifold_audit;
    END IF;
END $$;
