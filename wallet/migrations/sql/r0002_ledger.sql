-- The books. Amounts are integer minor units; a positive posting credits its account. -----------
-- `side` says how people read an account: 'C' (owed by us: balance as stored), 'D' (owned or spent
-- by us: balance shown negated). Customers' accounts carry a locked balance; system accounts take
-- append-only deltas, folded into `balance` by a job, so that no flow holds a hot row.
CREATE TABLE accounts (
    id text PRIMARY KEY,
    path text NOT NULL UNIQUE,
    principal_id text REFERENCES principals (id),
    asset text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('customer', 'system')),
    side char(1) NOT NULL CHECK (side IN ('C', 'D')),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'frozen', 'closed')),
    balance_minor numeric(78,0) NOT NULL DEFAULT 0 CHECK (balance_minor <> 'NaN'),
    held_minor numeric(78,0) NOT NULL DEFAULT 0 CHECK (held_minor >= 0 AND held_minor <> 'NaN'),
    posting_count bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The last line against an overdraft, whatever the code above it does.
    CONSTRAINT accounts_never_below_zero CHECK (kind <> 'customer' OR balance_minor >= held_minor),
    CONSTRAINT accounts_customer_has_owner CHECK ((kind = 'customer') = (principal_id IS NOT NULL))
);
CREATE UNIQUE INDEX accounts_owner_idx ON accounts (principal_id, asset) WHERE kind = 'customer';

CREATE TABLE account_deltas (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts (id),
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor <> 'NaN')
);
CREATE INDEX account_deltas_account_idx ON account_deltas (account_id);

CREATE TABLE entries (
    id text PRIMARY KEY,
    kind text NOT NULL,
    ref text NOT NULL,
    reverses text UNIQUE REFERENCES entries (id),
    meta jsonb NOT NULL DEFAULT '{}',
    event_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX entries_ref_idx ON entries (ref);

CREATE TABLE postings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry_id text NOT NULL REFERENCES entries (id),
    account_id text NOT NULL REFERENCES accounts (id),
    asset text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor <> 0 AND amount_minor <> 'NaN'),
    -- Customers only: position in the account's own chain and the balance after it.
    account_seq bigint,
    balance_after_minor numeric(78,0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT postings_once_per_account UNIQUE (entry_id, account_id)
);
CREATE UNIQUE INDEX postings_account_seq_idx ON postings (account_id, account_seq)
    WHERE account_seq IS NOT NULL;
CREATE INDEX postings_account_idx ON postings (account_id, id);

CREATE TABLE holds (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts (id),
    asset text NOT NULL,
    kind text NOT NULL,
    ref text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    captured_minor numeric(78,0) NOT NULL DEFAULT 0 CHECK (captured_minor >= 0),
    released_minor numeric(78,0) NOT NULL DEFAULT 0 CHECK (released_minor >= 0),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    closed_at timestamptz,
    CONSTRAINT holds_within_amount CHECK (captured_minor + released_minor <= amount_minor),
    CONSTRAINT holds_closed_is_spent
        CHECK (status = 'open' OR captured_minor + released_minor = amount_minor)
);
CREATE INDEX holds_ref_idx ON holds (ref);
CREATE INDEX holds_account_open_idx ON holds (account_id) WHERE status = 'open';

-- Which entry spent what of a hold. Money set aside before an account was frozen has left already
-- when it is captured, so a frozen account lets exactly that much go.
CREATE TABLE hold_captures (
    hold_id text NOT NULL REFERENCES holds (id),
    entry_id text NOT NULL REFERENCES entries (id),
    account_id text NOT NULL REFERENCES accounts (id),
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    PRIMARY KEY (entry_id, hold_id)
);

-- Refusals of the database itself -----------------------------------------------------------------
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'BF001',
        MESSAGE = format('%s is append-only; correct it with a reversing entry', TG_TABLE_NAME);
END $$;
CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER hold_captures_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON hold_captures
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON postings
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

CREATE FUNCTION ledger_check_postings() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bad record;
BEGIN
    SELECT n.entry_id, n.asset, sum(n.amount_minor) AS total INTO bad
      FROM new_postings n GROUP BY n.entry_id, n.asset HAVING sum(n.amount_minor) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'BF002',
            MESSAGE = format('entry %s is off by %s %s', bad.entry_id, bad.total, bad.asset);
    END IF;
    SELECT n.entry_id INTO bad FROM new_postings n GROUP BY n.entry_id
    HAVING count(*) <> (SELECT count(*) FROM public.postings p WHERE p.entry_id = n.entry_id)
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'BF003',
            MESSAGE = format('entry %s already has its postings', bad.entry_id);
    END IF;
    SELECT n.account_id, n.asset, n.amount_minor, a.asset AS account_asset, a.status INTO bad
      FROM new_postings n JOIN public.accounts a ON a.id = n.account_id
     WHERE a.asset <> n.asset OR a.status = 'closed'
        OR (a.status = 'frozen' AND n.amount_minor < 0 AND -n.amount_minor > coalesce((
            SELECT sum(c.amount_minor) FROM public.hold_captures c
             WHERE c.entry_id = n.entry_id AND c.account_id = n.account_id), 0)) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = CASE WHEN bad.asset <> bad.account_asset THEN 'BF004'
                           WHEN bad.status = 'closed' THEN 'BF005' ELSE 'BF006' END,
            MESSAGE = format('account %s (%s, %s) refuses %s %s', bad.account_id,
                             bad.account_asset, bad.status, bad.amount_minor, bad.asset);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER postings_balanced AFTER INSERT ON postings
    REFERENCING NEW TABLE AS new_postings
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_check_postings();

-- An entry without postings would be a claim with no money behind it: refused at commit.
CREATE FUNCTION ledger_check_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM public.postings WHERE entry_id = NEW.id) THEN
        RAISE EXCEPTION USING ERRCODE = 'BF007', MESSAGE = format('entry %s has no postings', NEW.id);
    END IF;
    RETURN NULL;
END $$;

-- The one poster -----------------------------------------------------------------------------------
-- `commands` is a JSON array. Each command: {
--   "entry":    {"id","kind","ref","event_at"?, "reverses"?, "meta"?} or absent,
--   "postings": [{"account","asset","amount"}],                       amounts: integer strings
--   "open":     {"id","account","asset","amount","kind","ref","expires_at"?} or absent,
--   "close":    [{"hold","capture","release"}]                        amounts taken from a hold
--   "transfer": row of transfers, "answer": row of idempotency_answers, "outbox": [rows] }
-- Every command is answered by itself: `code` NULL when done, else the refusal, with nothing of that
-- command written. Locks: customers' accounts in id order. Level: READ COMMITTED.
-- The helpers below run inside it, under its rights and its search_path.
CREATE FUNCTION ledger_post(commands jsonb) RETURNS TABLE (n integer, code text, detail text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
-- A batch is small beside the tables. The planner cannot know how much the JSON holds and would
-- read accounts whole, or plan each call anew.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    command jsonb;
    refusal text[];
BEGIN
    PERFORM ledger_lock(commands);
    n := 0;
    FOR command IN SELECT jsonb_array_elements(commands) LOOP
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

-- Lock what the commands change: customers' accounts in id order, then entries to be reversed.
-- Ids are gathered first, so that the locking queries keep one small plan.
CREATE FUNCTION ledger_lock(commands jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ids text[] := ARRAY(
        SELECT x #>> '{}' FROM jsonb_path_query(commands, '$[*].postings[*].account') x);
BEGIN
    IF jsonb_path_exists(commands, '$[*].open.account') THEN
        ids := ids || ARRAY(
            SELECT x #>> '{}' FROM jsonb_path_query(commands, '$[*].open.account') x);
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

-- Each ledger_refuse_… (entry, closing, moves: asked in this order) answers {code, what it is
-- about}, or NULL where it has nothing against the
-- command. They read under the locks that `ledger_post` holds.
CREATE FUNCTION ledger_refuse_closing(command jsonb) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    line record;
    seen text[] := '{}';
BEGIN
    IF NOT command ? 'close' THEN RETURN NULL; END IF;
    FOR line IN
        SELECT k.hold, k.capture, k.release, h.id, h.account_id, h.status,
               h.amount_minor - h.captured_minor - h.released_minor AS kept
          FROM jsonb_to_recordset(command->'close') k(hold text, capture numeric, release numeric)
          LEFT JOIN holds h ON h.id = k.hold
    LOOP
        IF line.hold = ANY (seen) THEN RETURN ARRAY['hold_named_twice', line.hold]; END IF;
        seen := seen || line.hold;
        IF line.id IS NULL THEN RETURN ARRAY['hold_not_found', line.hold]; END IF;
        IF line.status <> 'open' THEN RETURN ARRAY['hold_closed', line.hold]; END IF;
        IF line.capture <> trunc(line.capture) OR line.release <> trunc(line.release) THEN
            RETURN ARRAY['amount_malformed', line.hold]; END IF;
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

CREATE FUNCTION ledger_refuse_moves(command jsonb) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    line record;
    opened record;
    last_account text;
    off_asset text;
    needed numeric;
BEGIN
    SELECT o.account, o.asset, o.amount INTO opened
      FROM jsonb_to_record(command->'open') AS o(account text, asset text, amount numeric);
    FOR line IN
        SELECT p.account, p.asset, p.amount, p.opens, a.id, a.asset AS account_asset, a.kind, a.status,
               a.balance_minor, a.held_minor
          FROM (SELECT r.account, r.asset, r.amount, false AS opens
                  FROM jsonb_to_recordset(command->'postings')
                    AS r(account text, asset text, amount numeric)
                 UNION ALL SELECT opened.account, opened.asset, 0, true
                  WHERE opened.account IS NOT NULL) p
          LEFT JOIN accounts a ON a.id = p.account ORDER BY p.account, p.opens
    LOOP
        IF line.id IS NULL THEN RETURN ARRAY['account_not_found', line.account]; END IF;
        IF line.asset <> line.account_asset THEN RETURN ARRAY['asset_mismatch', line.id]; END IF;
        IF line.status = 'closed' THEN RETURN ARRAY['account_closed', line.id]; END IF;
        IF line.opens THEN
            IF line.kind = 'system' THEN RETURN ARRAY['hold_on_system', line.id]; END IF;
            IF line.status = 'frozen' THEN RETURN ARRAY['account_frozen', line.id]; END IF;
            IF opened.amount IS NULL OR opened.amount NOT BETWEEN 1 AND 1e78 - 1
               OR opened.amount <> trunc(opened.amount) THEN
                RETURN ARRAY['amount_malformed', line.id]; END IF;
        ELSE
            IF line.account = last_account THEN
                RETURN ARRAY['account_named_twice', line.id]; END IF;
            last_account := line.account;
            IF line.amount IS NULL OR abs(line.amount) NOT BETWEEN 1 AND 1e78 - 1
               OR line.amount <> trunc(line.amount) THEN
                RETURN ARRAY['amount_malformed', line.id]; END IF;
            IF line.status = 'frozen' AND line.amount < 0
               AND -line.amount > ledger_captured(command, line.id) THEN
                RETURN ARRAY['account_frozen', line.id]; END IF;
        END IF;
        IF line.kind = 'customer' AND (line.opens OR line.amount < 0) THEN
            needed := line.held_minor;
            IF line.account = opened.account THEN needed := needed + opened.amount; END IF;
            IF command ? 'close' THEN
                needed := needed - ledger_freed(command, line.id); END IF;
            IF line.opens THEN  -- a posting of this account, where there is one, counts
                needed := needed - coalesce((
                    SELECT sum(r.amount) FROM jsonb_to_recordset(command->'postings')
                        AS r(account text, amount numeric) WHERE r.account = line.account), 0);
            ELSE
                needed := needed - line.amount;
            END IF;
            IF line.balance_minor < needed THEN
                RETURN ARRAY['insufficient_funds', line.id]; END IF;
        END IF;
    END LOOP;
    SELECT r.asset INTO off_asset FROM jsonb_to_recordset(command->'postings')
        AS r(asset text, amount numeric) GROUP BY r.asset HAVING sum(r.amount) <> 0 LIMIT 1;
    IF FOUND THEN RETURN ARRAY['unbalanced', off_asset]; END IF;
    RETURN NULL;
END $$;

-- What the command takes out of holds on one account, captured or given back.
CREATE FUNCTION ledger_freed(command jsonb, account text) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(k.capture + k.release), 0)
      FROM jsonb_to_recordset(command->'close') k(hold text, capture numeric, release numeric)
      JOIN holds h ON h.id = k.hold WHERE h.account_id = account
$$;

-- What the command captures on one account: spent, by the postings beside it.
CREATE FUNCTION ledger_captured(command jsonb, account text) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(k.capture), 0)
      FROM jsonb_to_recordset(command->'close') k(hold text, capture numeric)
      JOIN holds h ON h.id = k.hold WHERE h.account_id = account
$$;

CREATE FUNCTION ledger_refuse_entry(command jsonb) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    about text;
BEGIN
    IF NOT command ? 'entry' THEN
        RETURN CASE WHEN jsonb_array_length(command->'postings') > 0 THEN ARRAY['no_entry', NULL] END;
    END IF;
    IF coalesce(jsonb_array_length(command->'postings'), 0) = 0 THEN
        RETURN ARRAY['no_postings', command->'entry'->>'id']; END IF;
    about := command->'entry'->>'reverses';
    IF about IS NOT NULL AND EXISTS (SELECT FROM entries WHERE reverses = about) THEN
        RETURN ARRAY['already_reversed', about]; END IF;
    RETURN NULL;
END $$;

-- Do a command that has no refusal.
CREATE FUNCTION ledger_apply(command jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    entry jsonb := command->'entry';
BEGIN
    -- First what frees money, last what sets it aside: the check on balance and held amount looks
    -- after each statement.
    IF entry IS NOT NULL THEN
        INSERT INTO entries (id, kind, ref, reverses, meta, event_at)
        VALUES (entry->>'id', entry->>'kind', entry->>'ref', entry->>'reverses',
                coalesce(entry->'meta', '{}'),
                coalesce((entry->>'event_at')::timestamptz, bifold_now()));
    END IF;
    IF command ? 'close' THEN
        PERFORM ledger_close_holds(command->'close', entry->>'id');
    END IF;
    IF entry IS NOT NULL THEN
        WITH lines AS (
            SELECT r.account, r.asset, r.amount, a.kind
              FROM jsonb_to_recordset(command->'postings')
                AS r(account text, asset text, amount numeric) JOIN accounts a ON a.id = r.account),
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

CREATE FUNCTION ledger_open_hold(opened jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO holds (id, account_id, asset, kind, ref, amount_minor, expires_at)
    VALUES (opened->>'id', opened->>'account', opened->>'asset', opened->>'kind', opened->>'ref',
            (opened->>'amount')::numeric, (opened->>'expires_at')::timestamptz);
    UPDATE accounts SET held_minor = held_minor + (opened->>'amount')::numeric
     WHERE id = opened->>'account';
END $$;

CREATE FUNCTION ledger_close_holds(closing jsonb, spent_by text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO hold_captures (hold_id, entry_id, account_id, amount_minor)
    SELECT k.hold, spent_by, h.account_id, k.capture
      FROM jsonb_to_recordset(closing) k(hold text, capture numeric) JOIN holds h ON h.id = k.hold
     WHERE k.capture > 0;
    WITH taken AS (
        UPDATE holds h
           SET captured_minor = h.captured_minor + k.capture,
               released_minor = h.released_minor + k.release,
               status = CASE WHEN s.whole THEN 'closed' ELSE 'open' END,
               closed_at = CASE WHEN s.whole THEN bifold_now() END
          FROM jsonb_to_recordset(closing) k(hold text, capture numeric, release numeric)
          JOIN holds b ON b.id = k.hold,
               LATERAL (SELECT b.captured_minor + b.released_minor + k.capture + k.release
                               = b.amount_minor AS whole) s
         WHERE h.id = k.hold
        RETURNING h.account_id, k.capture + k.release AS amount)
    UPDATE accounts a SET held_minor = a.held_minor - t.amount
      FROM (SELECT account_id, sum(amount) AS amount FROM taken GROUP BY 1) t
     WHERE a.id = t.account_id;
END $$;

CREATE CONSTRAINT TRIGGER entries_have_postings AFTER INSERT ON entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_entry();

-- Fold open deltas of system accounts. Deletes and adds in one transaction: nothing is missed or doubled.
CREATE FUNCTION ledger_fold(max_rows integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    folded integer;
BEGIN
    WITH taken AS (
        DELETE FROM account_deltas WHERE id IN (
            SELECT id FROM account_deltas ORDER BY id LIMIT max_rows FOR UPDATE SKIP LOCKED)
        RETURNING account_id, amount_minor),
    sums AS (SELECT account_id, sum(amount_minor) AS amount, count(*) AS lines FROM taken GROUP BY 1),
    added AS (
        UPDATE accounts a SET balance_minor = a.balance_minor + s.amount,
               posting_count = a.posting_count + s.lines
          FROM sums s WHERE a.id = s.account_id RETURNING s.lines)
    SELECT coalesce(sum(lines), 0) INTO folded FROM added;
    RETURN folded;
END $$;

-- What an account holds now: folded part plus open deltas.
CREATE VIEW account_balances AS
    SELECT a.id, a.path, a.principal_id, a.asset, a.kind, a.side, a.status, a.held_minor,
           a.balance_minor + coalesce(d.amount, 0) AS balance_minor
      FROM accounts a LEFT JOIN (
           SELECT account_id, sum(amount_minor) AS amount FROM account_deltas GROUP BY 1) d
        ON d.account_id = a.id;

CREATE FUNCTION ledger_set_status(account text, new_status text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
    'UPDATE accounts SET status = new_status WHERE id = account';

-- Lock the account behind a hold, so that what is read of the hold stays true until the commit.
CREATE FUNCTION ledger_lock_hold(hold text) RETURNS SETOF integer
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
    'SELECT 1 FROM accounts a JOIN holds h ON h.account_id = a.id WHERE h.id = hold
        FOR NO KEY UPDATE OF a';

-- Roles: the application reads the books and opens accounts; only the functions above write them.
REVOKE EXECUTE ON FUNCTION ledger_post(jsonb), ledger_fold(integer), ledger_lock(jsonb),
    ledger_refuse_closing(jsonb), ledger_refuse_moves(jsonb), ledger_refuse_entry(jsonb),
    ledger_freed(jsonb, text), ledger_apply(jsonb), ledger_open_hold(jsonb),
    ledger_close_holds(jsonb, text), ledger_captured(jsonb, text), ledger_set_status(text, text), ledger_lock_hold(text) FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE INSERT, UPDATE, DELETE ON accounts, account_deltas, entries, postings, holds, hold_captures,
            account_balances FROM bifold_app;
        GRANT INSERT (id, path, principal_id, asset, kind, side) ON accounts TO bifold_app;
        GRANT EXECUTE ON FUNCTION ledger_post(jsonb), ledger_fold(integer),
            ledger_set_status(text, text), ledger_lock_hold(text) TO bifold_app;
        REVOKE UPDATE, DELETE ON events, idempotency_answers, retired_handles FROM bifold_app;
        REVOKE INSERT, UPDATE, DELETE ON transfers FROM bifold_app;
    END IF;
END $$;
