-- The seal: one chain of hashes, right behind the commits, over the books and over what was told -----
-- `docs/ledger.md` ("The seal") states the bytes, so that anybody can compute the chain anew.

-- A value as a netstring ("5:hello,"); NULL is a minus. No two lists of values give the same bytes.
CREATE FUNCTION seal_field(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(octet_length(value)::text || ':' || value || ',', '-');

-- Microseconds since 1970 in UTC. Text, so that an infinite time gets its bytes too.
CREATE FUNCTION seal_moment(value timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN seal_field(trunc(extract(epoch FROM value) * 1000000)::text);

-- What is sealed of an entry: every column of it and of its postings, in the order of their ids.
CREATE VIEW seal_entries AS
    SELECT e.id, convert_to(
           seal_field('entry.1') || seal_field(e.id) || seal_field(e.kind) || seal_field(e.ref)
           || seal_field(e.reverses) || seal_field(e.meta::text) || seal_moment(e.event_at)
           || seal_moment(e.created_at) || coalesce((
              SELECT string_agg(
                     seal_field(p.id::text) || seal_field(p.account_id) || seal_field(p.asset)
                     || seal_field(p.amount_minor::text) || seal_field(p.account_seq::text)
                     || seal_field(p.balance_after_minor::text) || seal_moment(p.created_at),
                     '' ORDER BY p.id)
                FROM postings p WHERE p.entry_id = e.id), ''), 'UTF8') AS content
      FROM entries e;

-- What is sealed of an event: every column.
CREATE VIEW seal_events AS
    SELECT v.seq, convert_to(
           seal_field('event.1') || seal_field(v.seq::text) || seal_field(v.id)
           || seal_field(v.principal_id) || seal_field(v.type) || seal_field(v.ref)
           || seal_field(v.data::text) || seal_moment(v.created_at), 'UTF8') AS content
      FROM events v;

-- What a link adds to the hash before it: its digest (32 bytes), its number and its time.
CREATE FUNCTION seal_tail(digest bytea, seq bigint, sealed_at timestamptz) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
RETURN digest || convert_to(seal_field(seq::text) || seal_moment(sealed_at), 'UTF8');
-- One link; `before` is the hash before it (32 bytes).
CREATE FUNCTION seal_link(before bytea, digest bytea, seq bigint, sealed_at timestamptz) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE RETURN sha256(before || seal_tail(digest, seq, sealed_at));
-- The same as a running aggregate over tails; `start` counts in the first row only.
CREATE FUNCTION seal_step(state bytea, start bytea, tail bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN sha256(coalesce(state, start) || tail);
CREATE AGGREGATE seal_chain (bytea, bytea) (SFUNC = seal_step, STYPE = bytea);

-- `subject`: the entry's id, or the event's `seq`. Row 0 names this instance's chain.
CREATE TABLE seals (
    seq bigint PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('genesis', 'entry', 'event')),
    subject text NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    sealed_at timestamptz NOT NULL,
    CONSTRAINT seals_genesis_is_first CHECK ((seq = 0) = (kind = 'genesis')),
    -- Nothing is sealed twice.
    CONSTRAINT seals_once UNIQUE (subject, kind)
);
CREATE INDEX seals_event_idx ON seals (seq) WHERE kind = 'event';

-- Written in the transaction of the entry, taken by the sealer once it can see it: whoever commits
-- late is sealed late and never passed over.
CREATE TABLE unsealed (entry_id text PRIMARY KEY);

CREATE FUNCTION seal_await() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.unsealed (entry_id) SELECT n.id FROM new_entries n;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_await_seal AFTER INSERT ON entries REFERENCING NEW TABLE AS new_entries
    FOR EACH STATEMENT EXECUTE FUNCTION seal_await();
INSERT INTO unsealed (entry_id) SELECT id FROM entries;

-- Refusals of the database itself -----------------------------------------------------------------
CREATE TRIGGER seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

CREATE FUNCTION seal_check() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    last_seq bigint := -1;
    last_hash bytea := decode(repeat('00', 32), 'hex');
    bad record;
BEGIN
    SELECT s.seq, s.hash INTO last_seq, last_hash FROM seals s
     WHERE s.seq < (SELECT min(n.seq) FROM new_seals n) ORDER BY s.seq DESC LIMIT 1;
    IF NOT FOUND THEN
        last_seq := -1;
        last_hash := decode(repeat('00', 32), 'hex');
    END IF;
    SELECT l.seq, l.due, l.hash <> seal_link(l.before, l.digest, l.seq, l.sealed_at) AS torn INTO bad
      FROM (SELECT n.seq, n.digest, n.hash, n.sealed_at,
                   coalesce(lag(n.seq) OVER w, last_seq) + 1 AS due,
                   coalesce(lag(n.hash) OVER w, last_hash) AS before
              FROM new_seals n WINDOW w AS (ORDER BY n.seq)) l
     WHERE l.seq <> l.due OR l.hash <> seal_link(l.before, l.digest, l.seq, l.sealed_at)
     ORDER BY l.seq LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = CASE WHEN bad.seq <> bad.due THEN 'BF008' ELSE 'BF009' END,
            MESSAGE = CASE WHEN bad.seq <> bad.due
                THEN format('seal %s does not follow; %s is due', bad.seq, bad.due)
                ELSE format('seal %s does not continue the chain', bad.seq) END;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER seals_linked AFTER INSERT ON seals REFERENCING NEW TABLE AS new_seals
    FOR EACH STATEMENT EXECUTE FUNCTION seal_check();

CREATE FUNCTION events_check() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    first_seq bigint;
    last_seq bigint;
    many bigint;
    due bigint;
BEGIN
    SELECT min(n.seq), max(n.seq), count(*) INTO first_seq, last_seq, many FROM new_events n;
    SELECT coalesce(max(v.seq), 0) + 1 INTO due FROM events v WHERE v.seq < first_seq;
    IF many > 0 AND (first_seq <> due OR last_seq - first_seq + 1 <> many) THEN
        RAISE EXCEPTION USING ERRCODE = 'BF008',
            MESSAGE = format('events %s to %s do not follow; %s is due', first_seq, last_seq, due);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER events_in_order AFTER INSERT ON events REFERENCING NEW TABLE AS new_events
    FOR EACH STATEMENT EXECUTE FUNCTION events_check();

-- The chain begins. Its name is chance: no two instances have the same chain.
INSERT INTO seals (seq, kind, subject, digest, hash, sealed_at)
SELECT 0, 'genesis', g.name, g.digest,
       seal_link(decode(repeat('00', 32), 'hex'), g.digest, 0, g.at), g.at
  FROM (SELECT n.name, n.at,
               sha256(convert_to(seal_field('genesis.1') || seal_field(n.name), 'UTF8')) AS digest
          FROM (SELECT gen_random_uuid()::text AS name, clock_timestamp() AS at) n) g;

-- The two writers ----------------------------------------------------------------------------------
-- Seal what waits and can be seen: entries (at most `max_rows`), then events (as many). Answers how
-- many links were made. Two at once wait for each other at row 0, so that the order is one.
CREATE FUNCTION seal(max_rows integer) RETURNS integer
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
    content AS (
        SELECT 'entry' AS kind, t.entry_id AS subject, 0::bigint AS place, sha256(c.content) AS digest
          FROM taken t JOIN seal_entries c ON c.id = t.entry_id
         UNION ALL
        (SELECT 'event', c.seq::text, c.seq, sha256(c.content) FROM seal_events c
          WHERE c.seq > coalesce(last_event, 0) ORDER BY c.seq LIMIT max_rows)),
    placed AS (
        SELECT c.kind, c.subject, c.digest,
               last_seq + row_number() OVER (ORDER BY c.place, c.subject) AS seq FROM content c)
    INSERT INTO seals (seq, kind, subject, digest, hash, sealed_at)
    SELECT p.seq, p.kind, p.subject, p.digest,
           seal_chain(last_hash, seal_tail(p.digest, p.seq, this_moment)) OVER (ORDER BY p.seq),
           this_moment
      FROM placed p ORDER BY p.seq;
    GET DIAGNOSTICS sealed = ROW_COUNT;
    RETURN sealed;
END $$;

-- Move promises to events under the next numbers, one id of `ids` each; answers what was told to
-- whom. One at a time: a second one waits here, then finds what is left.
CREATE FUNCTION events_publish(ids text[]) RETURNS TABLE (seq bigint, principal_id text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    last_event bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('events_publish', 0));
    SELECT coalesce(max(v.seq), 0) INTO last_event FROM events v;
    RETURN QUERY
    WITH taken AS (
        DELETE FROM outbox o WHERE o.id = ANY (ARRAY(
            SELECT w.id FROM outbox w ORDER BY w.id LIMIT cardinality(ids))) RETURNING o.*),
    numbered AS (SELECT t.*, row_number() OVER (ORDER BY t.id) AS n FROM taken t)
    INSERT INTO events AS v (seq, id, principal_id, type, ref, data, created_at)
    SELECT last_event + r.n, i.id, r.principal_id, r.type, r.ref, r.data, r.created_at
      FROM numbered r JOIN unnest(ids) WITH ORDINALITY i(id, n) ON i.n = r.n ORDER BY r.n
    RETURNING v.seq, v.principal_id;
END $$;

-- Rights: everybody may read the chain and compute it anew; only the two functions write. ------------
REVOKE EXECUTE ON FUNCTION seal(integer), events_publish(text[]) FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE ALL ON seals, unsealed, seal_entries, seal_events, events FROM bifold_app;
        GRANT SELECT ON seals, unsealed, seal_entries, seal_events, events TO bifold_app;
        GRANT EXECUTE ON FUNCTION seal(integer), events_publish(text[]) TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON seals, unsealed, seal_entries, seal_events TO bifold_audit;
    END IF;
END $$;
