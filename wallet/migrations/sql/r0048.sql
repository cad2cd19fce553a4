-- r0048: whether this database, as it runs now, was held against its hot addresses' nonces; old sessions -------
-- A copy that was restored holds as queued what the lost books had paid. Until a worker has looked nobody knows;
-- PostgreSQL's start and the table's own number tell any copy from what it was made of.
ALTER TABLE network_state ADD COLUMN compared_in text;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT UPDATE (compared_in) ON network_state TO bifold_app;
    END IF;
END $$;

-- Sessions that ended long ago are dropped, the oldest first.
CREATE INDEX sessions_expires_idx ON sessions (expires_at);
