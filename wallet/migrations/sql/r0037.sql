-- Holds between people: a bound of how many are open, and the payee of a hold in the database's keeping ---

-- An opening may say `most`: how many holds of its kind its account's owner may have open, in every
-- asset. All accounts of the owner are locked for that, so that openings side by side see each other.
CREATE OR REPLACE FUNCTION ledger_lock(commands jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ids text[] := ARRAY(
        SELECT x #>> '{}' FROM jsonb_path_query(commands, '$[*].postings[*].account') x);
BEGIN
    IF jsonb_path_exists(commands, '$[*].open.account') THEN
        ids := ids || ARRAY(
            SELECT x #>> '{}' FROM jsonb_path_query(commands, '$[*].open.account') x);
    END IF;
    IF jsonb_path_exists(commands, '$[*].open.most ? (@ != null)') THEN
        ids := ids || ARRAY(
            SELECT b.id FROM accounts a JOIN accounts b ON b.principal_id = a.principal_id
             WHERE b.kind = 'customer' AND a.id = ANY (ARRAY(
                SELECT x #>> '{}' FROM jsonb_path_query(commands, '$[*].open ? (@.most != null).account') x)));
    END IF;
    IF jsonb_path_exists(commands, '$[*].close[*].hold') THEN
        ids := ids || ARRAY(
            SELECT account_id FROM holds WHERE id = ANY (ARRAY(
                SELECT x #>> '{}' FROM jsonb_path_query(commands, '$[*].close[*].hold') x)));
    END IF;
    PERFORM 1 FROM accounts WHERE id = ANY (ids) AND kind = 'customer'
      ORDER BY id FOR NO KEY UPDATE;
    IF jsonb_path_exists(commands, '$[*].entry.reverses ? (@ != null)') THEN
        ids := ARRAY(SELECT x #>> '{}' FROM jsonb_path_query(commands, '$[*].entry.reverses') x);
        PERFORM 1 FROM entries WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
    END IF;
END $$;

CREATE FUNCTION ledger_open_holds(owner text, of_kind text, most integer) RETURNS bigint
LANGUAGE sql STABLE AS $$
    -- Counted account by account: a join would be begun at the holds of everybody.
    SELECT coalesce(sum(c.open), 0)::bigint FROM accounts a, LATERAL (
        SELECT count(*) AS open FROM (
            SELECT FROM holds h WHERE h.account_id = a.id AND h.status = 'open' AND h.kind = of_kind
             LIMIT most) AS one) AS c
     WHERE a.principal_id = owner AND a.kind = 'customer'
$$;

CREATE FUNCTION ledger_refuse_opening(command jsonb) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT ARRAY['rate_limited', o.account]
      FROM jsonb_to_record(command->'open') AS o(account text, kind text, most integer)
      JOIN accounts a ON a.id = o.account
     WHERE ledger_open_holds(a.principal_id, o.kind, o.most) >= o.most
$$;

-- The first command from `start` on whose opening may be one too many; NULL where there is none. What
-- is given back before it in the batch is not counted: it is judged by itself then.
CREATE FUNCTION ledger_odd_opening(commands jsonb, start integer) RETURNS integer
LANGUAGE sql STABLE AS $$
    WITH opening AS MATERIALIZED (
        SELECT o.ordinality::integer - 1 AS n, a.principal_id AS owner, p.kind, p.most
          FROM jsonb_array_elements(commands) WITH ORDINALITY o,
               jsonb_to_record(o.value->'open') AS p(account text, kind text, most integer)
          JOIN accounts a ON a.id = p.account
         WHERE o.ordinality > start AND p.most IS NOT NULL),
    counted AS MATERIALIZED (
        SELECT g.owner, g.kind, ledger_open_holds(g.owner, g.kind, g.most) AS open
          FROM (SELECT o.owner, o.kind, max(o.most) AS most FROM opening o GROUP BY 1, 2) g)
    SELECT min(k.n) FROM (
        SELECT o.n, c.open + row_number() OVER (PARTITION BY o.owner, o.kind ORDER BY o.n) > o.most
               AS odd
          FROM opening o JOIN counted c ON c.owner = o.owner AND c.kind = o.kind) k
     WHERE k.odd
$$;

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
                            ledger_refuse_moves(command), ledger_refuse_opening(command));
        IF refusal IS NULL THEN
            PERFORM ledger_apply(command);
        END IF;
        code := refusal[1];
        detail := refusal[2];
        RETURN NEXT;
        n := n + 1;
    END LOOP;
END $$;

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
    IF opening THEN
        stop := least(stop, ledger_odd_opening(commands, start));
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

CREATE OR REPLACE FUNCTION ledger_refuse_closing(command jsonb) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    line record;
    seen text[] := '{}';
BEGIN
    IF NOT command ? 'close' THEN RETURN NULL; END IF;
    FOR line IN
        SELECT k.hold, k.capture, k.release, k.kept AS expected, h.id, h.account_id, h.kind, h.status,
               h.expires_at,
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
        -- What is captured is spent by a posting of this command, to the unit; what comes
        -- back of a hold between people is not spent in the same breath.
        IF (line.capture > 0 OR line.kind = 'payment_hold') AND ledger_captured(command, line.account_id) <> coalesce((
            SELECT -r.amount FROM jsonb_to_recordset(command->'postings')
                AS r(account text, amount numeric) WHERE r.account = line.account_id LIMIT 1), 0) THEN
            RETURN ARRAY['capture_not_posted', line.hold]; END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION ledger_odd_closing(commands jsonb, start integer) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT min(k.n) FROM (
        SELECT c.n, h.id IS NULL OR h.status <> 'open' OR c.capture <> trunc(c.capture)
               OR c.release <> trunc(c.release) OR c.capture < 0 OR c.release < 0
               OR c.capture IS NULL OR c.release IS NULL
               OR coalesce(c.capture > 0 AND h.expires_at <= bifold_now(), false)
               OR (h.kind = 'payment_hold' AND c.capture = 0 AND c.moves)
               OR count(*) OVER (PARTITION BY c.n, c.hold) > 1
               OR sum(c.capture + c.release) OVER w
                  > h.amount_minor - h.captured_minor - h.released_minor
               OR coalesce(c.kept <> h.amount_minor - h.captured_minor - h.released_minor
                  - (sum(c.capture + c.release) OVER w - c.capture - c.release), false) AS odd
          FROM (SELECT o.ordinality::integer - 1 AS n, k.hold, k.capture, k.release, k.kept,
                       o.value ? 'entry' AS moves
                  FROM jsonb_array_elements(commands) WITH ORDINALITY o,
                       jsonb_to_recordset(o.value->'close')
                           AS k(hold text, capture numeric, release numeric, kept numeric)
                 WHERE o.ordinality > start) c
          LEFT JOIN holds h ON h.id = c.hold
        WINDOW w AS (PARTITION BY c.hold ORDER BY c.n)) k
     WHERE k.odd IS NOT FALSE
$$;

-- A hold between people is on its payer's account; what is captured of it is paid to its payee, and by
-- that entry nobody else pays or gets anything. Both are asked of whoever writes, the poster too.
CREATE FUNCTION payment_holds_of_payers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    SELECT n.id INTO wrong FROM new_rows n
     WHERE n.payer_id IS DISTINCT FROM (
           SELECT a.principal_id FROM public.holds h JOIN public.accounts a ON a.id = h.account_id
            WHERE h.id = n.id AND h.kind = 'payment_hold') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'BF011',
            MESSAGE = format('hold %s is not on an account of its payer', wrong);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER payment_holds_on_payers AFTER INSERT ON payment_holds REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION payment_holds_of_payers();

-- At commit: captures are written before their postings.
CREATE FUNCTION hold_captures_check() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    astray text;
BEGIN
    IF NOT EXISTS (SELECT FROM public.holds h WHERE h.id = NEW.hold_id AND h.kind = 'payment_hold') THEN
        RETURN NULL;
    END IF;
    -- The postings, less what the captures say: nothing is left, on no account.
    WITH captured AS (
        SELECT h.account_id, h.asset, c.amount_minor, p.payee_id
          FROM public.hold_captures c JOIN public.holds h ON h.id = c.hold_id
          LEFT JOIN public.payment_holds p ON p.id = h.id
         WHERE c.entry_id = NEW.entry_id AND h.kind = 'payment_hold')
    SELECT coalesce(l.account_id, 'of the payee') INTO astray FROM (
        SELECT p.account_id, p.amount_minor FROM public.postings p WHERE p.entry_id = NEW.entry_id
         UNION ALL SELECT c.account_id, c.amount_minor FROM captured c
         UNION ALL SELECT (SELECT a.id FROM public.accounts a WHERE a.principal_id = c.payee_id
                              AND a.asset = c.asset AND a.kind = 'customer'), -c.amount_minor
                     FROM captured c) l
     GROUP BY l.account_id HAVING sum(l.amount_minor) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'BF012', MESSAGE = format(
            'entry %s does not pay hold %s from payer to payee: account %s', NEW.entry_id,
            NEW.hold_id, astray);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER hold_captures_paid AFTER INSERT ON hold_captures
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold_captures_check();

REVOKE EXECUTE ON FUNCTION ledger_open_holds(text, text, integer), ledger_refuse_opening(jsonb),
    ledger_odd_opening(jsonb, integer) FROM PUBLIC;
