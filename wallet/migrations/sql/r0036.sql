-- A line of a bank's statement that makes no sense is kept aside by its name ------------------------------
-- Nothing is booked for it; the reader goes on behind it. `account`: the asset whose statement was asked
-- for, whatever the line says; `said`: each field as it came, in print.
CREATE TABLE bank_lines_aside (
    bank text NOT NULL,
    account text NOT NULL,
    line_id bigint NOT NULL CHECK (line_id > 0),
    said jsonb NOT NULL,
    problem text NOT NULL CHECK (problem <> ''),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    PRIMARY KEY (bank, account, line_id)
);

-- Differences between the books and the card gateway's own list, by reference: one operator says that the
-- list is right and why, another agrees, and the books follow it. The amounts are the list's and the books'.
-- `deed`: the credit or the charge-back that the worker would have made, or an entry of the difference
-- (`gateway.resolved`). `principal_id`: who has it or bears it; null: nobody, it is in `unattributed`.
CREATE TABLE gateway_resolutions (
    id text PRIMARY KEY,
    gateway text NOT NULL,
    reference text NOT NULL REFERENCES topups (id),
    asset text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('not_credited', 'not_listed', 'other_amount', 'not_charged_back')),
    deed text NOT NULL CHECK (deed IN ('credit', 'charge_back', 'adjust')),
    listed_minor numeric(78,0) NOT NULL CHECK (listed_minor <> 'NaN'),
    booked_minor numeric(78,0) NOT NULL CHECK (booked_minor <> 'NaN'),
    through_line bigint NOT NULL CHECK (through_line >= 0),  -- the newest of its lines; 0: it has none
    reason text NOT NULL CHECK (reason <> ''),
    state text NOT NULL DEFAULT 'proposed' CHECK (state IN ('proposed', 'posted', 'dismissed')),
    proposed_by text NOT NULL CHECK (proposed_by <> ''),
    proposed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_by text CHECK (ended_by <> ''),
    ended_at timestamptz,
    principal_id text REFERENCES principals (id),
    entry_id text UNIQUE REFERENCES entries (id),
    CHECK (listed_minor <> booked_minor),
    CHECK ((state = 'proposed') = (ended_at IS NULL)),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    CHECK ((state = 'posted') = (entry_id IS NOT NULL)),
    CHECK (state = 'posted' OR principal_id IS NULL),
    -- Four eyes: who proposes does not approve.
    CHECK (state <> 'posted' OR ended_by <> proposed_by)
);
CREATE UNIQUE INDEX gateway_resolutions_open_idx ON gateway_resolutions (gateway, reference, asset)
    WHERE state = 'proposed';
CREATE INDEX gateway_resolutions_posted_idx ON gateway_resolutions (reference) WHERE state = 'posted';

CREATE FUNCTION gateway_resolutions_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state <> 'proposed'
       OR (NEW.id, NEW.gateway, NEW.reference, NEW.asset, NEW.kind, NEW.deed, NEW.listed_minor,
           NEW.booked_minor, NEW.through_line, NEW.reason, NEW.proposed_by, NEW.proposed_at)
          IS DISTINCT FROM (OLD.id, OLD.gateway, OLD.reference, OLD.asset, OLD.kind, OLD.deed,
           OLD.listed_minor, OLD.booked_minor, OLD.through_line, OLD.reason, OLD.proposed_by, OLD.proposed_at) THEN
        RAISE EXCEPTION 'a resolution stays what was proposed, and ends once (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER gateway_resolutions_immutable BEFORE UPDATE OR DELETE ON gateway_resolutions
    FOR EACH ROW EXECUTE FUNCTION gateway_resolutions_keep();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE ALL ON bank_lines_aside, gateway_resolutions FROM bifold_app;
        GRANT SELECT ON bank_lines_aside, gateway_resolutions TO bifold_app;
        GRANT INSERT (bank, account, line_id, said, problem) ON bank_lines_aside TO bifold_app;
        GRANT INSERT (id, gateway, reference, asset, kind, deed, listed_minor, booked_minor,
            through_line, reason, proposed_by) ON gateway_resolutions TO bifold_operator;
        GRANT UPDATE (state, ended_by, ended_at, principal_id, entry_id) ON gateway_resolutions
            TO bifold_operator;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT (bank, account, line_id, problem, created_at) ON bank_lines_aside TO bifold_audit;
        GRANT SELECT (id, gateway, reference, asset, kind, deed, listed_minor, booked_minor, through_line, state,
            proposed_by, proposed_at, ended_by, ended_at, principal_id, entry_id)
            ON gateway_resolutions TO bifold_audit;
    END IF;
END $$;
