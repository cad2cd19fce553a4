-- What cold addresses of the house pay for gas: seen with their transactions, an expense at finality.
CREATE TABLE cold_gas (
    network text NOT NULL,
    tx_hash text NOT NULL,
    block_hash text NOT NULL,
    block_number bigint NOT NULL,
    block_time timestamptz NOT NULL,
    address text NOT NULL,
    -- Wei of the network's native coin.
    fee_minor numeric(78,0) NOT NULL CHECK (fee_minor > 0 AND fee_minor <> 'NaN'),
    entry_id text UNIQUE REFERENCES entries (id),
    PRIMARY KEY (network, tx_hash)
);
CREATE INDEX cold_gas_open_idx ON cold_gas (network, block_number) WHERE entry_id IS NULL;

CREATE FUNCTION cold_gas_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.entry_id IS NOT NULL THEN
        RAISE EXCEPTION 'booked gas stays as it was booked (%)', OLD.tx_hash;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cold_gas_immutable BEFORE UPDATE OR DELETE ON cold_gas
    FOR EACH ROW EXECUTE FUNCTION cold_gas_keep();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT, DELETE ON cold_gas TO bifold_app;
        GRANT UPDATE (entry_id) ON cold_gas TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON cold_gas TO bifold_audit;
    END IF;
END $$;
