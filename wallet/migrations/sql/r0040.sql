-- What stops an account is not for the application to end ---------------------------------------------------
-- `bifold_app` freezes and closes: stopping is everybody's. It opens nothing but what it froze for a debt
-- that is repaid (docs/decisions/0014).

-- Whether somebody owes the house anything, in any asset. As `wallet.receivables.owes`.
CREATE FUNCTION owes_house(owner text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM public.accounts a
        WHERE a.path LIKE 'receivable:%' AND starts_with(a.path, 'receivable:' || owner || ':')
          AND a.balance_minor + coalesce((SELECT sum(d.amount_minor) FROM public.account_deltas d
                                           WHERE d.account_id = a.id), 0) < 0)
$$;

-- What an account that is frozen for a debt may still be debited for: the debt, and what else its owner
-- is charged with. It is never opened for that, so nothing else gets out beside it.
CREATE FUNCTION ledger_repays(account text, credited text[]) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM public.receivable_freezes f WHERE f.account_id = account
        AND NOT EXISTS (SELECT FROM public.accounts a WHERE a.id = ANY (credited)
            AND NOT starts_with(a.path, 'receivable:' || f.principal_id || ':')
            AND NOT starts_with(a.path, 'gateway:')
            AND NOT starts_with(a.path, 'suspense:chain_loss:')))
$$;
REVOKE EXECUTE ON FUNCTION ledger_repays(text, text[]) FROM PUBLIC;

-- As in r0002, but for `ledger_repays`.
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
               AND -line.amount > ledger_captured(command, line.id)
               AND NOT ledger_repays(line.id, ARRAY(
                   SELECT r.account FROM jsonb_to_recordset(command->'postings')
                       AS r(account text, amount numeric) WHERE r.amount > 0)) THEN
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

-- As in r0031, but for `ledger_repays`.
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
             WHERE c.entry_id = n.entry_id AND c.account_id = n.account_id), 0)
            AND NOT public.ledger_repays(n.account_id, ARRAY(
                SELECT w.account_id FROM new_postings w
                 WHERE w.entry_id = n.entry_id AND w.amount_minor > 0))) LIMIT 1;
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

-- Setting the status that it has locks the account until the commit.
CREATE OR REPLACE FUNCTION ledger_set_status(account text, new_status text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    known record;
BEGIN
    SELECT a.kind, a.status, a.principal_id INTO known FROM accounts a WHERE a.id = account
       FOR NO KEY UPDATE;
    IF NOT FOUND OR known.status = new_status THEN
        RETURN;
    END IF;
    IF known.kind = 'system' THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('an account of the house is neither frozen nor closed (%s)', account);
    END IF;
    IF (known.status = 'closed' OR new_status = 'open') AND NOT is_operator()
       AND NOT (known.status = 'frozen' AND NOT owes_house(known.principal_id)
                AND EXISTS (SELECT FROM receivable_freezes f WHERE f.account_id = account)) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('only operators open what was %s (%s)', known.status, account);
    END IF;
    UPDATE accounts SET status = new_status WHERE id = account;
END $$;

-- An operator's stop: also of an account that is frozen for a debt, or that the application may have
-- noted as such before. It stays when nothing is owed any more, and pays no debt meanwhile.
CREATE FUNCTION ledger_stop(account text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT is_operator() THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('only operators stop an account for good (%s)', account);
    END IF;
    PERFORM 1 FROM accounts a WHERE a.id = account AND a.status <> 'closed' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'no_data_found',
            MESSAGE = format('there is no account %s that is not closed', account);
    END IF;
    PERFORM ledger_set_status(account, 'frozen');
    DELETE FROM receivable_freezes f WHERE f.account_id = account;
END $$;
REVOKE EXECUTE ON FUNCTION ledger_stop(text) FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_operator') THEN
        GRANT EXECUTE ON FUNCTION ledger_stop(text) TO bifold_operator;
    END IF;
END $$;

-- A row here lets the application open an account again: it stands for an account that was open when its
-- owner owed something, and goes when nothing is owed and the account is frozen no more.
CREATE FUNCTION receivable_freezes_keep() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM 1 FROM accounts a WHERE a.id = NEW.account_id AND a.principal_id = NEW.principal_id
            AND a.kind = 'customer' AND a.status = 'open' FOR NO KEY UPDATE;
        IF NOT FOUND OR NOT owes_house(NEW.principal_id) THEN
            RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
                MESSAGE = format('%s is not open, or its owner owes nothing', NEW.account_id);
        END IF;
        RETURN NEW;
    END IF;
    PERFORM 1 FROM accounts a WHERE a.id = OLD.account_id AND a.status = 'frozen';
    IF (FOUND OR owes_house(OLD.principal_id)) AND NOT is_operator() THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('%s is frozen for a debt', OLD.account_id);
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER receivable_freezes_debt BEFORE INSERT OR DELETE ON receivable_freezes
    FOR EACH ROW EXECUTE FUNCTION receivable_freezes_keep();

-- Nothing set it, and nothing asked for it: whether somebody is frozen is what their accounts say.
ALTER TABLE users DROP COLUMN frozen_at;

-- The clock moves in a sandbox only, whose start gives the right (wallet/sandbox/schema.py).
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE INSERT, UPDATE, DELETE ON sandbox_clock FROM bifold_app;
    END IF;
END $$;
