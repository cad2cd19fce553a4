-- Treasury: how much lies hot, what is proposed about it, and the way out when a hot key is lost.
CREATE TABLE float_bounds (
    network text NOT NULL,
    asset text NOT NULL,
    low_minor numeric(78,0) NOT NULL CHECK (low_minor >= 0 AND low_minor <> 'NaN'),
    high_minor numeric(78,0) NOT NULL CHECK (high_minor >= low_minor AND high_minor <> 'NaN'),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (network, asset)
);

-- `refill` is an answer for people only: its coins come by a sheet signed cold (docs/treasury.md).
CREATE TABLE treasury_moves (
    id text PRIMARY KEY,
    network text NOT NULL,
    asset text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('to_cold', 'profit', 'evacuate', 'refill')),
    to_address text CHECK (to_address ~ '^0x[0-9a-fA-F]{40}$'),
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    state text NOT NULL CHECK (state IN ('proposed', 'approved', 'done', 'failed', 'dismissed')),
    proposed_by text NOT NULL,
    approved_by text,
    intent_id text UNIQUE REFERENCES chain_intents (id),
    tx_hash text,
    entry_id text UNIQUE REFERENCES entries (id),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    -- Four eyes: who proposes does not approve.
    CHECK (approved_by IS NULL OR approved_by <> proposed_by)
);
CREATE UNIQUE INDEX treasury_moves_proposed_idx ON treasury_moves (network, asset, kind)
    WHERE state = 'proposed';
CREATE INDEX treasury_moves_open_idx ON treasury_moves (network) WHERE state = 'approved';

-- While a row is here nothing of customers leaves on this network; with `evacuate_to` everything
-- of the hot addresses goes there.
CREATE TABLE network_freezes (
    network text PRIMARY KEY,
    reason text NOT NULL,
    evacuate_to text,
    by_whom text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT, DELETE ON network_freezes TO bifold_app;
        GRANT SELECT, INSERT, UPDATE ON float_bounds TO bifold_app;
        GRANT SELECT, INSERT ON treasury_moves TO bifold_app;
        GRANT UPDATE (state, approved_by, intent_id, entry_id, tx_hash, ended_at)
            ON treasury_moves TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON float_bounds, treasury_moves, network_freezes TO bifold_audit;
    END IF;
END $$;
