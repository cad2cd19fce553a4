-- Sign-in with Ethereum: nonces used once, addresses that belong to one person.
CREATE TABLE siwe_nonces (
    nonce text PRIMARY KEY CHECK (nonce ~ '^[a-zA-Z0-9]{8,64}$'),
    purpose text NOT NULL CHECK (purpose IN ('sign_in', 'link')),
    principal_id text REFERENCES principals (id),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    CHECK ((purpose = 'link') = (principal_id IS NOT NULL))
);
CREATE INDEX siwe_nonces_expiry_idx ON siwe_nonces (expires_at);

CREATE TABLE linked_wallets (
    address text PRIMARY KEY CHECK (address ~ '^0x[0-9a-fA-F]{40}$'),
    principal_id text NOT NULL REFERENCES principals (id),
    linked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX linked_wallets_lower_idx ON linked_wallets (lower(address));
CREATE INDEX linked_wallets_owner_idx ON linked_wallets (principal_id);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT, DELETE ON siwe_nonces, linked_wallets TO bifold_app;
        GRANT UPDATE (used_at) ON siwe_nonces TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON siwe_nonces, linked_wallets TO bifold_audit;
    END IF;
END $$;
