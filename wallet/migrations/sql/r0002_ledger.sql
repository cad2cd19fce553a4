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

-- Refusals of the database itself -----------------------------------------------------------------
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'BF001',
        MESSAGE = format('%s is append-only; correct it with a reversing entry', TG_TABLE_NAME);
END $$;
CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER postings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON postings
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

CREATE FUNCTION ledger_check_postings() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    bad record;
BEGIN
    SELECT entry_id, asset, sum(amount_minor) AS total INTO bad
      FROM new_postings GROUP BY entry_id, asset HAVING sum(amount_minor) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'BF002',
            MESSAGE = format('entry %s is off by %s %s', bad.entry_id, bad.total, bad.asset);
    END IF;
    SELECT p.entry_id INTO bad FROM postings p
     WHERE p.entry_id IN (SELECT DISTINCT entry_id FROM new_postings)
       AND NOT EXISTS (SELECT FROM new_postings n WHERE n.id = p.id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'BF003',
            MESSAGE = format('entry %s already has its postings', bad.entry_id);
    END IF;
    SELECT n.account_id, n.asset, n.amount_minor, a.asset AS account_asset, a.status, a.kind INTO bad
      FROM new_postings n JOIN accounts a ON a.id = n.account_id
     WHERE a.asset <> n.asset OR a.status = 'closed'
        OR (a.status = 'frozen' AND n.amount_minor < 0) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = CASE WHEN bad.asset <> bad.account_asset THEN 'BF004'
                           WHEN bad.status = 'closed' THEN 'BF005' ELSE 'BF006' END,
            MESSAGE = format('account %s (%s, %s) refuses %s %s',
                             bad.account_id, bad.account_asset, bad.status, bad.amount_minor, bad.asset);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER postings_balanced AFTER INSERT ON postings
    REFERENCING NEW TABLE AS new_postings
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_check_postings();

-- An entry without postings would be a claim with no money behind it: refused at commit.
CREATE FUNCTION ledger_check_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM postings WHERE entry_id = NEW.id) THEN
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
CREATE FUNCTION ledger_post(commands jsonb) RETURNS TABLE (n integer, code text, detail text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    command jsonb;
    problem text;
    about text;
BEGIN
    PERFORM 1 FROM accounts
      WHERE kind = 'customer' AND id IN (
        SELECT p->>'account' FROM jsonb_array_elements(commands) c,
               jsonb_array_elements(coalesce(c->'postings', '[]')) p
        UNION SELECT c->'open'->>'account' FROM jsonb_array_elements(commands) c
        UNION SELECT h.account_id FROM jsonb_array_elements(commands) c,
               jsonb_array_elements(coalesce(c->'close', '[]')) k
               JOIN holds h ON h.id = k->>'hold')
      ORDER BY id FOR NO KEY UPDATE;
    n := 0;
    FOR command IN SELECT * FROM jsonb_array_elements(commands) LOOP
        SELECT r.problem, r.about INTO problem, about FROM ledger_refusal(command) r;
        IF problem IS NULL THEN
            PERFORM ledger_apply(command);
        END IF;
        code := problem;
        detail := about;
        RETURN NEXT;
        n := n + 1;
    END LOOP;
END $$;

-- Why a command cannot be done, or NULL. Reads under the locks that `ledger_post` holds.
CREATE FUNCTION ledger_refusal(command jsonb, OUT problem text, OUT about text)
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    line record;
    hold record;
BEGIN
    SELECT k->>'hold' INTO about FROM jsonb_array_elements(coalesce(command->'close', '[]')) k
     GROUP BY 1 HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN problem := 'hold_named_twice'; RETURN; END IF;
    FOR line IN
        SELECT k->>'hold' AS id, (k->>'capture')::numeric AS capture, (k->>'release')::numeric AS release
          FROM jsonb_array_elements(coalesce(command->'close', '[]')) k
    LOOP
        SELECT * INTO hold FROM holds h WHERE h.id = line.id;
        about := line.id;
        IF NOT FOUND THEN problem := 'hold_not_found'; RETURN; END IF;
        IF hold.status <> 'open' THEN problem := 'hold_closed'; RETURN; END IF;
        IF line.capture < 0 OR line.release < 0
           OR hold.captured_minor + hold.released_minor + line.capture + line.release > hold.amount_minor
        THEN problem := 'hold_exceeded'; RETURN; END IF;
    END LOOP;
    FOR line IN
        WITH moves AS (
            SELECT p->>'account' AS account, p->>'asset' AS asset,
                   (p->>'amount')::numeric AS amount, 0::numeric AS hold_change
              FROM jsonb_array_elements(coalesce(command->'postings', '[]')) p
            UNION ALL
            SELECT command->'open'->>'account', command->'open'->>'asset', 0,
                   (command->'open'->>'amount')::numeric
             WHERE jsonb_typeof(command->'open') = 'object'
            UNION ALL
            SELECT h.account_id, h.asset, 0, -((k->>'capture')::numeric + (k->>'release')::numeric)
              FROM jsonb_array_elements(coalesce(command->'close', '[]')) k
              JOIN holds h ON h.id = k->>'hold')
        SELECT m.account, min(m.asset) AS asset, max(m.asset) AS asset2, sum(m.amount) AS amount,
               sum(m.hold_change) AS hold_change, bool_or(m.hold_change > 0) AS opens,
               bool_or(m.amount < 0) AS debits,
               a.id, a.asset AS account_asset, a.kind, a.status, a.balance_minor, a.held_minor
          FROM moves m LEFT JOIN accounts a ON a.id = m.account
         GROUP BY m.account, a.id ORDER BY m.account
    LOOP
        about := line.account;
        IF line.id IS NULL THEN problem := 'account_not_found'; RETURN; END IF;
        IF line.asset <> line.account_asset OR line.asset2 <> line.account_asset THEN
            problem := 'asset_mismatch'; RETURN; END IF;
        IF line.status = 'closed' AND (line.amount <> 0 OR line.opens) THEN
            problem := 'account_closed'; RETURN; END IF;
        IF line.status = 'frozen' AND (line.debits OR line.opens) THEN
            problem := 'account_frozen'; RETURN; END IF;
        IF line.kind = 'customer' AND
           line.balance_minor + line.amount < line.held_minor + line.hold_change THEN
            problem := 'insufficient_funds'; RETURN; END IF;
        IF line.kind = 'system' AND line.opens THEN problem := 'hold_on_system'; RETURN; END IF;
    END LOOP;
    SELECT p->>'asset' INTO about FROM jsonb_array_elements(coalesce(command->'postings', '[]')) p
     GROUP BY 1 HAVING sum((p->>'amount')::numeric) <> 0 LIMIT 1;
    IF FOUND THEN problem := 'unbalanced'; RETURN; END IF;
    about := command->'entry'->>'reverses';
    IF about IS NOT NULL AND EXISTS (SELECT FROM entries WHERE reverses = about) THEN
        problem := 'already_reversed'; RETURN; END IF;
    about := NULL;
END $$;

-- Do a command that has no refusal.
CREATE FUNCTION ledger_apply(command jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    entry jsonb := command->'entry';
    opened jsonb := command->'open';
BEGIN
    IF jsonb_typeof(opened) = 'object' THEN
        INSERT INTO holds (id, account_id, asset, kind, ref, amount_minor, expires_at)
        VALUES (opened->>'id', opened->>'account', opened->>'asset', opened->>'kind', opened->>'ref',
                (opened->>'amount')::numeric, (opened->>'expires_at')::timestamptz);
        UPDATE accounts SET held_minor = held_minor + (opened->>'amount')::numeric
         WHERE id = opened->>'account';
    END IF;
    IF jsonb_array_length(coalesce(command->'close', '[]')) > 0 THEN
        UPDATE holds h
           SET captured_minor = h.captured_minor + k.capture,
               released_minor = h.released_minor + k.release,
               status = CASE WHEN h.captured_minor + h.released_minor + k.capture + k.release
                                  = h.amount_minor THEN 'closed' ELSE 'open' END,
               closed_at = CASE WHEN h.captured_minor + h.released_minor + k.capture + k.release
                                  = h.amount_minor THEN bifold_now() END
          FROM (SELECT x->>'hold' AS id, (x->>'capture')::numeric AS capture,
                       (x->>'release')::numeric AS release
                  FROM jsonb_array_elements(command->'close') x) k
         WHERE h.id = k.id;
    END IF;
    IF jsonb_typeof(entry) = 'object' THEN
        INSERT INTO entries (id, kind, ref, reverses, meta, event_at)
        VALUES (entry->>'id', entry->>'kind', entry->>'ref', entry->>'reverses',
                coalesce(entry->'meta', '{}'),
                coalesce((entry->>'event_at')::timestamptz, bifold_now()));
        WITH lines AS (
            SELECT p->>'account' AS account, p->>'asset' AS asset, (p->>'amount')::numeric AS amount
              FROM jsonb_array_elements(command->'postings') p),
        freed AS (
            SELECT h.account_id AS account,
                   sum((x->>'capture')::numeric + (x->>'release')::numeric) AS amount
              FROM jsonb_array_elements(coalesce(command->'close', '[]')) x
              JOIN holds h ON h.id = x->>'hold' GROUP BY 1),
        moved AS (
            UPDATE accounts a
               SET balance_minor = a.balance_minor + l.amount,
                   held_minor = a.held_minor - coalesce(f.amount, 0),
                   posting_count = a.posting_count + 1
              FROM lines l LEFT JOIN freed f ON f.account = l.account
             WHERE a.id = l.account AND a.kind = 'customer'
            RETURNING a.id, a.balance_minor, a.posting_count),
        deltas AS (
            INSERT INTO account_deltas (account_id, amount_minor)
            SELECT l.account, l.amount FROM lines l JOIN accounts a ON a.id = l.account
             WHERE a.kind = 'system')
        INSERT INTO postings (entry_id, account_id, asset, amount_minor, account_seq, balance_after_minor)
        SELECT entry->>'id', l.account, l.asset, l.amount, m.posting_count, m.balance_minor
          FROM lines l LEFT JOIN moved m ON m.id = l.account;
    END IF;
    -- Holds closed on accounts that this entry does not touch (a void, or a capture elsewhere).
    UPDATE accounts a SET held_minor = a.held_minor - f.amount
      FROM (SELECT h.account_id AS account,
                   sum((x->>'capture')::numeric + (x->>'release')::numeric) AS amount
              FROM jsonb_array_elements(coalesce(command->'close', '[]')) x
              JOIN holds h ON h.id = x->>'hold' GROUP BY 1) f
     WHERE a.id = f.account
       AND NOT EXISTS (SELECT FROM jsonb_array_elements(coalesce(command->'postings', '[]')) p
                        WHERE p->>'account' = f.account);
    IF jsonb_typeof(command->'transfer') = 'object' THEN
        INSERT INTO transfers (id, payer_id, payee_id, asset, amount_minor, note, entry_id, created_at)
        SELECT t.id, t.payer_id, t.payee_id, t.asset, t.amount_minor, t.note, entry->>'id', t.created_at
          FROM jsonb_populate_record(NULL::transfers, command->'transfer') t;
    END IF;
    IF jsonb_typeof(command->'answer') = 'object' THEN
        INSERT INTO idempotency_answers (principal_id, method, route, key, fingerprint, status, location, body)
        SELECT r.principal_id, r.method, r.route, r.key, decode(command->'answer'->>'fingerprint_hex', 'hex'),
               r.status, r.location, r.body
          FROM jsonb_to_record(command->'answer') AS r(
               principal_id text, method text, route text, key text, status smallint, location text, body text);
    END IF;
    INSERT INTO outbox (principal_id, type, ref, data)
    SELECT o->>'principal_id', o->>'type', o->>'ref', coalesce(o->'data', '{}')
      FROM jsonb_array_elements(coalesce(command->'outbox', '[]')) o;
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
REVOKE EXECUTE ON FUNCTION ledger_post(jsonb), ledger_fold(integer), ledger_apply(jsonb),
    ledger_set_status(text, text), ledger_lock_hold(text) FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE INSERT, UPDATE, DELETE ON accounts, account_deltas, entries, postings, holds,
            account_balances FROM bifold_app;
        GRANT INSERT (id, path, principal_id, asset, kind, side) ON accounts TO bifold_app;
        GRANT EXECUTE ON FUNCTION ledger_post(jsonb), ledger_fold(integer),
            ledger_set_status(text, text), ledger_lock_hold(text) TO bifold_app;
        REVOKE UPDATE, DELETE ON events, idempotency_answers FROM bifold_app;
        REVOKE INSERT, UPDATE, DELETE ON transfers FROM bifold_app;
    END IF;
END $$;
