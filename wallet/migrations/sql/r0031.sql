-- The books, lighter ----------------------------------------------------------------------------------
-- A foreign key looks up, and locks, the row that each new row names. On the hottest tables the statement
-- is asked as a whole instead; in return nothing that may be named can vanish or change its id.
CREATE FUNCTION refuse_to_vanish() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'BF001',
        MESSAGE = format('a row of %s keeps its id and is never deleted', TG_TABLE_NAME);
END $$;
CREATE TRIGGER accounts_stay BEFORE DELETE OR TRUNCATE OR UPDATE OF id ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_vanish();
CREATE TRIGGER principals_stay BEFORE DELETE OR TRUNCATE OR UPDATE OF id ON principals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_vanish();

ALTER TABLE postings DROP CONSTRAINT postings_account_id_fkey, DROP CONSTRAINT postings_entry_id_fkey;
-- Scalar sub-selects, not EXISTS: the planner would gather the whole table for those.
CREATE OR REPLACE FUNCTION ledger_check_postings() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bad record;
BEGIN
    SELECT o.entry_id, o.written, o.known, t.asset, t.total INTO bad
      FROM (SELECT n.entry_id, count(*) AS written,
                   (SELECT true FROM public.entries e WHERE e.id = n.entry_id) AS known
              FROM new_postings n GROUP BY n.entry_id) o
      LEFT JOIN (SELECT n.entry_id, n.asset, sum(n.amount_minor) AS total
              FROM new_postings n GROUP BY n.entry_id, n.asset
            HAVING sum(n.amount_minor) <> 0) t ON t.entry_id = o.entry_id
     WHERE t.total <> 0 OR o.known IS NULL OR o.written
           <> (SELECT count(*) FROM public.postings p WHERE p.entry_id = o.entry_id) LIMIT 1;
    IF FOUND AND bad.total <> 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'BF002',
            MESSAGE = format('entry %s is off by %s %s', bad.entry_id, bad.total, bad.asset);
    ELSIF FOUND AND bad.known IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '23503',
            MESSAGE = format('there is no entry %s', bad.entry_id);
    ELSIF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'BF003',
            MESSAGE = format('entry %s already has its postings', bad.entry_id);
    END IF;
    SELECT n.account_id, n.asset, n.amount_minor, a.asset AS account_asset, a.status INTO bad
      FROM new_postings n LEFT JOIN public.accounts a ON a.id = n.account_id
     WHERE a.id IS NULL OR a.asset <> n.asset OR a.status = 'closed'
        OR (a.status = 'frozen' AND n.amount_minor < 0 AND -n.amount_minor > coalesce((
            SELECT sum(c.amount_minor) FROM public.hold_captures c
             WHERE c.entry_id = n.entry_id AND c.account_id = n.account_id), 0)) LIMIT 1;
    IF FOUND AND bad.status IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '23503',
            MESSAGE = format('there is no account %s', bad.account_id);
    ELSIF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = CASE WHEN bad.asset <> bad.account_asset THEN 'BF004'
                           WHEN bad.status = 'closed' THEN 'BF005' ELSE 'BF006' END,
            MESSAGE = format('account %s (%s, %s) refuses %s %s', bad.account_id,
                             bad.account_asset, bad.status, bad.amount_minor, bad.asset);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION check_principals() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing text;
BEGIN
    SELECT n.principal_id INTO missing FROM new_rows n
     WHERE n.principal_id IS NOT NULL
       AND NOT EXISTS (SELECT FROM public.principals p WHERE p.id = n.principal_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '23503',
            MESSAGE = format('%s names principal %s, who does not exist', TG_TABLE_NAME, missing);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION check_transfer_principals() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing text;
BEGIN
    SELECT n.id INTO missing FROM new_rows n
     WHERE (SELECT p.id FROM public.principals p WHERE p.id = n.payer_id) IS NULL
        OR (SELECT p.id FROM public.principals p WHERE p.id = n.payee_id) IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '23503',
            MESSAGE = format('transfer %s names a principal who does not exist', missing);
    END IF;
    RETURN NULL;
END $$;
ALTER TABLE transfers DROP CONSTRAINT transfers_payee_id_fkey, DROP CONSTRAINT transfers_payer_id_fkey;
CREATE TRIGGER transfers_have_principals AFTER INSERT ON transfers REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION check_transfer_principals();
ALTER TABLE idempotency_answers DROP CONSTRAINT idempotency_answers_principal_id_fkey;
CREATE TRIGGER answers_have_principals AFTER INSERT ON idempotency_answers
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION check_principals();
ALTER TABLE outbox DROP CONSTRAINT outbox_principal_id_fkey;
CREATE TRIGGER outbox_has_principals AFTER INSERT ON outbox REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION check_principals();

-- Most entries reverse nothing: they need no line in that index.
ALTER TABLE entries DROP CONSTRAINT entries_reverses_key;
CREATE UNIQUE INDEX entries_reverses_key ON entries (reverses) WHERE reverses IS NOT NULL;

-- An entry whose postings come with it, in one statement, is known to have them; another one is looked
-- at when its transaction commits, as before.
ALTER TABLE unsealed ADD COLUMN posted boolean NOT NULL DEFAULT false;
DROP TRIGGER entries_have_postings ON entries;
CREATE OR REPLACE FUNCTION ledger_check_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM public.postings WHERE entry_id = NEW.entry_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'BF007',
            MESSAGE = format('entry %s has no postings', NEW.entry_id);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER entries_have_postings AFTER INSERT ON unsealed
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NOT NEW.posted)
    EXECUTE FUNCTION ledger_check_entry();
CREATE OR REPLACE FUNCTION seal_await() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.unsealed (entry_id, posted)
    SELECT n.id, (SELECT true FROM public.postings p WHERE p.entry_id = n.id LIMIT 1) IS NOT NULL
      FROM new_entries n;
    RETURN NULL;
END $$;

-- The poster: an entry comes with its postings; what the judges computed is not computed again. What an
-- entry captures of a hold is written before it, for the checks on its postings.
ALTER TABLE hold_captures ALTER CONSTRAINT hold_captures_entry_id_fkey DEFERRABLE INITIALLY DEFERRED;
ALTER TYPE ledger_line ADD ATTRIBUTE seq bigint, ADD ATTRIBUTE balance numeric;
CREATE OR REPLACE FUNCTION ledger_post_run(commands jsonb, start integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    total integer := jsonb_array_length(commands);
    stop integer := total;
    lines ledger_line[];
    holding boolean := jsonb_path_exists(commands, '$[*].close[*]');
    opening boolean := jsonb_path_exists(commands, '$[*].open.id');
    odd integer;
BEGIN
    -- Shape: what this path does not know goes alone.
    SELECT min(c.n) INTO odd FROM (
        SELECT o.ordinality::integer - 1 AS n, o.value AS body
          FROM jsonb_array_elements(commands) WITH ORDINALITY o WHERE o.ordinality > start) c
     WHERE (c.body ? 'entry') <> coalesce(jsonb_array_length(c.body->'postings') > 0, false)
        OR c.body->'entry'->>'reverses' IS NOT NULL;
    stop := least(stop, odd);
    IF holding THEN
        stop := least(stop, ledger_odd_closing(commands, start));
    END IF;
    IF stop <= start THEN RETURN start; END IF;

    WITH command AS MATERIALIZED (
        SELECT o.ordinality::integer - 1 AS n, o.value AS body
          FROM jsonb_array_elements(commands) WITH ORDINALITY o
         WHERE o.ordinality BETWEEN start + 1 AND stop),
    part AS (
        SELECT c.n, c.body->'entry'->>'id' AS entry, p.account, p.asset, p.amount, 0 AS held,
               0 AS captured
          FROM command c, jsonb_to_recordset(c.body->'postings')
            AS p(account text, asset text, amount numeric)
        UNION ALL
        SELECT c.n, NULL, o.account, o.asset, 0, o.amount, 0
          FROM command c, jsonb_to_record(c.body->'open')
            AS o(account text, asset text, amount numeric)
         WHERE opening AND c.body ? 'open'
        UNION ALL
        SELECT c.n, NULL, h.account_id, h.asset, 0, -(k.capture + k.release), k.capture
          FROM command c, jsonb_to_recordset(c.body->'close')
            AS k(hold text, capture numeric, release numeric) JOIN holds h ON h.id = k.hold
         WHERE holding),
    line AS (
        SELECT p.n, max(p.entry) AS entry, p.account, min(p.asset) AS asset,
               sum(p.amount) AS amount, sum(p.held) AS held, sum(p.captured) AS captured,
               count(p.entry) AS postings,
               min(p.asset) <> max(p.asset) OR bool_or(p.asset IS NULL)
                   OR bool_or(p.entry IS NOT NULL AND (p.amount IS NULL
                       OR abs(p.amount) NOT BETWEEN 1 AND 1e78 - 1 OR p.amount <> trunc(p.amount)))
                   OR bool_or(p.entry IS NULL AND p.held >= 0 AND p.captured = 0
                       AND (p.held NOT BETWEEN 1 AND 1e78 - 1 OR p.held <> trunc(p.held)))
                   OR bool_or(p.held IS NULL) AS malformed
          FROM part p GROUP BY p.n, p.account),
    judged AS (
        SELECT l.n, l.entry, l.account, l.asset, l.amount, l.held, a.kind,
               a.posting_count + count(l.entry) OVER w AS seq,
               a.balance_minor + sum(l.amount) OVER w AS balance,
               a.id IS NULL OR a.status <> 'open' OR a.asset <> l.asset OR l.postings > 1
                   OR l.malformed OR (a.kind = 'system' AND l.held <> 0)
                   OR (l.captured <> 0 AND l.captured <> -l.amount)
                   OR (a.kind = 'customer' AND a.balance_minor - a.held_minor
                       + sum(l.amount - l.held) OVER w < 0) AS odd
          FROM line l LEFT JOIN accounts a ON a.id = l.account
        WINDOW w AS (PARTITION BY l.account ORDER BY l.n)),
    off AS (
        SELECT j.n FROM judged j WHERE j.entry IS NOT NULL
         GROUP BY j.n, j.asset HAVING sum(j.amount) <> 0)
    SELECT least((SELECT min(j.n) FROM judged j WHERE j.odd IS NOT FALSE),
                 (SELECT min(f.n) FROM off f)),
           (SELECT array_agg(ROW(j.n, j.entry, j.account, j.asset, j.amount, j.held,
                                 j.kind, CASE WHEN j.kind = 'customer' THEN j.seq END,
                                 CASE WHEN j.kind = 'customer' THEN j.balance END)::ledger_line ORDER BY j.n, j.account) FROM judged j)
      INTO odd, lines;
    stop := least(stop, odd);
    IF stop <= start THEN RETURN start; END IF;
    PERFORM ledger_apply_run(commands, start, stop, lines, holding, opening);
    RETURN stop;
END $$;

CREATE OR REPLACE FUNCTION ledger_apply_run(commands jsonb, start integer, stop integer, lines ledger_line[],
                                 holding boolean, opening boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    run jsonb[] := ARRAY(SELECT o.value FROM jsonb_array_elements(commands) WITH ORDINALITY o
                          WHERE o.ordinality BETWEEN start + 1 AND stop ORDER BY o.ordinality);
    this_moment timestamptz := bifold_now();
BEGIN
    IF holding THEN
        INSERT INTO hold_captures (hold_id, entry_id, account_id, amount_minor)
        SELECT k.hold, c.body->'entry'->>'id', h.account_id, k.capture
          FROM unnest(run) c(body), jsonb_to_recordset(c.body->'close')
            AS k(hold text, capture numeric, release numeric) JOIN holds h ON h.id = k.hold
         WHERE k.capture > 0;
        UPDATE holds h
           SET captured_minor = h.captured_minor + t.capture,
               released_minor = h.released_minor + t.release,
               status = CASE WHEN t.whole THEN 'closed' ELSE 'open' END,
               closed_at = CASE WHEN t.whole THEN this_moment END
          FROM (SELECT b.id, sum(k.capture) AS capture, sum(k.release) AS release,
                       min(b.captured_minor + b.released_minor) + sum(k.capture + k.release)
                           = min(b.amount_minor) AS whole
                  FROM unnest(run) c(body), jsonb_to_recordset(c.body->'close')
                    AS k(hold text, capture numeric, release numeric) JOIN holds b ON b.id = k.hold
                 GROUP BY b.id) t
         WHERE h.id = t.id;
    END IF;

    WITH line AS MATERIALIZED (SELECT * FROM unnest(lines) l WHERE l.n < stop),
    entry AS (
        INSERT INTO entries (id, kind, ref, meta, event_at)
        SELECT e.id, e.kind, e.ref, coalesce(e.meta, '{}'), coalesce(e.event_at, this_moment)
          FROM unnest(run) WITH ORDINALITY c(body, n), jsonb_to_record(c.body->'entry')
            AS e(id text, kind text, ref text, meta jsonb, event_at timestamptz)
         WHERE c.body ? 'entry' ORDER BY c.n),
    moved AS (
        UPDATE accounts a
           SET balance_minor = a.balance_minor + t.amount, held_minor = a.held_minor + t.held,
               posting_count = a.posting_count + t.postings
          FROM (SELECT l.account, sum(l.amount) AS amount, sum(l.held) AS held,
                       count(l.entry) AS postings
                  FROM line l WHERE l.kind = 'customer' GROUP BY l.account) t
         WHERE a.id = t.account),
    deltas AS (
        INSERT INTO account_deltas (account_id, amount_minor, lines)
        SELECT l.account, sum(l.amount), count(*) FROM line l
         WHERE l.kind = 'system' AND l.entry IS NOT NULL GROUP BY l.account)
    INSERT INTO postings
           (entry_id, account_id, asset, amount_minor, account_seq, balance_after_minor)
    SELECT l.entry, l.account, l.asset, l.amount, l.seq, l.balance
      FROM line l WHERE l.entry IS NOT NULL ORDER BY l.n, l.account;
    IF opening THEN
        INSERT INTO holds (id, account_id, asset, kind, ref, amount_minor, expires_at)
        SELECT o.id, o.account, o.asset, o.kind, o.ref, o.amount, o.expires_at
          FROM unnest(run) c(body), jsonb_to_record(c.body->'open')
            AS o(id text, account text, asset text, kind text, ref text, amount numeric,
                 expires_at timestamptz)
         WHERE c.body ? 'open';
    END IF;
    INSERT INTO transfers (id, payer_id, payee_id, asset, amount_minor, note, entry_id, created_at)
    SELECT t.id, t.payer_id, t.payee_id, t.asset, t.amount_minor, t.note, c.body->'entry'->>'id',
           t.created_at
      FROM unnest(run) c(body), jsonb_to_record(c.body->'transfer')
        AS t(id text, payer_id text, payee_id text, asset text, amount_minor numeric, note text,
             created_at timestamptz)
     WHERE c.body ? 'transfer';
    INSERT INTO idempotency_answers
           (principal_id, method, route, key, fingerprint, status, location, body)
    SELECT r.principal_id, r.method, r.route, r.key, decode(r.fingerprint_hex, 'hex'), r.status,
           r.location, r.body
      FROM unnest(run) c(body), jsonb_to_record(c.body->'answer')
        AS r(principal_id text, method text, route text, key text, fingerprint_hex text,
             status smallint, location text, body text)
     WHERE c.body ? 'answer';
    INSERT INTO outbox (principal_id, type, ref, data, created_at)
    SELECT o.principal_id, o.type, o.ref, coalesce(o.data, '{}'), this_moment
      FROM unnest(run) WITH ORDINALITY c(body, n),
           ROWS FROM (jsonb_to_recordset(c.body->'outbox')
                      AS (principal_id text, type text, ref text, data jsonb)) WITH ORDINALITY
               AS o(principal_id, type, ref, data, place)
     ORDER BY c.n, o.place;
END $$;

CREATE OR REPLACE FUNCTION ledger_apply(command jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    entry jsonb := command->'entry';
BEGIN
    -- First what frees money, last what sets it aside: the check on balance and held amount looks
    -- after each statement.
    IF command ? 'close' THEN
        PERFORM ledger_close_holds(command->'close', entry->>'id');
    END IF;
    IF entry IS NOT NULL THEN
        WITH lines AS (
            SELECT r.account, r.asset, r.amount, a.kind
              FROM jsonb_to_recordset(command->'postings')
                AS r(account text, asset text, amount numeric) JOIN accounts a ON a.id = r.account),
        written AS (
            INSERT INTO entries (id, kind, ref, reverses, meta, event_at)
            VALUES (entry->>'id', entry->>'kind', entry->>'ref', entry->>'reverses',
                    coalesce(entry->'meta', '{}'),
                    coalesce((entry->>'event_at')::timestamptz, bifold_now()))),
        moved AS (
            UPDATE accounts a SET balance_minor = a.balance_minor + l.amount,
                   posting_count = a.posting_count + 1
              FROM lines l WHERE a.id = l.account AND l.kind = 'customer'
            RETURNING a.id, a.balance_minor, a.posting_count),
        deltas AS (
            INSERT INTO account_deltas (account_id, amount_minor)
            SELECT l.account, l.amount FROM lines l WHERE l.kind = 'system')
        INSERT INTO postings
               (entry_id, account_id, asset, amount_minor, account_seq, balance_after_minor)
        SELECT entry->>'id', l.account, l.asset, l.amount, m.posting_count, m.balance_minor
          FROM lines l LEFT JOIN moved m ON m.id = l.account;
    END IF;
    IF command ? 'open' THEN
        PERFORM ledger_open_hold(command->'open');
    END IF;
    IF command ? 'transfer' THEN
        INSERT INTO transfers (id, payer_id, payee_id, asset, amount_minor, note, entry_id, created_at)
        SELECT t.id, t.payer_id, t.payee_id, t.asset, t.amount_minor, t.note, entry->>'id', t.created_at
          FROM jsonb_populate_record(NULL::transfers, command->'transfer') t;
    END IF;
    IF command ? 'answer' THEN
        INSERT INTO idempotency_answers
               (principal_id, method, route, key, fingerprint, status, location, body)
        SELECT r.principal_id, r.method, r.route, r.key,
               decode(command->'answer'->>'fingerprint_hex', 'hex'), r.status, r.location, r.body
          FROM jsonb_to_record(command->'answer') AS r(principal_id text, method text, route text,
               key text, status smallint, location text, body text);
    END IF;
    IF jsonb_array_length(command->'outbox') > 0 THEN
        INSERT INTO outbox (principal_id, type, ref, data)
        SELECT o.principal_id, o.type, o.ref, coalesce(o.data, '{}')
          FROM jsonb_to_recordset(command->'outbox')
            AS o(principal_id text, type text, ref text, data jsonb);
    END IF;
END $$;
