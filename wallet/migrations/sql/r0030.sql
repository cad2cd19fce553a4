-- What people agree upon is an operator's, not a process's; transfers are known by their line ---------

-- `bifold_operator` can all that `bifold_app` can and these: end a pause, accept a break, propose and
-- agree to corrections (docs/decisions/0014). Roles are made by whoever installs the cluster.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_operator'
                   AND pg_has_role(oid, 'bifold_app', 'USAGE')) THEN
        RAISE EXCEPTION 'make the operators'' role first, as a superuser: '
            'CREATE ROLE bifold_operator LOGIN INHERIT IN ROLE bifold_app (docs/configuration.md)';
    END IF;
    REVOKE DELETE ON audit_pauses FROM bifold_app;
    REVOKE INSERT ON audit_accepted FROM bifold_app;
    REVOKE ALL ON corrections FROM bifold_app;
    GRANT SELECT ON corrections TO bifold_app;
    GRANT DELETE ON audit_pauses TO bifold_operator;
    GRANT INSERT ON audit_accepted TO bifold_operator;
    GRANT INSERT (id, kind, reverses, document, reason, proposed_by) ON corrections
        TO bifold_operator;
    GRANT UPDATE (state, ended_by, ended_at, entry_ids) ON corrections TO bifold_operator;
END $$;
