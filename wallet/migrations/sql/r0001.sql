-- Roles are made by whoever installs the cluster (`bifold_owner`, `bifold_app`, `bifold_audit`).
-- Where they exist, what the owner makes from here on is readable and writable by the application,
-- readable by the auditor; tables that must be tighter revoke again in their own revision.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT USAGE ON SCHEMA public, jobs TO bifold_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA jobs TO bifold_app;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA jobs TO bifold_app;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA jobs TO bifold_app;
        GRANT SELECT ON alembic_version TO bifold_app;
        ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bifold_app;
        ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT USAGE ON SCHEMA public, jobs TO bifold_audit;
        GRANT SELECT ON ALL TABLES IN SCHEMA jobs TO bifold_audit;
        GRANT SELECT ON alembic_version TO bifold_audit;
        ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bifold_audit;
    END IF;
END $$;
