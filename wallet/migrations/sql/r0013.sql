-- Sweeps and batch payouts.
-- A deposit address signs its own sweep: it is a signer like a hot one, but no lane.
ALTER TABLE chain_signers
    ADD COLUMN role text NOT NULL DEFAULT 'hot' CHECK (role IN ('hot', 'deposit')),
    ADD COLUMN deposit_index integer,
    ADD CHECK ((role = 'deposit') = (deposit_index IS NOT NULL));

-- `pinned_address`: only this address may send it. `data`: a call of the contract `to_address` with
-- `amount_minor` wei. `authorizations`: RLP of EIP-7702 authorisations that it carries.
-- `batch_id`: it is paid by that intent and has no nonce of its own; `alone`: never in a batch again.
-- `exact_fee`: sent with tip and cap at its ceiling, so that nothing is left over.
ALTER TABLE chain_intents
    ADD COLUMN pinned_address text,
    ADD COLUMN data bytea,
    ADD COLUMN authorizations bytea,
    ADD COLUMN batch_id text REFERENCES chain_intents (id),
    ADD COLUMN alone boolean NOT NULL DEFAULT false,
    ADD COLUMN exact_fee boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT chain_intents_amount_minor_check,
    ADD CHECK (amount_minor >= 0 AND amount_minor <> 'NaN' AND (amount_minor > 0 OR data IS NOT NULL)),
    ADD CHECK (authorizations IS NULL OR data IS NOT NULL),
    ADD CHECK (batch_id IS NULL OR (nonce IS NULL AND pinned_address IS NULL AND data IS NULL)),
    ADD CHECK (pinned_address IS NULL OR from_address IS NULL OR from_address = pinned_address);
ALTER TABLE chain_intents DROP CONSTRAINT chain_intents_check1;
ALTER TABLE chain_intents ADD CONSTRAINT chain_intents_nonce_first
    CHECK (nonce IS NOT NULL OR batch_id IS NOT NULL OR state IN ('queued', 'cancelled', 'failed'));
CREATE INDEX chain_intents_batch_idx ON chain_intents (batch_id) WHERE batch_id IS NOT NULL;

CREATE FUNCTION chain_intents_keep_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.data IS DISTINCT FROM OLD.data OR NEW.authorizations IS DISTINCT FROM OLD.authorizations
       OR NEW.pinned_address IS DISTINCT FROM OLD.pinned_address THEN
        RAISE EXCEPTION 'an intent keeps what it calls and who sends it (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER chain_intents_call_immutable BEFORE UPDATE ON chain_intents
    FOR EACH ROW EXECUTE FUNCTION chain_intents_keep_call();

-- An operator's signature over a payment above the signer's own limit (keys.request.approval_text).
CREATE TABLE chain_approvals (
    intent_id text PRIMARY KEY REFERENCES chain_intents (id),
    operator text NOT NULL CHECK (operator ~ '^0x[0-9a-fA-F]{40}$'),
    signature bytea NOT NULL CHECK (length(signature) = 65),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Sweeps: coins leave deposit addresses for the treasury. Customers never see one.
CREATE TABLE sweeps (
    id text PRIMARY KEY,
    network text NOT NULL,
    asset text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('coin', 'token', 'delegated', 'flush', 'top_up')),
    treasury text NOT NULL,
    place text NOT NULL CHECK (place IN ('hot', 'cold')),
    intent_id text NOT NULL UNIQUE REFERENCES chain_intents (id),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'failed')),
    entry_id text UNIQUE REFERENCES entries (id),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CHECK ((state = 'open') = (ended_at IS NULL))
);
CREATE INDEX sweeps_ended_idx ON sweeps (network, ended_at);

-- The addresses of one sweep. An address is in one open sweep of its network at a time.
CREATE TABLE sweep_accounts (
    sweep_id text NOT NULL REFERENCES sweeps (id),
    network text NOT NULL,
    address text NOT NULL,
    open boolean NOT NULL DEFAULT true,
    PRIMARY KEY (sweep_id, address)
);
CREATE UNIQUE INDEX sweep_accounts_open_idx ON sweep_accounts (network, address) WHERE open;
CREATE INDEX sweep_accounts_address_idx ON sweep_accounts (network, address);

-- What sweeps did to each deposit address, final: with its deposits this explains its balance.
CREATE TABLE deposit_moves (
    sweep_id text NOT NULL REFERENCES sweeps (id),
    network text NOT NULL,
    address text NOT NULL,
    asset text NOT NULL,
    minor numeric(78,0) NOT NULL CHECK (minor <> 0 AND minor <> 'NaN'),
    block_number bigint NOT NULL,
    PRIMARY KEY (sweep_id, address, asset)
);
CREATE INDEX deposit_moves_address_idx ON deposit_moves (network, asset, address);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT ON chain_approvals, sweeps, sweep_accounts, deposit_moves TO bifold_app;
        GRANT UPDATE (state, entry_id, ended_at) ON sweeps TO bifold_app;
        GRANT UPDATE (open) ON sweep_accounts TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON chain_approvals, sweeps, sweep_accounts, deposit_moves TO bifold_audit;
    END IF;
END $$;
