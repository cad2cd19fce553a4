-- Clock -----------------------------------------------------------------------------------------
CREATE TABLE sandbox_clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    offset_seconds bigint NOT NULL DEFAULT 0 CHECK (offset_seconds >= 0)
);
INSERT INTO sandbox_clock DEFAULT VALUES;

CREATE FUNCTION sandbox_clock_forward_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.offset_seconds < OLD.offset_seconds THEN
        RAISE EXCEPTION 'the sandbox clock only moves forward';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER sandbox_clock_forward BEFORE UPDATE ON sandbox_clock
    FOR EACH ROW EXECUTE FUNCTION sandbox_clock_forward_only();

CREATE FUNCTION bifold_now() RETURNS timestamptz LANGUAGE sql STABLE AS
    'SELECT clock_timestamp() + (SELECT offset_seconds FROM public.sandbox_clock) * interval ''1 second''';

-- Processes, networks, faults -------------------------------------------------------------------
CREATE TABLE process_state (
    name text PRIMARY KEY,
    healthy boolean NOT NULL,
    detail text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE network_state (
    network text PRIMARY KEY,
    chain_id bigint,
    block1_hash text,
    head_number bigint,
    head_hash text,
    head_time timestamptz,
    base_fee_wei numeric(78,0),
    tip_wei numeric(78,0),
    cap_wei numeric(78,0),
    as_of timestamptz,
    healthy boolean NOT NULL DEFAULT false,
    detail text NOT NULL DEFAULT '',
    snapshot_block bigint,
    halted_reason text,
    halted_at timestamptz
);

CREATE TABLE sandbox_faults (
    name text PRIMARY KEY,
    enabled boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Fixed windows, shared by all processes. Unlogged: losing counters in a crash is acceptable.
CREATE UNLOGGED TABLE rate_counters (
    bucket text NOT NULL,
    window_start timestamptz NOT NULL,
    hits integer NOT NULL,
    PRIMARY KEY (bucket, window_start)
);

-- Who acts --------------------------------------------------------------------------------------
CREATE TABLE principals (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('user', 'organisation', 'operator', 'system')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO principals (id, kind) VALUES ('prn_house', 'system');

CREATE TABLE users (
    id text PRIMARY KEY REFERENCES principals (id),
    handle text NOT NULL UNIQUE CHECK (handle = lower(handle)),
    email text NOT NULL,
    email_key text NOT NULL UNIQUE,
    email_verified_at timestamptz,
    password_hash text NOT NULL,
    display_name text NOT NULL,
    country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    locale text NOT NULL DEFAULT 'en',
    display_asset text NOT NULL DEFAULT 'EUR',
    kyc_tier text NOT NULL,
    frozen_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Handles are never given again, whoever had them.
CREATE TABLE retired_handles (handle text PRIMARY KEY, retired_at timestamptz NOT NULL DEFAULT clock_timestamp());

CREATE TABLE sessions (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    token_hash bytea NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('api', 'web')),
    user_agent text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX sessions_principal_idx ON sessions (principal_id, created_at DESC);

-- Retries ---------------------------------------------------------------------------------------
CREATE TABLE idempotency_answers (
    principal_id text NOT NULL REFERENCES principals (id),
    method text NOT NULL,
    route text NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,
    status smallint NOT NULL CHECK (status BETWEEN 200 AND 299),
    location text,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (principal_id, method, route, key)
);

-- Promises --------------------------------------------------------------------------------------
-- Written in the transaction of the rows they speak of; the relay moves them to `events`.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    principal_id text REFERENCES principals (id),
    type text NOT NULL,
    ref text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT bifold_now()
);

CREATE TABLE events (
    seq bigint PRIMARY KEY,
    id text NOT NULL UNIQUE,
    principal_id text,
    type text NOT NULL,
    ref text NOT NULL,
    data jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX events_principal_idx ON events (principal_id, seq DESC);

-- What people did inside the wallet ----------------------------------------------------------------
CREATE TABLE transfers (
    id text PRIMARY KEY,
    payer_id text NOT NULL REFERENCES principals (id),
    payee_id text NOT NULL REFERENCES principals (id),
    asset text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    note text,
    entry_id text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    CHECK (payer_id <> payee_id)
);
CREATE INDEX transfers_payer_idx ON transfers (payer_id, created_at DESC, id DESC);
CREATE INDEX transfers_payee_idx ON transfers (payee_id, created_at DESC, id DESC);
