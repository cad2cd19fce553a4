-- Back again: the application's role opens what it likes, and moves the clock, again.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE ON sandbox_clock FROM bifold_app;  -- the column's own with it
        GRANT INSERT, UPDATE, DELETE ON sandbox_clock TO bifold_app;
    END IF;
END $$;

ALTER TABLE users ADD COLUMN frozen_at timestamptz;

DROP FUNCTION ledger_stop(text);
DROP TRIGGER receivable_freezes_debt ON receivable_freezes;
DROP FUNCTION receivable_freezes_keep();

CREATE OR REPLACE FUNCTION ledger_set_status(account text, new_status text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
    'UPDATE accounts SET status = new_status WHERE id = account';

DROP FUNCTION ledger_repays(text, text[]);
DROP FUNCTION owes_house(text);
