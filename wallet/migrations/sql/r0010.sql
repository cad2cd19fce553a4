-- Watch-only: addresses and extended public keys of people, and what the chain says they hold.
-- Nothing here is money of ours: no table of the books refers to it. The checks on label and key
-- are a second net: a private key has no way in even past the application.
CREATE TABLE watched (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    kind text NOT NULL CHECK (kind IN ('address', 'xpub')),
    label text NOT NULL CHECK (char_length(label) BETWEEN 1 AND 60 AND label !~ '[xyztuv]prv[1-9A-HJ-NP-Za-km-z]{20}'),
    identity text NOT NULL CHECK (identity ~ '^(0x[0-9a-fA-F]{40}|[0-9a-f]{64})$'),
    xpub text CHECK (xpub ~ '^xpub[1-9A-HJ-NP-Za-km-z]{107}$'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((kind = 'xpub') = (xpub IS NOT NULL)),
    UNIQUE (principal_id, identity)
);
CREATE INDEX watched_owner_idx ON watched (principal_id, created_at DESC, id DESC);

-- One for an address; for an xpub the receiving addresses 0, 1, 2, … up to the gap limit.
CREATE TABLE watched_addresses (
    watched_id text NOT NULL REFERENCES watched (id) ON DELETE CASCADE,
    position integer NOT NULL CHECK (position >= 0),
    address text NOT NULL CHECK (address ~ '^0x[0-9a-fA-F]{40}$'),
    used_at timestamptz,
    PRIMARY KEY (watched_id, position)
);

-- Read by the worker at a block of the network; never summed with what the books say.
CREATE TABLE watched_balances (
    watched_id text NOT NULL,
    position integer NOT NULL,
    network text NOT NULL,
    asset text NOT NULL,
    amount_minor numeric(78, 0) NOT NULL CHECK (amount_minor >= 0),
    block_number bigint NOT NULL CHECK (block_number >= 0),
    read_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (watched_id, position, network, asset),
    FOREIGN KEY (watched_id, position) REFERENCES watched_addresses (watched_id, position)
        ON DELETE CASCADE
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT, DELETE ON watched TO bifold_app;
        GRANT SELECT, INSERT ON watched_addresses, watched_balances TO bifold_app;
        GRANT UPDATE (used_at) ON watched_addresses TO bifold_app;
        GRANT UPDATE (amount_minor, block_number, read_at) ON watched_balances TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON watched, watched_addresses, watched_balances TO bifold_audit;
    END IF;
END $$;
