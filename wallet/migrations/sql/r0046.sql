-- r0046: terms of nothing may be put right; which factory makes a network's addresses -----------------------
-- Listed with wrong decimals and noticed before anything was booked, an asset would have lost its code for good.
CREATE FUNCTION asset_terms_stand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.code <> OLD.code OR EXISTS (SELECT FROM public.accounts a
            JOIN public.postings p ON p.account_id = a.id WHERE a.asset = OLD.code) THEN
        RAISE EXCEPTION USING ERRCODE = 'BF001',
            MESSAGE = format('amounts of %s are in the books by these terms', OLD.code);
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER asset_terms_append_only ON asset_terms;
CREATE TRIGGER asset_terms_append_only BEFORE DELETE OR TRUNCATE ON asset_terms
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER asset_terms_stand BEFORE UPDATE ON asset_terms
    FOR EACH ROW EXECUTE FUNCTION asset_terms_stand();

-- The ForwarderFactory that was asked for its first address and makes ours. That a network was looked at says
-- nothing of the factory that a process reads of its file: another one, or a file of before the question was asked.
ALTER TABLE network_state ADD COLUMN factory text;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT UPDATE (kind, scale, name) ON asset_terms TO bifold_app;
        GRANT UPDATE (factory) ON network_state TO bifold_app;
    END IF;
END $$;
