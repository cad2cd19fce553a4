-- The simulated bank: another company's books, kept apart. Nothing of ours refers into it; it is asked
-- over its adapter, commits by itself and is reconciled by reference, as a real bank would be.
CREATE SCHEMA simbank;

CREATE TABLE simbank.accounts (
    asset text PRIMARY KEY,
    number text NOT NULL UNIQUE,
    balance_minor numeric(78,0) NOT NULL DEFAULT 0
        CHECK (balance_minor >= 0 AND balance_minor <> 'NaN')
);

CREATE TABLE simbank.orders (
    reference text PRIMARY KEY,
    rail text NOT NULL,
    asset text NOT NULL REFERENCES simbank.accounts (asset),
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    beneficiary jsonb NOT NULL,
    remittance text NOT NULL,
    status text NOT NULL CHECK (status IN ('accepted', 'settled', 'refused', 'returned')),
    will_return boolean NOT NULL DEFAULT false,  -- decided at the door, told when due
    reason text,
    received_at timestamptz NOT NULL DEFAULT public.bifold_now(),
    due_at timestamptz NOT NULL,
    ended_at timestamptz
);
CREATE INDEX simbank_orders_due_idx ON simbank.orders (due_at) WHERE status = 'accepted';

-- What the bank says happened on the account. Negative: money left it. One line a movement.
CREATE TABLE simbank.statement (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset text NOT NULL REFERENCES simbank.accounts (asset),
    kind text NOT NULL CHECK (kind IN ('opening', 'credit', 'payout', 'return', 'correction')),
    reference text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor <> 0 AND amount_minor <> 'NaN'),
    balance_after_minor numeric(78,0) NOT NULL,
    about text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT public.bifold_now(),
    UNIQUE (kind, reference)
);
CREATE INDEX simbank_statement_asset_idx ON simbank.statement (asset, id);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT USAGE ON SCHEMA simbank TO bifold_app;
        GRANT SELECT, INSERT, UPDATE ON simbank.accounts, simbank.orders TO bifold_app;
        GRANT SELECT, INSERT ON simbank.statement TO bifold_app;
        -- Default privileges gave more: a statement is not rewritten, an order not forgotten.
        REVOKE UPDATE, DELETE ON simbank.statement FROM bifold_app;
        REVOKE DELETE ON simbank.accounts, simbank.orders FROM bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT USAGE ON SCHEMA simbank TO bifold_audit;
        GRANT SELECT ON ALL TABLES IN SCHEMA simbank TO bifold_audit;
    END IF;
END $$;
