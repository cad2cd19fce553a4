-- What was sealed of the log stays in the chain: it is taken out of the database only with the seal.
DO $$
BEGIN
    IF EXISTS (SELECT FROM seals WHERE kind = 'log') THEN
        RAISE EXCEPTION 'lines of the operator log are sealed: their links cannot be taken out';
    END IF;
END $$;
DO $$
DECLARE
    one text;
BEGIN
    FOR one IN SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                WHERE t.tgname = c.relname || '_logged' LOOP
        EXECUTE format('DROP TRIGGER %1$s_logged ON %1$I', one);
    END LOOP;
END $$;
DROP VIEW seal_log;
DROP TABLE operator_log, unsealed_log;
DROP FUNCTION operator_log_write(), operator_log_await(), operator_log_id(jsonb, text),
    operator_log_fields(jsonb, text);
ALTER TABLE seals DROP CONSTRAINT seals_kind_check;
ALTER TABLE seals ADD CONSTRAINT seals_kind_check CHECK (kind IN ('genesis', 'entry', 'event'));
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        REVOKE SELECT (fingerprint, code, subject, accepted_by) ON audit_accepted FROM bifold_audit;
        REVOKE SELECT (asset, run_id) ON audit_pauses FROM bifold_audit;
        REVOKE SELECT (id, kind, subject_type, subject, network, asset, status, closed_by) ON cases
            FROM bifold_audit;
        REVOKE SELECT (id, fork_hash, next_hash, proposed_by, approved_by) ON fork_proposals
            FROM bifold_audit;
        REVOKE SELECT (network, asset, tier, low_minor, high_minor, set_by) ON float_bounds
            FROM bifold_audit;
        REVOKE SELECT (network, asset) ON halted_tokens FROM bifold_audit;
        REVOKE SELECT (network, evacuate_to, by_whom) ON network_freezes FROM bifold_audit;
    END IF;
END $$;
