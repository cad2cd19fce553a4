-- Receiving: tokens that are stopped, and value that arrived without a transfer we can see.

-- A listed token whose contract is no longer what was listed. Its deposits wait for a person and
-- nothing of it is sent, while the rest of the network goes on.
CREATE TABLE halted_tokens (
    network text NOT NULL,
    asset text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (network, asset)
);

-- Found by balances: paid inside a contract, by a self-destruct, as a block reward, or to an address
-- of ours that nobody was given. In the books at once (unattributed); an operator says whose it is,
-- another one agrees.
CREATE TABLE unattributed_arrivals (
    id text PRIMARY KEY,
    network text NOT NULL,
    address text NOT NULL,
    asset text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    at_block bigint NOT NULL,
    block_hash text NOT NULL,
    block_time timestamptz NOT NULL,
    entry_id text NOT NULL UNIQUE REFERENCES entries (id),
    -- The proposal.
    principal_id text REFERENCES principals (id),
    tx_hash text CHECK (tx_hash ~ '^0x[0-9a-f]{64}$'),
    proposed_by text,
    proposed_at timestamptz,
    -- The decision, by somebody else.
    approved_by text CHECK (approved_by IS NULL OR approved_by <> proposed_by),
    deposit_id text UNIQUE REFERENCES deposits (id),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    UNIQUE (network, address, asset, at_block),
    CHECK ((principal_id IS NULL) = (proposed_by IS NULL)),
    CHECK ((tx_hash IS NULL) = (proposed_by IS NULL)),
    CHECK ((deposit_id IS NULL) = (approved_by IS NULL)),
    CHECK (approved_by IS NULL OR proposed_by IS NOT NULL)
);

CREATE FUNCTION unattributed_arrivals_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.amount_minor <> OLD.amount_minor OR NEW.asset <> OLD.asset
       OR NEW.address <> OLD.address OR NEW.entry_id <> OLD.entry_id OR OLD.deposit_id IS NOT NULL
    THEN
        RAISE EXCEPTION 'an arrival keeps what arrived, and an assigned one its owner (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER unattributed_arrivals_immutable BEFORE UPDATE OR DELETE ON unattributed_arrivals
    FOR EACH ROW EXECUTE FUNCTION unattributed_arrivals_keep();

-- Below -1: assigned by hand, with no transfer of its own in the block.
ALTER TABLE deposits DROP CONSTRAINT deposits_log_index_check;
ALTER TABLE deposits ADD CONSTRAINT deposits_log_index_check CHECK (log_index >= -1000);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT, DELETE ON halted_tokens TO bifold_app;
        GRANT SELECT, INSERT ON unattributed_arrivals TO bifold_app;
        GRANT UPDATE (principal_id, tx_hash, proposed_by, proposed_at, approved_by, deposit_id)
            ON unattributed_arrivals TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON halted_tokens, unattributed_arrivals TO bifold_audit;
    END IF;
END $$;
