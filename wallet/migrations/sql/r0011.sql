-- Self-custody: accounts whose words belong to a person. What lies here opens with the person's
-- passphrase inside the signer only; boxes are ciphertext from browser to signer.
CREATE TABLE selfcustody_key (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    public_key text NOT NULL CHECK (public_key ~ '^[0-9a-f]{64}$'),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE selfcustody_accounts (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    label text NOT NULL CHECK (length(label) BETWEEN 1 AND 60),
    address text NOT NULL CHECK (address ~ '^0x[0-9a-fA-F]{40}$'),
    sealed jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at timestamptz
);
CREATE UNIQUE INDEX selfcustody_accounts_once_idx ON selfcustody_accounts
    (principal_id, lower(address)) WHERE removed_at IS NULL;

-- One question to the signer. The box is forgotten with the answer.
CREATE TABLE selfcustody_requests (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    nonce text NOT NULL CHECK (nonce ~ '^[0-9a-f]{16,64}$'),
    purpose text NOT NULL CHECK (purpose IN ('create', 'import', 'grant')),
    label text,
    account_id text REFERENCES selfcustody_accounts (id),
    box jsonb,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'done', 'refused')),
    reply jsonb,
    reason text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (principal_id, nonce),
    CHECK ((state = 'queued') = (box IS NOT NULL))
);
CREATE INDEX selfcustody_requests_queued_idx ON selfcustody_requests (created_at)
    WHERE state = 'queued';

-- A payment out of such an account: not the house's money, so no entry in the books.
CREATE TABLE selfcustody_sends (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    account_id text NOT NULL REFERENCES selfcustody_accounts (id),
    request_id text NOT NULL UNIQUE REFERENCES selfcustody_requests (id),
    network text NOT NULL,
    asset text NOT NULL,
    to_address text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    max_fee_wei numeric(78,0) NOT NULL CHECK (max_fee_wei > 0 AND max_fee_wei <> 'NaN'),
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'allocated', 'signed', 'sent', 'mined', 'settled', 'failed')),
    reason text,
    grant_name text,
    nonce bigint,
    unsigned bytea,
    raw bytea,
    tx_hash text,
    mined_block bigint,
    gas_fee_wei numeric(78,0),
    sent_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((nonce IS NULL) = (unsigned IS NULL)),
    CHECK ((raw IS NULL) = (tx_hash IS NULL)),
    CHECK (raw IS NOT NULL OR state IN ('queued', 'allocated', 'failed'))
);
-- One payment of an account on a network at a time: its nonce is the chain's next one.
CREATE UNIQUE INDEX selfcustody_sends_open_idx ON selfcustody_sends (account_id, network)
    WHERE state NOT IN ('settled', 'failed');
CREATE INDEX selfcustody_sends_owner_idx ON selfcustody_sends (principal_id, created_at DESC);

-- Bytes that may have left never change.
CREATE FUNCTION selfcustody_sends_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (OLD.raw IS NOT NULL AND NEW.raw IS DISTINCT FROM OLD.raw)
       OR (OLD.unsigned IS NOT NULL AND NEW.unsigned IS DISTINCT FROM OLD.unsigned)
       OR NEW.to_address <> OLD.to_address OR NEW.amount_minor <> OLD.amount_minor
       OR (OLD.state IN ('settled', 'failed') AND NEW.state <> OLD.state) THEN
        RAISE EXCEPTION 'a payment keeps its bytes and its end (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER selfcustody_sends_immutable BEFORE UPDATE OR DELETE ON selfcustody_sends
    FOR EACH ROW EXECUTE FUNCTION selfcustody_sends_keep();

-- The sandbox's chain goes on while a payment of an own account waits for its blocks, too.
CREATE OR REPLACE FUNCTION chain_waiting(of_network text) RETURNS boolean LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
    SELECT (EXISTS (SELECT FROM deposits
                     WHERE network = of_network AND status IN ('seen', 'confirmed'))
        OR EXISTS (SELECT FROM chain_intents
                    WHERE network = of_network AND state IN ('allocated', 'signed', 'sent', 'mined'))
        OR EXISTS (SELECT FROM selfcustody_sends
                    WHERE network = of_network AND state IN ('allocated', 'signed', 'sent', 'mined')))
       AND NOT EXISTS (SELECT FROM network_state
                        WHERE network = of_network AND halted_reason IS NOT NULL)
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT, UPDATE ON selfcustody_key TO bifold_app;
        GRANT SELECT, INSERT ON selfcustody_accounts, selfcustody_requests, selfcustody_sends
            TO bifold_app;
        GRANT UPDATE (removed_at) ON selfcustody_accounts TO bifold_app;
        GRANT UPDATE (box, state, reply, reason, account_id) ON selfcustody_requests TO bifold_app;
        GRANT UPDATE (state, reason, grant_name, nonce, unsigned, raw, tx_hash, mined_block,
            gas_fee_wei, sent_at, updated_at) ON selfcustody_sends TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON selfcustody_key, selfcustody_accounts, selfcustody_requests,
            selfcustody_sends TO bifold_audit;
    END IF;
END $$;
