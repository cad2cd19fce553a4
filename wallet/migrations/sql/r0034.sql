-- Operators' signatures are handed over by operators' commands; no service writes them.
-- Junk beside true signatures could take an operator's place, or be too many for the signer.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE INSERT ON chain_approvals FROM bifold_app;
        GRANT INSERT ON chain_approvals TO bifold_operator;
    END IF;
END $$;
