-- The independent auditor's own tables: what each run found, and from where the next may go on.
-- It reads as bifold_audit and writes through the two functions below, nothing else; the service can
-- neither write a clean report nor move a checkpoint.
CREATE TABLE audit_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Postings above this one were read; -1: all of them.
    after_posting bigint NOT NULL CHECK (after_posting >= -1),
    -- Up to here nothing can appear any more; null: it was not known.
    settled_posting bigint,
    postings bigint NOT NULL CHECK (postings >= 0),
    findings integer NOT NULL CHECK (findings >= 0),
    seconds numeric(12,3) NOT NULL,
    chains jsonb NOT NULL DEFAULT '[]',
    -- When the service did what follows from it: pauses and cases.
    acted_at timestamptz
);
CREATE INDEX audit_runs_open_idx ON audit_runs (id) WHERE acted_at IS NULL;

CREATE TABLE audit_findings (
    run_id bigint NOT NULL REFERENCES audit_runs (id) ON DELETE CASCADE,
    n integer NOT NULL,
    code text NOT NULL CHECK (code ~ '^[a-z_]{3,60}$'),
    means text NOT NULL,
    subject text NOT NULL,
    network text,
    asset text,
    expected text NOT NULL,
    found text NOT NULL,
    pauses boolean NOT NULL,
    -- The same for the same break in a later run.
    fingerprint text NOT NULL,
    PRIMARY KEY (run_id, n)
);

-- What each account came to at one posting, of the newest run that could say so.
CREATE TABLE audit_checkpoints (
    run_id bigint NOT NULL,
    account_id text NOT NULL,
    upto_posting bigint NOT NULL,
    sum_minor numeric NOT NULL CHECK (sum_minor <> 'NaN'),
    lines bigint NOT NULL CHECK (lines >= 0),
    -- Customers only: the balance after the last of them.
    last_balance_minor numeric,
    PRIMARY KEY (run_id, account_id)
);

-- While an asset is here its withdrawals get no nonce; '*' stands for every asset.
CREATE TABLE audit_pauses (
    asset text PRIMARY KEY,
    run_id bigint NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Breaks that an operator has looked at: they are reported for ever and pause nothing again.
CREATE TABLE audit_accepted (
    fingerprint text PRIMARY KEY,
    code text NOT NULL,
    subject text NOT NULL,
    accepted_by text NOT NULL CHECK (accepted_by <> ''),
    note text NOT NULL CHECK (note <> ''),
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION audit_accepted_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what an operator accepted stays as it was said (%)', OLD.code;
END $$;
CREATE TRIGGER audit_accepted_immutable BEFORE UPDATE OR DELETE ON audit_accepted
    FOR EACH ROW EXECUTE FUNCTION audit_accepted_keep();

-- Keep one report. Runs are forgotten after 90 days; the newest checkpoint never depends on them.
CREATE FUNCTION audit_record(report jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    run bigint;
BEGIN
    DELETE FROM audit_runs WHERE ended_at < clock_timestamp() - interval '90 days';
    INSERT INTO audit_runs
           (started_at, after_posting, settled_posting, postings, findings, seconds, chains)
    SELECT r.started_at, r.after_posting, r.settled_posting, r.postings,
           jsonb_array_length(report->'findings'), r.seconds, r.chains
      FROM jsonb_to_record(report) AS r(started_at timestamptz, after_posting bigint,
           settled_posting bigint, postings bigint, seconds numeric, chains jsonb)
    RETURNING id INTO run;
    INSERT INTO audit_findings (run_id, n, code, means, subject, network, asset, expected, found,
                                pauses, fingerprint)
    SELECT run, f.n, f.item->>'code', f.item->>'means', f.item->>'subject', f.item->>'network',
           f.item->>'asset', f.item->>'expected', f.item->>'found', (f.item->>'pauses')::boolean,
           f.item->>'fingerprint'
      FROM jsonb_array_elements(report->'findings') WITH ORDINALITY AS f(item, n);
    RETURN run;
END $$;

-- What every account comes to at posting `upto`: the checkpoint of run `base` and what came since
-- posting `after`. Only settled postings are summed, which nothing can change any more.
CREATE FUNCTION audit_checkpoint(run bigint, base bigint, after bigint, upto bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    accounts_kept bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM audit_runs r WHERE r.id = run AND r.settled_posting >= upto
                   AND r.after_posting = after) THEN
        RAISE EXCEPTION 'run % did not read that far', run;
    END IF;
    INSERT INTO audit_checkpoints (run_id, account_id, upto_posting, sum_minor, lines,
                                   last_balance_minor)
    SELECT run, coalesce(f.account_id, b.account_id), upto,
           coalesce(b.sum_minor, 0) + coalesce(f.sum_minor, 0),
           coalesce(b.lines, 0) + coalesce(f.lines, 0),
           coalesce(f.last_balance_minor, b.last_balance_minor)
      FROM (SELECT p.account_id, sum(p.amount_minor) AS sum_minor, count(*) AS lines,
                   (array_agg(p.balance_after_minor ORDER BY p.account_seq DESC)
                    FILTER (WHERE p.account_seq IS NOT NULL))[1] AS last_balance_minor
              FROM postings p WHERE p.id > after AND p.id <= upto GROUP BY 1) f
      FULL JOIN (SELECT * FROM audit_checkpoints c WHERE c.run_id = base) b
        ON b.account_id = f.account_id;
    GET DIAGNOSTICS accounts_kept = ROW_COUNT;
    -- The one before stays, for a run that reads it now.
    DELETE FROM audit_checkpoints WHERE run_id NOT IN (run, base);
    RETURN accounts_kept;
END $$;

REVOKE EXECUTE ON FUNCTION audit_record(jsonb), audit_checkpoint(bigint, bigint, bigint, bigint)
    FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE ALL ON audit_runs, audit_findings, audit_checkpoints, audit_pauses, audit_accepted
            FROM bifold_app;
        GRANT SELECT ON audit_runs, audit_findings, audit_pauses, audit_accepted TO bifold_app;
        GRANT UPDATE (acted_at) ON audit_runs TO bifold_app;
        GRANT INSERT, DELETE ON audit_pauses TO bifold_app;
        GRANT INSERT ON audit_accepted TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON audit_runs, audit_findings, audit_checkpoints, audit_pauses, audit_accepted
            TO bifold_audit;
        GRANT EXECUTE ON FUNCTION audit_record(jsonb),
            audit_checkpoint(bigint, bigint, bigint, bigint) TO bifold_audit;
    END IF;
END $$;
