-- Readings of the books against chain and bank, kept; corrections under four eyes; what became of a
-- treasury move; payments that never leave -------------------------------------------------------

-- One reading: everything at one moment. `agrees`: every line explained; `differs`: one is not;
-- `unknown`: nothing differs, and something could not be read.
CREATE TABLE reconcile_runs (
    id text PRIMARY KEY,
    outcome text NOT NULL CHECK (outcome IN ('agrees', 'differs', 'unknown')),
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (ended_at >= started_at)
);
CREATE INDEX reconcile_runs_started_idx ON reconcile_runs (started_at);

-- What was asked: a network at a named block, the bank, the books themselves.
CREATE TABLE reconcile_reads (
    run_id text NOT NULL REFERENCES reconcile_runs (id) ON DELETE CASCADE,
    source text NOT NULL,
    unknown_reason text CHECK (unknown_reason <> ''),
    block_number bigint CHECK (block_number >= 0),
    block_hash text,
    final boolean,
    PRIMARY KEY (run_id, source),
    CHECK ((block_number IS NULL) = (block_hash IS NULL)),
    CHECK ((block_number IS NULL) = (final IS NULL))
);
CREATE INDEX reconcile_reads_source_idx ON reconcile_reads (source, run_id);

-- One account of ours beside the outside's word, minor units, positive where the house owns.
CREATE TABLE reconcile_lines (
    run_id text NOT NULL,
    source text NOT NULL,
    account text NOT NULL,
    asset text NOT NULL,
    ledger_minor numeric(78,0) NOT NULL CHECK (ledger_minor <> 'NaN'),
    outside_minor numeric(78,0) NOT NULL CHECK (outside_minor <> 'NaN'),
    in_flight_minor numeric(78,0) NOT NULL CHECK (in_flight_minor <> 'NaN'),
    difference_minor numeric(78,0) NOT NULL,
    balanced boolean NOT NULL,
    note text NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, account),
    FOREIGN KEY (run_id, source) REFERENCES reconcile_reads (run_id, source) ON DELETE CASCADE,
    CHECK (difference_minor = outside_minor - ledger_minor - in_flight_minor),
    CHECK (NOT balanced OR difference_minor = 0)
);
CREATE INDEX reconcile_lines_account_idx ON reconcile_lines (account, run_id);

-- Readings that agree stay 7 days, the others 90; the first of each kind of every day (UTC) for
-- good. The application deletes none by itself: this function does, a share at a time.
CREATE FUNCTION reconcile_forget(max_rows integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM reconcile_runs WHERE id IN (
            SELECT r.id FROM reconcile_runs r
             WHERE r.started_at < clock_timestamp()
                   - CASE r.outcome WHEN 'agrees' THEN interval '7 days' ELSE interval '90 days' END
               AND EXISTS (
                   SELECT FROM reconcile_runs e
                    WHERE e.outcome = r.outcome
                      AND (e.started_at, e.id) < (r.started_at, r.id)
                      AND e.started_at >= date_trunc('day', r.started_at, 'UTC'))
             ORDER BY r.started_at LIMIT max_rows)
        RETURNING 1)
    SELECT count(*)::integer FROM gone
$$;
REVOKE EXECUTE ON FUNCTION reconcile_forget(integer) FROM PUBLIC;

-- Corrections of the books: proposed by one, posted when another agrees. `document` is what will be
-- posted, to the unit; it never changes.
CREATE TABLE corrections (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('reversal', 'entries')),
    reverses text REFERENCES entries (id),
    document jsonb NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    state text NOT NULL DEFAULT 'proposed' CHECK (state IN ('proposed', 'posted', 'dismissed')),
    proposed_by text NOT NULL CHECK (proposed_by <> ''),
    proposed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_by text CHECK (ended_by <> ''),
    ended_at timestamptz,
    entry_ids text[],
    CHECK ((kind = 'reversal') = (reverses IS NOT NULL)),
    CHECK ((state = 'proposed') = (ended_at IS NULL)),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    CHECK ((state = 'posted') = (entry_ids IS NOT NULL)),
    -- Four eyes: who proposes does not approve.
    CHECK (state <> 'posted' OR ended_by <> proposed_by)
);
CREATE UNIQUE INDEX corrections_reversal_idx ON corrections (reverses) WHERE state = 'proposed';
CREATE INDEX corrections_open_idx ON corrections (proposed_at, id) WHERE state = 'proposed';

CREATE FUNCTION corrections_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state <> 'proposed' OR NEW.id <> OLD.id OR NEW.kind <> OLD.kind
       OR NEW.reverses IS DISTINCT FROM OLD.reverses OR NEW.document <> OLD.document
       OR NEW.reason <> OLD.reason OR NEW.proposed_by <> OLD.proposed_by
       OR NEW.proposed_at <> OLD.proposed_at THEN
        RAISE EXCEPTION 'a correction stays what was proposed, and ends once (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER corrections_immutable BEFORE UPDATE OR DELETE ON corrections
    FOR EACH ROW EXECUTE FUNCTION corrections_keep();

-- A treasury move that the signer refused says so, and every one that did not go through says why.
ALTER TABLE treasury_moves ADD COLUMN reason text;
ALTER TABLE treasury_moves DROP CONSTRAINT treasury_moves_state_check;
ALTER TABLE treasury_moves ADD CONSTRAINT treasury_moves_state_check
    CHECK (state IN ('proposed', 'approved', 'done', 'failed', 'refused', 'dismissed'));

-- Business time at which a payment that no node was given yet is overdue; null for those that were
-- promised before this column was there.
ALTER TABLE chain_intents ADD COLUMN unsent_at timestamptz;
ALTER TABLE chain_intents ALTER COLUMN unsent_at SET DEFAULT bifold_now() + interval '30 minutes';
CREATE INDEX chain_intents_unsent_idx ON chain_intents (network, unsent_at)
    WHERE state IN ('queued', 'allocated', 'signed');

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE ALL ON reconcile_runs, reconcile_reads, reconcile_lines, corrections FROM bifold_app;
        GRANT SELECT, INSERT ON reconcile_runs, reconcile_reads, reconcile_lines TO bifold_app;
        GRANT EXECUTE ON FUNCTION reconcile_forget(integer) TO bifold_app;
        GRANT SELECT ON corrections TO bifold_app;
        GRANT INSERT (id, kind, reverses, document, reason, proposed_by) ON corrections
            TO bifold_app;
        GRANT UPDATE (state, ended_by, ended_at, entry_ids) ON corrections TO bifold_app;
        GRANT UPDATE (reason) ON treasury_moves TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON reconcile_runs, reconcile_reads, reconcile_lines, corrections
            TO bifold_audit;
    END IF;
END $$;
