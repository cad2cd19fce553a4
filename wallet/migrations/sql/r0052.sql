-- In which database, as it ran then, a payment of an own account got its nonce. Rows of before have
-- none, and count as a copy's.
ALTER TABLE selfcustody_sends ADD COLUMN given_in text;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT UPDATE (given_in) ON selfcustody_sends TO bifold_app;
    END IF;
END $$;
