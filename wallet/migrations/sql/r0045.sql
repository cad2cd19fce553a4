-- r0045: the terms of every asset that was ever listed ------------------------------------------------------
-- Stored amounts are integers: what one unit of them is must not change, nor be forgotten with the networks file.
CREATE TABLE asset_terms (
    code text PRIMARY KEY CHECK (code <> ''),
    kind text NOT NULL CHECK (kind IN ('native', 'token')),
    scale integer NOT NULL CHECK (scale BETWEEN 0 AND 18),
    name text NOT NULL,
    listed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER asset_terms_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON asset_terms
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE ALL ON asset_terms FROM bifold_app;
        GRANT SELECT ON asset_terms TO bifold_app;
        GRANT INSERT (code, kind, scale, name) ON asset_terms TO bifold_app;
    END IF;
END $$;
