-- Rates -----------------------------------------------------------------------------------------
-- What one whole unit of an asset is worth in EUR. Quotes copy what they used, so old rows may go.
CREATE TABLE fx_rates (
    asset text NOT NULL,
    as_of timestamptz NOT NULL,
    eur_price numeric NOT NULL
        CHECK (eur_price > 0 AND eur_price <> 'NaN' AND eur_price < 'Infinity'),
    source text NOT NULL,
    simulated boolean NOT NULL,
    PRIMARY KEY (asset, as_of)
);

-- Daily limits of what leaves the house ------------------------------------------------------------
-- One row a withdrawal or payment (`ref`). A released row stopped counting: its money came back.
CREATE TABLE outgoing_usage (
    ref text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    kind text NOT NULL CHECK (kind IN ('withdrawal', 'payment')),
    eur_minor numeric(78,0) NOT NULL CHECK (eur_minor >= 0 AND eur_minor <> 'NaN'),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    released_at timestamptz
);
CREATE INDEX outgoing_usage_window_idx ON outgoing_usage (principal_id, created_at)
    WHERE released_at IS NULL;

-- Quotes ----------------------------------------------------------------------------------------
-- `source_minor` is the whole debit: net + fee; net = what the position takes + the spread.
CREATE TABLE quotes (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    kind text NOT NULL CHECK (kind IN ('conversion', 'payment')),
    corridor text CHECK ((corridor IS NOT NULL) = (kind = 'payment')),
    fixed_side text NOT NULL CHECK (fixed_side IN ('source', 'target')),
    source_asset text NOT NULL,
    source_minor numeric(78,0) NOT NULL CHECK (source_minor > 0 AND source_minor <> 'NaN'),
    target_asset text NOT NULL CHECK (target_asset <> source_asset),
    target_minor numeric(78,0) NOT NULL CHECK (target_minor > 0 AND target_minor <> 'NaN'),
    fee_minor numeric(78,0) NOT NULL CHECK (fee_minor >= 0 AND fee_minor <> 'NaN'),
    spread_minor numeric(78,0) NOT NULL CHECK (spread_minor >= 0 AND spread_minor <> 'NaN'),
    mid_rate numeric NOT NULL CHECK (mid_rate > 0 AND mid_rate < 'Infinity'),
    spread numeric NOT NULL CHECK (spread >= 0 AND spread < 1),
    rate numeric NOT NULL CHECK (rate > 0 AND rate < 'Infinity'),
    rate_as_of timestamptz NOT NULL,
    simulated boolean NOT NULL,
    rounding text NOT NULL,
    refund_rule text,
    eta_seconds integer NOT NULL CHECK (eta_seconds >= 0),
    eur_minor numeric(78,0) NOT NULL CHECK (eur_minor >= 0 AND eur_minor <> 'NaN'),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    used_by text UNIQUE,
    CHECK (source_minor >= fee_minor + spread_minor),
    CHECK ((used_at IS NULL) = (used_by IS NULL))
);
CREATE INDEX quotes_principal_idx ON quotes (principal_id, created_at DESC, id DESC);

-- Conversions -----------------------------------------------------------------------------------
CREATE TABLE conversions (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    quote_id text NOT NULL UNIQUE REFERENCES quotes (id),
    status text NOT NULL CHECK (status = 'completed'),
    source_asset text NOT NULL,
    source_minor numeric(78,0) NOT NULL CHECK (source_minor > 0 AND source_minor <> 'NaN'),
    target_asset text NOT NULL,
    target_minor numeric(78,0) NOT NULL CHECK (target_minor > 0 AND target_minor <> 'NaN'),
    entry_id text NOT NULL UNIQUE REFERENCES entries (id),
    created_at timestamptz NOT NULL DEFAULT bifold_now()
);
CREATE INDEX conversions_principal_idx ON conversions (principal_id, created_at DESC, id DESC);

-- Recipients ------------------------------------------------------------------------------------
CREATE TABLE recipients (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    type text NOT NULL,
    name text NOT NULL,
    country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    details jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT bifold_now()
);
CREATE INDEX recipients_principal_idx ON recipients (principal_id, created_at DESC, id DESC);

-- Payments --------------------------------------------------------------------------------------
CREATE TABLE payments (
    id text PRIMARY KEY,
    uetr uuid NOT NULL UNIQUE,
    principal_id text NOT NULL REFERENCES principals (id),
    quote_id text NOT NULL UNIQUE REFERENCES quotes (id),
    recipient_id text NOT NULL REFERENCES recipients (id),
    corridor text NOT NULL,
    rail text NOT NULL,
    purpose text NOT NULL,
    reference text,
    travel_rule jsonb,
    status text NOT NULL CHECK (status IN ('created', 'funded', 'converted', 'settling',
        'paying_out', 'completed', 'returned', 'failed', 'cancelled')),
    reason text,
    waiting_for text,
    waiting_until timestamptz,
    next_try_at timestamptz,
    refund_minor numeric(78,0) CHECK (refund_minor > 0 AND refund_minor <> 'NaN'),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    updated_at timestamptz NOT NULL DEFAULT bifold_now(),
    ended_at timestamptz,
    CHECK ((ended_at IS NOT NULL) = (status IN ('completed', 'returned', 'failed', 'cancelled')))
);
CREATE INDEX payments_principal_idx ON payments (principal_id, created_at DESC, id DESC);
CREATE INDEX payments_open_idx ON payments (next_try_at) WHERE ended_at IS NULL;

CREATE TABLE payment_legs (
    id text PRIMARY KEY,
    payment_id text NOT NULL REFERENCES payments (id),
    position smallint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('funding', 'conversion', 'settlement', 'payout', 'refund')),
    status text NOT NULL
        CHECK (status IN ('pending', 'submitted', 'done', 'skipped', 'failed', 'returned')),
    asset text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    reference text,
    at timestamptz,
    UNIQUE (payment_id, kind)
);

CREATE TABLE payment_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id text NOT NULL REFERENCES payments (id),
    type text NOT NULL,
    detail text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT bifold_now()
);
CREATE INDEX payment_events_payment_idx ON payment_events (payment_id, id);

-- Payouts: what we told a bank, and what it last said about it ---------------------------------------
-- `reference` is ours, made once, and the bank knows the order by it: the same one for ever.
CREATE TABLE payouts (
    reference text PRIMARY KEY,
    ref text NOT NULL UNIQUE,
    rail text NOT NULL,
    asset text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    beneficiary jsonb NOT NULL,
    remittance text NOT NULL DEFAULT '',
    answer text CHECK (answer IN ('accepted', 'settled', 'refused', 'returned')),
    reason text,
    contradicted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    told_at timestamptz,  -- committed before the bank is first told: from then on ask, then tell
    answered_at timestamptz
);

CREATE INDEX payouts_contradicted_idx ON payouts (ref) WHERE contradicted_at IS NOT NULL;

-- The bank's statement as we read it, line by line, each once. `matched_at`: agrees with our books, or
-- was booked because of it; `problem`: why a person must look.
CREATE TABLE bank_lines (
    bank text NOT NULL,
    line_id bigint NOT NULL,
    asset text NOT NULL,
    kind text NOT NULL,
    reference text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor <> 0 AND amount_minor <> 'NaN'),
    at timestamptz NOT NULL,
    matched_at timestamptz,
    problem text,
    PRIMARY KEY (bank, line_id)
);
CREATE INDEX bank_lines_cursor_idx ON bank_lines (bank, asset, line_id);
CREATE INDEX bank_lines_unmatched_idx ON bank_lines (line_id) WHERE matched_at IS NULL;

-- Money that came in by bank transfer. `bank_reference` is the bank's own, booked once.
CREATE TABLE bank_credits (
    bank_reference text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    asset text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    entry_id text NOT NULL UNIQUE REFERENCES entries (id),
    created_at timestamptz NOT NULL DEFAULT bifold_now()
);
CREATE INDEX bank_credits_principal_idx
    ON bank_credits (principal_id, created_at DESC, bank_reference DESC);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE, DELETE ON conversions, payment_events, recipients, bank_credits FROM bifold_app;
        REVOKE DELETE ON quotes, payments, payment_legs, payouts, outgoing_usage, bank_lines
            FROM bifold_app;
        REVOKE UPDATE ON fx_rates FROM bifold_app;
    END IF;
END $$;
