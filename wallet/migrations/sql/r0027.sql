-- Where a past moment stands in an account's posting chain -------------------------------------------
-- Finds the posting with the highest `account_seq` that was written before `moment`, and the balance
-- after it; 0 and 0 where none was. Halving over `account_seq`, from the greatest power of two
-- downwards, reads as many rows as the length of the chain has binary digits: 17 of 100,000.
--
-- Halving needs the chain to be in the order of its clock, which it is while the server's clock is
-- not set back: an account's postings are written one after another, under its lock. Where the clock
-- was set back, several places fit a moment, and this picks one of them, by two rules that hold for
-- any chain: the posting at the place was written before the moment and the one behind it was not;
-- and a later moment never has an earlier place. So periods still meet without a gap or an overlap.
-- An index by time could not say that: it orders by the clock, and the books are in the order of
-- `account_seq`.
CREATE FUNCTION ledger_place(account text, moment timestamptz,
                             OUT seq bigint, OUT balance_minor numeric)
LANGUAGE plpgsql STABLE STRICT SET search_path = public, pg_temp
-- Each probe asks for one row of a unique index; the planner must not think anew each time.
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    length bigint;
    step bigint := 1;
    written timestamptz;
    after_it numeric;
BEGIN
    seq := 0;
    balance_minor := 0;
    SELECT a.posting_count INTO length FROM accounts a WHERE a.id = account;
    IF length IS NULL OR length = 0 THEN RETURN; END IF;
    WHILE step <= length / 2 LOOP
        step := step * 2;
    END LOOP;
    WHILE step > 0 LOOP
        IF seq + step <= length THEN
            SELECT p.created_at, p.balance_after_minor INTO written, after_it FROM postings p
             WHERE p.account_id = account AND p.account_seq = seq + step;
            IF NOT FOUND THEN
                RAISE EXCEPTION USING ERRCODE = 'BF010',
                    MESSAGE = format('posting %s of account %s is missing', seq + step, account);
            END IF;
            IF written < moment THEN
                seq := seq + step;
                balance_minor := after_it;
            END IF;
        END IF;
        step := step / 2;
    END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION ledger_place(text, timestamptz) FROM PUBLIC;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT EXECUTE ON FUNCTION ledger_place(text, timestamptz) TO bifold_app, bifold_audit;
    END IF;
END $$;
