-- Back to r0033: the application's role writes them again.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE INSERT ON chain_approvals FROM bifold_operator;
        GRANT INSERT ON chain_approvals TO bifold_app;
    END IF;
END $$;
