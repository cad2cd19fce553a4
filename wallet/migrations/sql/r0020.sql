-- Group commit: `ledger_post` posts a batch in sets --------------------------------------------------
-- A batch is taken in the order it came. The longest run of commands that nothing speaks against is
-- posted by one statement a table: one update an account, one insert a table. The command behind the
-- run is judged and, where it may, applied by itself, as a lone one is; then the next run begins. So
-- each command sees what the ones before it did, and none is refused for its neighbour's sake.
-- Judged under the locks of `ledger_lock`; the tables' own refusals stand behind it all the same.

-- A system account's delta may now stand for several postings of one batch.
ALTER TABLE account_deltas ADD COLUMN lines integer NOT NULL DEFAULT 1 CHECK (lines > 0);

CREATE TYPE ledger_line AS (
    n integer,            -- place of its command in the batch
    entry text,           -- NULL: no posting, the command only holds or gives back
    account text,
    asset text,
    amount numeric,       -- posted; 0 without a posting
    held numeric,         -- change of what is held
    kind text
);
REVOKE USAGE ON TYPE ledger_line FROM PUBLIC;

CREATE OR REPLACE FUNCTION ledger_post(commands jsonb)
RETURNS TABLE (n integer, code text, detail text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    total integer := jsonb_array_length(commands);
    runs integer := 0;
    stop integer;
    command jsonb;
    refusal text[];
BEGIN
    PERFORM ledger_lock(commands);
    n := 0;
    WHILE n < total LOOP
        -- Where many are refused, judging the rest anew after each of them costs more than it saves.
        IF total - n > 1 AND runs < 8 THEN
            runs := runs + 1;
            stop := ledger_post_run(commands, n);
            code := NULL;
            detail := NULL;
            WHILE n < stop LOOP
                RETURN NEXT;
                n := n + 1;
            END LOOP;
            EXIT WHEN n = total;
        END IF;
        command := commands->n;
        refusal := coalesce(ledger_refuse_entry(command), ledger_refuse_closing(command),
                            ledger_refuse_moves(command));
        IF refusal IS NULL THEN
            PERFORM ledger_apply(command);
        END IF;
        code := refusal[1];
        detail := refusal[2];
        RETURN NEXT;
        n := n + 1;
    END LOOP;
END $$;

-- Post the run that begins at `start`; answers the place of the first command it leaves alone.
CREATE FUNCTION ledger_post_run(commands jsonb, start integer) RETURNS integer
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
               a.id IS NULL OR a.status <> 'open' OR a.asset <> l.asset OR l.postings > 1
                   OR l.malformed OR (a.kind = 'system' AND l.held <> 0)
                   OR (l.captured <> 0 AND l.captured <> -l.amount)
                   OR (a.kind = 'customer' AND a.balance_minor - a.held_minor
                       + sum(l.amount - l.held) OVER (PARTITION BY l.account ORDER BY l.n) < 0)
               AS odd
          FROM line l LEFT JOIN accounts a ON a.id = l.account),
    off AS (
        SELECT j.n FROM judged j WHERE j.entry IS NOT NULL
         GROUP BY j.n, j.asset HAVING sum(j.amount) <> 0)
    SELECT least((SELECT min(j.n) FROM judged j WHERE j.odd IS NOT FALSE),
                 (SELECT min(f.n) FROM off f)),
           (SELECT array_agg(ROW(j.n, j.entry, j.account, j.asset, j.amount, j.held,
                                 j.kind)::ledger_line ORDER BY j.n, j.account) FROM judged j)
      INTO odd, lines;
    stop := least(stop, odd);
    IF stop <= start THEN RETURN start; END IF;
    PERFORM ledger_apply_run(commands, start, stop, lines, holding, opening);
    RETURN stop;
END $$;

-- The first command from `start` on whose closings are not plainly right, each hold read with what
-- the commands before it take; NULL where there is none.
CREATE FUNCTION ledger_odd_closing(commands jsonb, start integer) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT min(k.n) FROM (
        SELECT c.n, h.id IS NULL OR h.status <> 'open' OR c.capture <> trunc(c.capture)
               OR c.release <> trunc(c.release) OR c.capture < 0 OR c.release < 0
               OR c.capture IS NULL OR c.release IS NULL
               OR coalesce(c.capture > 0 AND h.expires_at <= bifold_now(), false)
               OR count(*) OVER (PARTITION BY c.n, c.hold) > 1
               OR sum(c.capture + c.release) OVER w
                  > h.amount_minor - h.captured_minor - h.released_minor
               OR coalesce(c.kept <> h.amount_minor - h.captured_minor - h.released_minor
                  - (sum(c.capture + c.release) OVER w - c.capture - c.release), false) AS odd
          FROM (SELECT o.ordinality::integer - 1 AS n, k.hold, k.capture, k.release, k.kept
                  FROM jsonb_array_elements(commands) WITH ORDINALITY o,
                       jsonb_to_recordset(o.value->'close')
                           AS k(hold text, capture numeric, release numeric, kept numeric)
                 WHERE o.ordinality > start) c
          LEFT JOIN holds h ON h.id = c.hold
        WINDOW w AS (PARTITION BY c.hold ORDER BY c.n)) k
     WHERE k.odd IS NOT FALSE
$$;

-- Write the commands of a run: nothing speaks against any of them.
CREATE FUNCTION ledger_apply_run(commands jsonb, start integer, stop integer, lines ledger_line[],
                                 holding boolean, opening boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    run jsonb[] := ARRAY(SELECT o.value FROM jsonb_array_elements(commands) WITH ORDINALITY o
                          WHERE o.ordinality BETWEEN start + 1 AND stop ORDER BY o.ordinality);
    this_moment timestamptz := bifold_now();
BEGIN
    INSERT INTO entries (id, kind, ref, meta, event_at)
    SELECT e.id, e.kind, e.ref, coalesce(e.meta, '{}'), coalesce(e.event_at, this_moment)
      FROM unnest(run) WITH ORDINALITY c(body, n), jsonb_to_record(c.body->'entry')
        AS e(id text, kind text, ref text, meta jsonb, event_at timestamptz)
     WHERE c.body ? 'entry' ORDER BY c.n;

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
    moved AS (
        UPDATE accounts a
           SET balance_minor = a.balance_minor + t.amount, held_minor = a.held_minor + t.held,
               posting_count = a.posting_count + t.postings
          FROM (SELECT l.account, sum(l.amount) AS amount, sum(l.held) AS held,
                       count(l.entry) AS postings
                  FROM line l WHERE l.kind = 'customer' GROUP BY l.account) t
         WHERE a.id = t.account
        RETURNING a.id, a.balance_minor - t.amount AS balance, a.posting_count - t.postings AS seq),
    deltas AS (
        INSERT INTO account_deltas (account_id, amount_minor, lines)
        SELECT l.account, sum(l.amount), count(*) FROM line l
         WHERE l.kind = 'system' AND l.entry IS NOT NULL GROUP BY l.account)
    INSERT INTO postings
           (entry_id, account_id, asset, amount_minor, account_seq, balance_after_minor)
    SELECT l.entry, l.account, l.asset, l.amount,
           m.seq + row_number() OVER w, m.balance + sum(l.amount) OVER w
      FROM line l LEFT JOIN moved m ON m.id = l.account WHERE l.entry IS NOT NULL
    WINDOW w AS (PARTITION BY l.account ORDER BY l.n) ORDER BY l.n, l.account;

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

-- A hold that is late may be given back and not spent. A closing may say what it expects the hold to
-- keep (`kept`): where that is not so any more, what was computed from it is out of date.
CREATE OR REPLACE FUNCTION ledger_refuse_closing(command jsonb) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    line record;
    seen text[] := '{}';
BEGIN
    IF NOT command ? 'close' THEN RETURN NULL; END IF;
    FOR line IN
        SELECT k.hold, k.capture, k.release, k.kept AS expected, h.id, h.account_id, h.status, h.expires_at,
               h.amount_minor - h.captured_minor - h.released_minor AS kept
          FROM jsonb_to_recordset(command->'close')
               k(hold text, capture numeric, release numeric, kept numeric)
          LEFT JOIN holds h ON h.id = k.hold
    LOOP
        IF line.hold = ANY (seen) THEN RETURN ARRAY['hold_named_twice', line.hold]; END IF;
        seen := seen || line.hold;
        IF line.id IS NULL THEN RETURN ARRAY['hold_not_found', line.hold]; END IF;
        IF line.status <> 'open' THEN RETURN ARRAY['hold_closed', line.hold]; END IF;
        IF line.expected <> line.kept THEN RETURN ARRAY['hold_moved', line.hold]; END IF;
        IF line.capture <> trunc(line.capture) OR line.release <> trunc(line.release) THEN
            RETURN ARRAY['amount_malformed', line.hold]; END IF;
        IF line.capture > 0 AND line.expires_at <= bifold_now() THEN
            RETURN ARRAY['hold_expired', line.hold]; END IF;
        -- NaN and infinity are above every amount, so they exceed too.
        IF line.capture < 0 OR line.release < 0 OR line.capture + line.release > line.kept THEN
            RETURN ARRAY['hold_exceeded', line.hold]; END IF;
        -- What is captured is spent by a posting of this command, to the unit.
        IF line.capture > 0 AND ledger_captured(command, line.account_id) <> coalesce((
            SELECT -r.amount FROM jsonb_to_recordset(command->'postings')
                AS r(account text, amount numeric) WHERE r.account = line.account_id LIMIT 1), 0) THEN
            RETURN ARRAY['capture_not_posted', line.hold]; END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION ledger_fold(max_rows integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    folded integer;
BEGIN
    WITH taken AS (
        DELETE FROM account_deltas WHERE id IN (
            SELECT id FROM account_deltas ORDER BY id LIMIT max_rows FOR UPDATE SKIP LOCKED)
        RETURNING account_id, amount_minor, lines),
    sums AS (SELECT account_id, sum(amount_minor) AS amount, sum(lines) AS lines,
                    count(*) AS rows FROM taken GROUP BY 1),
    added AS (
        UPDATE accounts a SET balance_minor = a.balance_minor + s.amount,
               posting_count = a.posting_count + s.lines
          FROM sums s WHERE a.id = s.account_id RETURNING s.rows)
    SELECT coalesce(sum(rows), 0) INTO folded FROM added;
    RETURN folded;
END $$;

REVOKE EXECUTE ON FUNCTION ledger_post_run(jsonb, integer), ledger_odd_closing(jsonb, integer),
    ledger_apply_run(jsonb, integer, integer, ledger_line[], boolean, boolean) FROM PUBLIC;

-- Holds that people make for one another ----------------------------------------------------------
-- The money itself is in `holds`; this says between whom, and how it ended.
CREATE TABLE payment_holds (
    id text PRIMARY KEY REFERENCES holds (id),
    payer_id text NOT NULL REFERENCES principals (id),
    payee_id text NOT NULL REFERENCES principals (id),
    note text,
    ended text CHECK (ended IN ('captured', 'voided', 'expired')),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    CHECK (payer_id <> payee_id)
);
CREATE INDEX payment_holds_payer_idx ON payment_holds (payer_id, created_at DESC, id DESC);
CREATE INDEX payment_holds_payee_idx ON payment_holds (payee_id, created_at DESC, id DESC);
CREATE INDEX holds_expiry_idx ON holds (expires_at) WHERE status = 'open' AND expires_at IS NOT NULL;
CREATE INDEX hold_captures_hold_idx ON hold_captures (hold_id);

-- What it is between stays; how it ended is said once.
CREATE FUNCTION payment_holds_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.ended IS NOT NULL
       OR (NEW.id, NEW.payer_id, NEW.payee_id, NEW.note, NEW.created_at)
          IS DISTINCT FROM (OLD.id, OLD.payer_id, OLD.payee_id, OLD.note, OLD.created_at) THEN
        RAISE EXCEPTION 'a hold keeps its parties and its end (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_holds_immutable BEFORE UPDATE OR DELETE ON payment_holds
    FOR EACH ROW EXECUTE FUNCTION payment_holds_keep();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE, DELETE ON payment_holds FROM bifold_app;
        GRANT UPDATE (ended) ON payment_holds TO bifold_app;
    END IF;
END $$;

-- What was captured, or what is held while nothing was.
CREATE OR REPLACE VIEW activity AS
    SELECT t.id, t.payer_id AS principal_id, 'transfer' AS kind, 'completed' AS status,
           'out' AS direction, t.asset, t.amount_minor, NULL::text AS fee_asset,
           NULL::numeric AS fee_minor, NULL::text AS target_asset, NULL::numeric AS target_minor,
           '@' || u.handle AS counterparty, u.display_name AS counterparty_name,
           t.note, t.created_at
      FROM transfers t JOIN users u ON u.id = t.payee_id
    UNION ALL
    SELECT t.id, t.payee_id, 'transfer', 'completed', 'in', t.asset, t.amount_minor, NULL, NULL,
           NULL, NULL, '@' || u.handle, u.display_name, t.note, t.created_at
      FROM transfers t JOIN users u ON u.id = t.payer_id
    UNION ALL
    SELECT d.id, d.principal_id, 'deposit', d.status, 'in', d.asset, d.amount_minor, NULL, NULL,
           NULL, NULL, d.from_address, d.network, NULL, d.created_at
      FROM deposits d WHERE d.principal_id IS NOT NULL
    UNION ALL
    SELECT w.id, w.principal_id, 'withdrawal', w.status, 'out', w.asset, w.amount_minor, w.asset,
           coalesce(w.fee_minor, w.fee_bound_minor), NULL, NULL, w.to_address, w.network, NULL,
           w.created_at
      FROM withdrawals w
    UNION ALL
    SELECT c.id, c.principal_id, 'conversion', c.status, 'exchange', c.source_asset, c.source_minor,
           NULL, NULL, c.target_asset, c.target_minor, NULL, NULL, NULL, c.created_at
      FROM conversions c
    UNION ALL
    SELECT p.id, p.principal_id, 'payment', p.status, 'out', q.source_asset, q.source_minor,
           q.source_asset, q.fee_minor, q.target_asset, q.target_minor, p.corridor, r.name,
           p.reference, p.created_at
      FROM payments p JOIN quotes q ON q.id = p.quote_id JOIN recipients r ON r.id = p.recipient_id
    UNION ALL
    SELECT b.bank_reference, b.principal_id, 'topup', 'succeeded', 'in', b.asset, b.amount_minor,
           NULL, NULL, NULL, NULL, NULL, 'bank_transfer', NULL, b.created_at
      FROM bank_credits b
    UNION ALL
    SELECT p.id, p.payer_id, 'hold',
           coalesce(p.ended, CASE WHEN h.status = 'closed' THEN 'captured' ELSE 'open' END),
           'out', h.asset, CASE WHEN h.captured_minor > 0 THEN h.captured_minor
                                ELSE h.amount_minor END,
           NULL, NULL, NULL, NULL, '@' || u.handle, u.display_name, p.note, p.created_at
      FROM payment_holds p JOIN holds h ON h.id = p.id JOIN users u ON u.id = p.payee_id
    UNION ALL
    SELECT p.id, p.payee_id, 'hold',
           coalesce(p.ended, CASE WHEN h.status = 'closed' THEN 'captured' ELSE 'open' END),
           'in', h.asset, CASE WHEN h.captured_minor > 0 THEN h.captured_minor
                               ELSE h.amount_minor END,
           NULL, NULL, NULL, NULL, '@' || u.handle, u.display_name, p.note, p.created_at
      FROM payment_holds p JOIN holds h ON h.id = p.id JOIN users u ON u.id = p.payer_id;
