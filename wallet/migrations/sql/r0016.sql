-- Deposits that were credited and then lost to a fork below finality. What is booked stays booked; the
-- loss is an entry of its own, and so is its return when the same transfer is final again.
CREATE TABLE deposit_losses (
    id text PRIMARY KEY,
    deposit_id text NOT NULL REFERENCES deposits (id),
    network text NOT NULL,
    -- The newest block that both chains share.
    fork_number bigint NOT NULL,
    entry_id text NOT NULL UNIQUE REFERENCES entries (id),
    -- Where the chain followed now holds the same transfer.
    again_block_hash text,
    again_block_number bigint,
    return_entry_id text UNIQUE REFERENCES entries (id),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    CHECK ((again_block_hash IS NULL) = (again_block_number IS NULL)),
    CHECK (return_entry_id IS NULL OR again_block_hash IS NOT NULL)
);
-- A deposit is lost once, until it is back.
CREATE UNIQUE INDEX deposit_losses_open_idx ON deposit_losses (deposit_id)
    WHERE return_entry_id IS NULL;
CREATE INDEX deposit_losses_deposit_idx ON deposit_losses (deposit_id, created_at DESC);
CREATE INDEX deposit_losses_network_idx ON deposit_losses (network) WHERE return_entry_id IS NULL;

CREATE FUNCTION deposit_losses_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.id <> OLD.id OR NEW.deposit_id <> OLD.deposit_id
       OR NEW.entry_id <> OLD.entry_id OR NEW.fork_number <> OLD.fork_number
       OR NEW.network <> OLD.network OR OLD.return_entry_id IS NOT NULL THEN
        RAISE EXCEPTION 'a loss stays in the books as it was found (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deposit_losses_immutable BEFORE UPDATE OR DELETE ON deposit_losses
    FOR EACH ROW EXECUTE FUNCTION deposit_losses_keep();

-- A fork below finality that an operator proposes to follow; another one agrees.
CREATE TABLE fork_proposals (
    network text PRIMARY KEY,
    fork_number bigint NOT NULL,
    -- The first block of the chain that would be followed, and the last one both share.
    next_hash text NOT NULL,
    fork_hash text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT ON deposit_losses TO bifold_app;
        GRANT UPDATE (again_block_hash, again_block_number, return_entry_id)
            ON deposit_losses TO bifold_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON fork_proposals TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON deposit_losses, fork_proposals TO bifold_audit;
    END IF;
END $$;
