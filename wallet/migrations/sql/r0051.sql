-- The operator log: what changed in the rows that people decide about, by whom, sealed ---------------
-- Written by triggers alone, in the transaction of the change: no code can forget it, and no role but
-- the owner of the tables can write it. Which rows: at the end of this file; docs/security.md.

CREATE TABLE operator_log (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    role text NOT NULL DEFAULT session_user,
    actor text CHECK (length(actor) <= 200),
    action text NOT NULL CHECK (action IN ('baseline', 'insert', 'update', 'delete')),
    object text NOT NULL,
    object_id text NOT NULL,
    -- The seal reads a line as one text, and could never pass one that is longer than a text may be.
    fields jsonb NOT NULL CHECK (octet_length(fields::text) <= 65536)
);
CREATE INDEX operator_log_object_idx ON operator_log (object, object_id, seq);
CREATE TRIGGER operator_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_log
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

-- Lines that wait for their seal, as `unsealed` has entries.
CREATE TABLE unsealed_log (seq bigint PRIMARY KEY);
CREATE FUNCTION operator_log_await() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.unsealed_log (seq) SELECT n.seq FROM new_lines n;
    RETURN NULL;
END $$;
CREATE TRIGGER operator_log_awaits_seal AFTER INSERT ON operator_log REFERENCING NEW TABLE AS new_lines
    FOR EACH STATEMENT EXECUTE FUNCTION operator_log_await();

-- A row's key as text, and those of its columns that are kept.
CREATE FUNCTION operator_log_id(line jsonb, keys text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (SELECT string_agg(line ->> k.name, '/' ORDER BY k.place)
          FROM unnest(string_to_array(keys, ' ')) WITH ORDINALITY AS k(name, place));
CREATE FUNCTION operator_log_fields(line jsonb, columns text) RETURNS jsonb LANGUAGE sql IMMUTABLE
RETURN (SELECT coalesce(jsonb_object_agg(c.name, line -> c.name), '{}')
          FROM unnest(string_to_array(columns, ' ')) AS c(name));

-- TG_ARGV: the key's columns, those that are kept. `bifold.actor` is the name an operator gave.
CREATE FUNCTION operator_log_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    -- No column but those: one that is longer than JSON can be would refuse what an operator does here.
    kept text := 'SELECT to_jsonb(k) FROM (SELECT ' || (
        SELECT string_agg(format('($1).%I', c.name), ', ')
          FROM unnest(string_to_array(rtrim(TG_ARGV[0] || ' ' || TG_ARGV[1]), ' ')) AS c(name)) || ') k';
    line jsonb;
    old_id text;
    new_id text;
    old_fields jsonb;
    new_fields jsonb;
    actor text := nullif(current_setting('bifold.actor', true), '');
BEGIN
    IF TG_OP <> 'INSERT' THEN
        EXECUTE kept INTO line USING OLD;
        old_id := operator_log_id(line, TG_ARGV[0]);
        old_fields := operator_log_fields(line, TG_ARGV[1]);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE kept INTO line USING NEW;
        new_id := operator_log_id(line, TG_ARGV[0]);
        new_fields := operator_log_fields(line, TG_ARGV[1]);
    END IF;
    IF old_id = new_id AND old_fields = new_fields THEN
        RETURN NULL;
    END IF;
    IF old_id IS DISTINCT FROM new_id AND old_id IS NOT NULL THEN
        INSERT INTO operator_log (actor, action, object, object_id, fields)
        VALUES (actor, 'delete', TG_TABLE_NAME, old_id, old_fields);
    END IF;
    IF new_id IS NOT NULL THEN
        INSERT INTO operator_log (actor, action, object, object_id, fields)
        VALUES (actor, CASE WHEN old_id = new_id THEN 'update' ELSE 'insert' END, TG_TABLE_NAME,
                new_id, new_fields);
    END IF;
    RETURN NULL;
END $$;

-- The seal takes them ------------------------------------------------------------------------------
ALTER TABLE seals DROP CONSTRAINT seals_kind_check;
ALTER TABLE seals ADD CONSTRAINT seals_kind_check CHECK (kind IN ('genesis', 'entry', 'event', 'log'))
    NOT VALID;
ALTER TABLE seals VALIDATE CONSTRAINT seals_kind_check;

-- What it could not read as one text would stop it for ever, as neither an entry nor an event goes
-- away again. JSON of at most 2,000 bytes as stored, compressed or not, is short enough, and its text
-- is not made for that. (As in r0031, and this.)
CREATE OR REPLACE FUNCTION seal_await() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM new_entries n
                WHERE octet_length(concat(n.kind, n.ref)) > 1048576
                   OR CASE WHEN pg_column_size(n.meta) > 2000
                           THEN octet_length(n.meta::text) > 1048576 END) THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded',
            MESSAGE = 'an entry is longer than the seal reads';
    END IF;
    INSERT INTO public.unsealed (entry_id, posted)
    SELECT n.id, (SELECT true FROM public.postings p WHERE p.entry_id = n.id LIMIT 1) IS NOT NULL
      FROM new_entries n;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION check_principals() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing text;
BEGIN
    IF TG_TABLE_NAME = 'outbox' THEN
        IF EXISTS (SELECT FROM new_rows n
                    WHERE octet_length(concat(n.type, n.ref)) > 1048576
                       OR CASE WHEN pg_column_size(n.data) > 2000
                               THEN octet_length(n.data::text) > 1048576 END) THEN
            RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded',
                MESSAGE = 'an event is longer than the seal reads';
        END IF;
    END IF;
    SELECT n.principal_id INTO missing FROM new_rows n
     WHERE n.principal_id IS NOT NULL
       AND NOT EXISTS (SELECT FROM public.principals p WHERE p.id = n.principal_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '23503',
            MESSAGE = format('%s names principal %s, who does not exist', TG_TABLE_NAME, missing);
    END IF;
    RETURN NULL;
END $$;

CREATE VIEW seal_log AS
    SELECT o.seq, convert_to(
           seal_field('log.1') || seal_field(o.seq::text) || seal_moment(o.at) || seal_field(o.role)
           || seal_field(o.actor) || seal_field(o.action) || seal_field(o.object)
           || seal_field(o.object_id) || seal_field(o.fields::text), 'UTF8') AS content
      FROM operator_log o;

-- As in r0025, and the log's lines behind the entries.
CREATE OR REPLACE FUNCTION seal(max_rows integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
-- The planner cannot know how few wait, and would read the books whole.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    last_seq bigint;
    last_hash bytea;
    last_event bigint;
    this_moment timestamptz;
    sealed integer;
BEGIN
    PERFORM 1 FROM seals WHERE seq = 0 FOR UPDATE;
    -- From here on each statement sees what the sealer before us has committed.
    SELECT s.seq, s.hash INTO STRICT last_seq, last_hash FROM seals s ORDER BY s.seq DESC LIMIT 1;
    SELECT s.subject::bigint INTO last_event FROM seals s WHERE s.kind = 'event'
     ORDER BY s.seq DESC LIMIT 1;
    this_moment := clock_timestamp();
    WITH taken AS (
        DELETE FROM unsealed u WHERE u.entry_id = ANY (ARRAY(
            SELECT w.entry_id FROM unsealed w ORDER BY w.entry_id LIMIT max_rows))
        RETURNING u.entry_id),
    taken_lines AS (
        DELETE FROM unsealed_log u WHERE u.seq = ANY (ARRAY(
            SELECT w.seq FROM unsealed_log w ORDER BY w.seq LIMIT max_rows))
        RETURNING u.seq),
    content AS (
        SELECT 'entry' AS kind, 0 AS turn, 0::bigint AS place, t.entry_id AS subject,
               sha256(c.content) AS digest
          FROM taken t JOIN seal_entries c ON c.id = t.entry_id
         UNION ALL
        SELECT 'log', 1, c.seq, c.seq::text, sha256(c.content)
          FROM taken_lines t JOIN seal_log c ON c.seq = t.seq
         UNION ALL
        (SELECT 'event', 2, c.seq, c.seq::text, sha256(c.content) FROM seal_events c
          WHERE c.seq > coalesce(last_event, 0) ORDER BY c.seq LIMIT max_rows)),
    placed AS (
        SELECT c.kind, c.subject, c.digest,
               last_seq + row_number() OVER (ORDER BY c.turn, c.place, c.subject) AS seq
          FROM content c)
    INSERT INTO seals (seq, kind, subject, digest, hash, sealed_at)
    SELECT p.seq, p.kind, p.subject, p.digest,
           seal_chain(last_hash, seal_tail(p.digest, p.seq, this_moment)) OVER (ORDER BY p.seq),
           this_moment
      FROM placed p ORDER BY p.seq;
    GET DIAGNOSTICS sealed = ROW_COUNT;
    RETURN sealed;
END $$;

-- Whose rows are kept ------------------------------------------------------------------------------
-- No times, which are the log's own, and no words that somebody wrote. Of an account only that it was
-- stopped or opened: its other columns are the books'. The auditor has the same list (rooms/oplog.py).
-- The trigger comes first: it waits for whoever is writing, so that the rows read after it are all.
-- Accounts come first: who has posted, and writes here after it, is waited for while nothing is locked.
DO $$
DECLARE
    kept record;
    moves text;
BEGIN
    FOR kept IN SELECT * FROM (VALUES
        ('accounts', 'id', 'status'),
        ('audit_accepted', 'fingerprint', 'code subject accepted_by'),
        ('audit_pauses', 'asset', 'run_id'),
        ('bank_references', 'principal_id', 'reference'),
        ('bank_strays', 'id', 'principal_id proposed_by approved_by'),
        ('cases', 'id', 'kind subject_type subject network asset status closed_by'),
        ('chain_approvals', 'intent_id operator', 'by_whom'),
        ('chain_signers', 'network address', 'role deposit_index halted_reason'),
        ('corrections', 'id', 'kind reverses state proposed_by ended_by'),
        ('deposit_addresses', 'id', 'principal_id network derivation_index address'),
        ('deposit_losses', 'id', 'bearer bearer_proposed_by bearer_approved_by'),
        ('deposit_releases', 'id', 'deposit_id state proposed_by ended_by'),
        ('float_bounds', 'network asset tier', 'low_minor high_minor set_by'),
        ('fork_proposals', 'id', 'network fork_number fork_hash next_hash proposed_by approved_by'),
        ('gateway_resolutions', 'id', 'gateway reference kind deed state proposed_by ended_by principal_id'),
        ('halted_tokens', 'network asset', ''),
        ('house_addresses', 'network address', 'place'),
        ('network_freezes', 'network', 'evacuate_to by_whom'),
        ('network_state', 'network', 'halted_reason'),
        ('treasury_moves', 'id',
         'network asset kind to_address amount_minor state proposed_by approved_by intent_id'),
        ('unattributed_arrivals', 'id', 'principal_id tx_hash proposed_by approved_by')
    ) AS k(relation, keys, columns) LOOP
        moves := array_to_string(string_to_array(kept.keys || coalesce(' ' || nullif(kept.columns, ''), ''), ' '), ', ');
        EXECUTE format(
            'CREATE TRIGGER %1$s_logged AFTER %2$s UPDATE OF %3$s ON %1$I FOR EACH ROW'
            ' EXECUTE FUNCTION operator_log_write(%4$L, %5$L)',
            kept.relation,
            CASE WHEN kept.relation = 'accounts' THEN '' ELSE 'INSERT OR DELETE OR' END,
            CASE WHEN kept.relation = 'accounts' THEN 'status' ELSE moves END, kept.keys, kept.columns);
        EXECUTE format(
            'INSERT INTO operator_log (action, object, object_id, fields)'
            ' SELECT ''baseline'', %1$L, operator_log_id(to_jsonb(t), %2$L), operator_log_fields(to_jsonb(t), %3$L)'
            ' FROM %1$I t WHERE %4$s ORDER BY 3',
            kept.relation, kept.keys, kept.columns,
            CASE WHEN kept.relation = 'accounts' THEN 't.status <> ''open''' ELSE 'true' END);
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION operator_log_write() FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE ALL ON operator_log, unsealed_log, seal_log FROM bifold_app;
        REVOKE ALL ON SEQUENCE operator_log_seq_seq FROM bifold_app;
        GRANT SELECT ON operator_log, unsealed_log, seal_log TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON operator_log, unsealed_log TO bifold_audit;
        GRANT SELECT (fingerprint, code, subject, accepted_by) ON audit_accepted TO bifold_audit;
        GRANT SELECT (asset, run_id) ON audit_pauses TO bifold_audit;
        GRANT SELECT (id, kind, subject_type, subject, network, asset, status, closed_by) ON cases
            TO bifold_audit;
        GRANT SELECT (id, network, fork_number, fork_hash, next_hash, proposed_by, approved_by)
            ON fork_proposals TO bifold_audit;
        GRANT SELECT (network, asset, tier, low_minor, high_minor, set_by) ON float_bounds TO bifold_audit;
        GRANT SELECT (network, asset) ON halted_tokens TO bifold_audit;
        GRANT SELECT (network, evacuate_to, by_whom) ON network_freezes TO bifold_audit;
    END IF;
END $$;
