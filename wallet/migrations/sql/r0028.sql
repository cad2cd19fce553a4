-- What a gateway lists and we have not booked is asked about until it is; promises only go out ------

-- A top-up that has ended is looked at again, too, while the gateway's list moved it and our books
-- did not; all the others that have ended carry no time.
CREATE INDEX topups_next_idx ON topups (next_at) WHERE next_at IS NOT NULL;
DROP INDEX topups_due_idx;

-- Since r0025 the owner's function moves promises to events. The application makes them and reads
-- them; that it could rewrite or delete one was a way to keep an event from being told and sealed.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE ALL ON outbox FROM bifold_app;
        GRANT SELECT, INSERT ON outbox TO bifold_app;
    END IF;
END $$;
