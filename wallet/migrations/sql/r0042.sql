-- r0042: a deposit that was set aside has a way into the books ---------------------------------------------
-- One operator says that it is good and why, another agrees; the coins are looked for on the chain then.
CREATE TABLE deposit_releases (
    id text PRIMARY KEY,
    deposit_id text NOT NULL REFERENCES deposits (id),
    reason text NOT NULL CHECK (reason <> ''),
    state text NOT NULL DEFAULT 'proposed' CHECK (state IN ('proposed', 'released', 'dismissed')),
    proposed_by text NOT NULL CHECK (proposed_by <> ''),
    proposed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_by text CHECK (ended_by <> ''),
    ended_at timestamptz,
    entry_id text UNIQUE REFERENCES entries (id),
    CHECK ((state = 'proposed') = (ended_at IS NULL)),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    CHECK ((state = 'released') = (entry_id IS NOT NULL)),
    -- Four eyes: who proposes does not approve.
    CHECK (state <> 'released' OR ended_by <> proposed_by)
);
CREATE UNIQUE INDEX deposit_releases_open_idx ON deposit_releases (deposit_id) WHERE state <> 'dismissed';

CREATE FUNCTION deposit_releases_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state <> 'proposed'
       OR (NEW.id, NEW.deposit_id, NEW.reason, NEW.proposed_by, NEW.proposed_at)
          IS DISTINCT FROM (OLD.id, OLD.deposit_id, OLD.reason, OLD.proposed_by, OLD.proposed_at) THEN
        RAISE EXCEPTION 'a release stays what was proposed, and ends once (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deposit_releases_immutable BEFORE UPDATE OR DELETE ON deposit_releases
    FOR EACH ROW EXECUTE FUNCTION deposit_releases_keep();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE ALL ON deposit_releases FROM bifold_app;
        GRANT SELECT ON deposit_releases TO bifold_app;
        GRANT INSERT (id, deposit_id, reason, proposed_by) ON deposit_releases TO bifold_operator;
        GRANT UPDATE (state, ended_by, ended_at, entry_id) ON deposit_releases TO bifold_operator;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT (id, deposit_id, state, proposed_by, proposed_at, ended_by, ended_at, entry_id)
            ON deposit_releases TO bifold_audit;
    END IF;
END $$;
