-- Back again: the application's role opens what it likes, and moves the clock, again.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE ON sandbox_clock FROM bifold_app;  -- the column's own with it
        GRANT INSERT, UPDATE, DELETE ON sandbox_clock TO bifold_app;
    END IF;
END $$;

ALTER TABLE users ADD COLUMN frozen_at timestamptz;

DROP TRIGGER receivable_freezes_debt ON receivable_freezes;
DROP FUNCTION receivable_freezes_keep();

CREATE OR REPLACE FUNCTION ledger_set_status(account text, new_status text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
    'UPDATE accounts SET status = new_status WHERE id = account';

CREATE OR REPLACE FUNCTION ledger_refuse_moves(command jsonb) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
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

DROP FUNCTION ledger_repays(text, text[]);
DROP FUNCTION owes_house(text);
