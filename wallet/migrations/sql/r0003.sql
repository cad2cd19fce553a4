-- Addresses -------------------------------------------------------------------------------------
-- One index serves every network: an address belongs to one principal wherever coins arrive at it.
CREATE SEQUENCE deposit_address_index AS integer MINVALUE 0 START 0;

CREATE TABLE deposit_addresses (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    network text NOT NULL,
    derivation_index integer NOT NULL UNIQUE CHECK (derivation_index >= 0),
    address text NOT NULL UNIQUE CHECK (address ~ '^0x[0-9a-fA-F]{40}$'),
    -- The one shown when the owner asks again; earlier ones keep receiving for ever.
    is_current boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT bifold_now()
);
CREATE UNIQUE INDEX deposit_addresses_current_idx ON deposit_addresses (principal_id, network)
    WHERE is_current;
CREATE UNIQUE INDEX deposit_addresses_lower_idx ON deposit_addresses (lower(address));
CREATE INDEX deposit_addresses_watch_idx ON deposit_addresses (network, created_at);

CREATE TABLE house_addresses (
    network text NOT NULL,
    address text NOT NULL CHECK (address ~ '^0x[0-9a-fA-F]{40}$'),
    place text NOT NULL CHECK (place IN ('hot', 'cold', 'faucet')),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    PRIMARY KEY (network, address)
);
CREATE UNIQUE INDEX house_addresses_lower_idx ON house_addresses (network, lower(address));

-- Sending ---------------------------------------------------------------------------------------
-- The row is the lock under which nonces are given: no nonce without it, none given twice.
CREATE TABLE chain_signers (
    network text NOT NULL,
    address text NOT NULL,
    next_nonce bigint NOT NULL CHECK (next_nonce >= 0),
    halted_reason text,
    halted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (network, address)
);

CREATE TABLE chain_intents (
    id text PRIMARY KEY,
    purpose text NOT NULL,
    ref text NOT NULL,
    network text NOT NULL,
    asset text NOT NULL,
    to_address text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    gas_limit bigint NOT NULL CHECK (gas_limit BETWEEN 21000 AND 16000000),
    -- The most one unit of gas may cost; bumps stay below it.
    fee_ceiling_wei numeric(78,0) NOT NULL CHECK (fee_ceiling_wei > 0 AND fee_ceiling_wei <> 'NaN'),
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'allocated', 'signed', 'sent',
        'mined', 'final_ok', 'final_reverted', 'cancelled', 'failed', 'in_review')),
    reason text,
    waiting_for text,
    from_address text,
    nonce bigint CHECK (nonce >= 0),
    -- The receipt that ended it: of whichever attempt was mined.
    mined_tx_hash text,
    mined_kind text,
    mined_block bigint,
    mined_block_hash text,
    mined_status smallint CHECK (mined_status IN (0, 1)),
    gas_used bigint,
    gas_fee_wei numeric(78,0) CHECK (gas_fee_wei >= 0 AND gas_fee_wei <> 'NaN'),
    -- Head at which the chain was first seen past this nonce without any receipt of ours.
    passed_at_block bigint,
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (purpose, ref),
    UNIQUE (network, from_address, nonce),
    CHECK ((from_address IS NULL) = (nonce IS NULL)),
    CHECK (nonce IS NOT NULL OR state IN ('queued', 'cancelled', 'failed'))
);
CREATE INDEX chain_intents_open_idx ON chain_intents (network, state)
    WHERE state IN ('queued', 'allocated', 'signed', 'sent', 'mined');

CREATE TABLE chain_attempts (
    intent_id text NOT NULL REFERENCES chain_intents (id),
    seq smallint NOT NULL CHECK (seq BETWEEN 1 AND 50),
    network text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('pay', 'bump', 'cancel', 'noop')),
    unsigned bytea NOT NULL,
    tip_wei numeric(78,0) NOT NULL CHECK (tip_wei >= 0 AND tip_wei <> 'NaN'),
    cap_wei numeric(78,0) NOT NULL CHECK (cap_wei >= tip_wei AND cap_wei <> 'NaN'),
    refused text,
    raw bytea,
    tx_hash text,
    sends integer NOT NULL DEFAULT 0,
    first_sent_at timestamptz,
    last_sent_at timestamptz,
    last_outcome text,
    last_message text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    signed_at timestamptz,
    PRIMARY KEY (intent_id, seq),
    UNIQUE (network, tx_hash),
    CHECK ((raw IS NULL) = (tx_hash IS NULL)),
    CHECK (raw IS NOT NULL OR sends = 0)
);

-- Bytes that may have left are history: an attempt never changes what it is, a nonce never changes owner.
CREATE FUNCTION chain_attempts_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.unsigned <> OLD.unsigned OR NEW.kind <> OLD.kind
       OR NEW.intent_id <> OLD.intent_id OR NEW.seq <> OLD.seq OR NEW.network <> OLD.network
       OR (OLD.raw IS NOT NULL AND (NEW.raw IS DISTINCT FROM OLD.raw
                                    OR NEW.tx_hash IS DISTINCT FROM OLD.tx_hash)) THEN
        RAISE EXCEPTION 'an attempt keeps its bytes (intent %)', OLD.intent_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER chain_attempts_immutable BEFORE UPDATE OR DELETE ON chain_attempts
    FOR EACH ROW EXECUTE FUNCTION chain_attempts_keep();

CREATE FUNCTION chain_intents_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.to_address <> OLD.to_address OR NEW.amount_minor <> OLD.amount_minor
       OR NEW.asset <> OLD.asset OR NEW.network <> OLD.network OR NEW.gas_limit <> OLD.gas_limit
       OR (OLD.nonce IS NOT NULL AND (NEW.nonce IS DISTINCT FROM OLD.nonce
                                      OR NEW.from_address IS DISTINCT FROM OLD.from_address))
       OR (OLD.state IN ('final_ok', 'final_reverted', 'cancelled', 'failed')
           AND NEW.state <> OLD.state) THEN
        RAISE EXCEPTION 'an intent keeps what it pays, its nonce and its end (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER chain_intents_immutable BEFORE UPDATE OR DELETE ON chain_intents
    FOR EACH ROW EXECUTE FUNCTION chain_intents_keep();

-- Observing -------------------------------------------------------------------------------------
-- The hash of the block of the last stored snapshot: a snapshot of another fork makes nothing final.
ALTER TABLE network_state ADD COLUMN snapshot_hash text;

-- Where the scanner stands. Every change compares (tip_number, tip_hash) first, under this row's lock.
CREATE TABLE scan_state (
    network text PRIMARY KEY,
    tip_number bigint NOT NULL,
    tip_hash text NOT NULL,
    -- Nothing at or below this height may ever change; a fork that does halts the network.
    final_number bigint NOT NULL DEFAULT -1,
    final_hash text,
    started_at_block bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE chain_blocks (
    network text NOT NULL,
    number bigint NOT NULL CHECK (number >= 0),
    hash text NOT NULL,
    parent_hash text NOT NULL,
    block_time timestamptz NOT NULL,
    PRIMARY KEY (network, number),
    UNIQUE (network, hash)
);

CREATE TABLE deposits (
    id text PRIMARY KEY,
    network text NOT NULL,
    block_hash text NOT NULL,
    block_number bigint NOT NULL,
    block_time timestamptz NOT NULL,
    tx_hash text NOT NULL,
    log_index integer NOT NULL CHECK (log_index >= -1),
    asset text NOT NULL,
    contract text,
    from_address text NOT NULL,
    to_address text NOT NULL,
    -- Up to 2^256 - 1, exactly.
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    -- NULL: it arrived at an address of the house itself.
    principal_id text REFERENCES principals (id),
    status text NOT NULL DEFAULT 'seen' CHECK (status IN
        ('seen', 'confirmed', 'credited', 'orphaned', 'ignored', 'quarantined')),
    reason text,
    entry_id text UNIQUE REFERENCES entries (id),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (network, block_hash, tx_hash, log_index),
    CHECK (status <> 'credited' OR entry_id IS NOT NULL)
);
CREATE INDEX deposits_open_idx ON deposits (network, block_number) WHERE status IN ('seen', 'confirmed');
CREATE INDEX deposits_owner_idx ON deposits (principal_id, created_at DESC, id DESC);
CREATE INDEX deposits_tx_idx ON deposits (network, tx_hash);

-- Credited once, for ever: what is booked is neither moved to another block nor taken back here.
CREATE FUNCTION deposits_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.amount_minor <> OLD.amount_minor OR NEW.asset <> OLD.asset
       OR NEW.to_address <> OLD.to_address OR NEW.tx_hash <> OLD.tx_hash
       OR NEW.principal_id IS DISTINCT FROM OLD.principal_id
       OR (OLD.entry_id IS NOT NULL AND (NEW.entry_id IS DISTINCT FROM OLD.entry_id
           OR NEW.status <> OLD.status OR NEW.block_hash <> OLD.block_hash)) THEN
        RAISE EXCEPTION 'a deposit keeps what arrived, and a booked one its place (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deposits_immutable BEFORE UPDATE OR DELETE ON deposits
    FOR EACH ROW EXECUTE FUNCTION deposits_keep();

-- Paying out ------------------------------------------------------------------------------------
CREATE TABLE withdrawals (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    network text NOT NULL,
    asset text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    to_address text NOT NULL,
    status text NOT NULL DEFAULT 'held' CHECK (status IN
        ('held', 'signed', 'broadcast', 'mined', 'settled', 'in_review', 'failed', 'cancelled')),
    failure_code text,
    -- Minor units of the withdrawn asset for one wei of gas, fixed at creation.
    gas_rate numeric NOT NULL CHECK (gas_rate > 0 AND gas_rate <> 'NaN' AND gas_rate < 'Infinity'),
    fee_bound_minor numeric(78,0) NOT NULL CHECK (fee_bound_minor > 0 AND fee_bound_minor <> 'NaN'),
    fee_expected_minor numeric(78,0) NOT NULL
        CHECK (fee_expected_minor > 0 AND fee_expected_minor <> 'NaN'),
    -- What was due in the end; NULL until then.
    fee_minor numeric(78,0) CHECK (fee_minor <> 'NaN' AND fee_minor BETWEEN 0 AND fee_bound_minor),
    hold_id text NOT NULL UNIQUE REFERENCES holds (id),
    intent_id text NOT NULL UNIQUE REFERENCES chain_intents (id),
    entry_id text UNIQUE REFERENCES entries (id),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    updated_at timestamptz NOT NULL DEFAULT bifold_now()
);
CREATE INDEX withdrawals_owner_idx ON withdrawals (principal_id, created_at DESC, id DESC);

CREATE TABLE withdrawal_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    withdrawal_id text NOT NULL REFERENCES withdrawals (id),
    type text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT bifold_now()
);
CREATE INDEX withdrawal_events_idx ON withdrawal_events (withdrawal_id, id);

-- Whether anything on this network waits for blocks: the sandbox's miner rests while nothing does,
-- and on a halted network nothing will come of them.
CREATE FUNCTION chain_waiting(of_network text) RETURNS boolean LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
    SELECT (EXISTS (SELECT FROM deposits
                     WHERE network = of_network AND status IN ('seen', 'confirmed'))
        OR EXISTS (SELECT FROM chain_intents
                    WHERE network = of_network AND state IN ('allocated', 'signed', 'sent', 'mined')))
       AND NOT EXISTS (SELECT FROM network_state
                        WHERE network = of_network AND halted_reason IS NOT NULL)
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE, DELETE ON withdrawal_events FROM bifold_app;
        REVOKE DELETE ON deposit_addresses, house_addresses, chain_signers, chain_intents,
            chain_attempts, deposits, withdrawals, scan_state FROM bifold_app;
        -- Whose address it is never changes; only which one is shown.
        REVOKE UPDATE ON deposit_addresses, house_addresses FROM bifold_app;
        GRANT UPDATE (is_current) ON deposit_addresses TO bifold_app;
    END IF;
END $$;
