-- Sending: what the owner of a payment asks for after its nonce is given.
-- A request is a wish: the deliverer answers it by another attempt at the same nonce, and whichever
-- attempt the chain takes decides.
ALTER TABLE chain_intents
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN speed_up_requested_at timestamptz,
    ADD CHECK (nonce IS NOT NULL OR (cancel_requested_at IS NULL AND speed_up_requested_at IS NULL));

-- Ganache runs a transaction with nonce 0 again each time it is re-sent. There every hot address
-- first uses that nonce for a transfer of nothing; its gas is booked when it is final.
CREATE TABLE nonce_burns (
    network text NOT NULL,
    address text NOT NULL,
    raw bytea NOT NULL,
    tx_hash text NOT NULL,
    sent_at timestamptz,
    entry_id text UNIQUE REFERENCES entries (id),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (network, address)
);
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT ON nonce_burns TO bifold_app;
        GRANT UPDATE (sent_at, entry_id) ON nonce_burns TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON nonce_burns TO bifold_audit;
    END IF;
END $$;
