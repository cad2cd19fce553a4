-- Back to r0034: the auditor's role reads every table whole.
DO $$
DECLARE
    one text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA jobs TO bifold_audit;
    FOR one IN SELECT format('%I.%I', n.nspname, c.relname)
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname IN ('public', 'jobs', 'simbank', 'simgate')
                  AND c.relkind IN ('r', 'p', 'v') AND pg_has_role(c.relowner, 'USAGE') LOOP
        EXECUTE format('REVOKE SELECT ON %s FROM bifold_audit', one);  -- the columns' own with it
        EXECUTE format('GRANT SELECT ON %s TO bifold_audit', one);
    END LOOP;
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bifold_audit;
END $$;
