-- Top-ups by card and bank transfer --------------------------------------------------------------------
-- A card is known by the gateway's token and what is printed at its end; its number never comes here.
CREATE TABLE cards (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    gateway text NOT NULL,
    token text NOT NULL CHECK (token ~ '^[A-Za-z0-9_-]{8,64}$'),
    brand text NOT NULL CHECK (brand ~ '^[a-z]{2,20}$'),
    last4 text NOT NULL CHECK (last4 ~ '^[0-9]{4}$'),
    exp_month smallint NOT NULL CHECK (exp_month BETWEEN 1 AND 12),
    exp_year smallint NOT NULL CHECK (exp_year BETWEEN 2000 AND 2199),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    removed_at timestamptz,
    UNIQUE (gateway, token)
);
CREATE INDEX cards_principal_idx ON cards (principal_id, created_at DESC, id DESC);

-- `entry_id`: the credit; `kept_aside`: it went to `unattributed`, since the account was closed by then.
CREATE TABLE topups (
    id text PRIMARY KEY,
    principal_id text NOT NULL REFERENCES principals (id),
    method text NOT NULL CHECK (method IN ('card', 'bank_transfer')),
    asset text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    status text NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed', 'charged_back')),
    card_id text REFERENCES cards (id),
    waiting_for text,
    action_url text,
    reason text,
    kept_aside boolean NOT NULL DEFAULT false,
    entry_id text UNIQUE REFERENCES entries (id),
    charge_back_entry_id text UNIQUE REFERENCES entries (id),
    told_at timestamptz,     -- set in the commit before the gateway hears of it
    next_at timestamptz,     -- when it is to be looked at again
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    ended_at timestamptz,
    CHECK ((method = 'card') = (card_id IS NOT NULL)),
    CHECK ((status = 'pending') = (ended_at IS NULL)),
    CHECK ((status = 'failed') = (reason IS NOT NULL)),
    CHECK ((entry_id IS NOT NULL) = (status IN ('succeeded', 'charged_back') OR kept_aside)),
    CHECK (NOT kept_aside OR status = 'failed'),
    CHECK (charge_back_entry_id IS NULL OR status = 'charged_back' OR kept_aside),
    CHECK (status <> 'charged_back' OR charge_back_entry_id IS NOT NULL)
);
CREATE INDEX topups_principal_idx ON topups (principal_id, created_at DESC, id DESC);
CREATE INDEX topups_due_idx ON topups (next_at) WHERE status = 'pending';
CREATE INDEX topups_announced_idx ON topups (principal_id, asset, amount_minor)
    WHERE status = 'pending' AND method = 'bank_transfer';

CREATE FUNCTION topups_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.id <> OLD.id OR NEW.principal_id <> OLD.principal_id
       OR NEW.method <> OLD.method OR NEW.asset <> OLD.asset OR NEW.amount_minor <> OLD.amount_minor
       OR NEW.card_id IS DISTINCT FROM OLD.card_id
       OR (OLD.entry_id IS NOT NULL AND NEW.entry_id IS DISTINCT FROM OLD.entry_id)
       OR (OLD.charge_back_entry_id IS NOT NULL
           AND NEW.charge_back_entry_id IS DISTINCT FROM OLD.charge_back_entry_id)
       OR (OLD.told_at IS NOT NULL AND NEW.told_at IS DISTINCT FROM OLD.told_at)
       OR (OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
           ('pending', 'succeeded'), ('pending', 'failed'), ('failed', 'succeeded'),
           ('succeeded', 'charged_back'))) THEN
        RAISE EXCEPTION 'a top-up keeps what it was and what was booked for it (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER topups_immutable BEFORE UPDATE OR DELETE ON topups
    FOR EACH ROW EXECUTE FUNCTION topups_keep();

-- The gateway's own list as we read it, each line once. `entry_id`: booked for nobody known.
CREATE TABLE gateway_lines (
    gateway text NOT NULL,
    line_id bigint NOT NULL,
    asset text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('charge', 'charge_back')),
    reference text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor <> 0 AND amount_minor <> 'NaN'),
    at timestamptz NOT NULL,
    entry_id text UNIQUE REFERENCES entries (id),
    PRIMARY KEY (gateway, line_id)
);
CREATE INDEX gateway_lines_asset_idx ON gateway_lines (gateway, asset, line_id);
CREATE INDEX gateway_lines_reference_idx ON gateway_lines (reference);

-- What a person writes on a bank transfer: an ISO 11649 reference of their own, never given again.
CREATE TABLE bank_references (
    principal_id text PRIMARY KEY REFERENCES principals (id),
    reference text NOT NULL UNIQUE CHECK (reference ~ '^RF[0-9]{2}[0-9A-Z]{10}$'),
    created_at timestamptz NOT NULL DEFAULT bifold_now()
);

-- Incoming transfers that name nobody: one operator says whose one is, another agrees.
CREATE TABLE bank_strays (
    id text PRIMARY KEY,
    bank text NOT NULL,
    bank_reference text NOT NULL,
    asset text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    about text NOT NULL,
    entry_id text NOT NULL UNIQUE REFERENCES entries (id),
    principal_id text REFERENCES principals (id),
    proposed_by text CHECK (proposed_by <> ''),
    approved_by text CHECK (approved_by <> ''),
    topup_id text UNIQUE REFERENCES topups (id),
    created_at timestamptz NOT NULL DEFAULT bifold_now(),
    UNIQUE (bank, bank_reference),
    CHECK ((principal_id IS NULL) = (proposed_by IS NULL)),
    CHECK ((approved_by IS NULL) = (topup_id IS NULL)),
    CHECK (approved_by IS NULL OR approved_by <> proposed_by)
);

CREATE FUNCTION bank_strays_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.topup_id IS NOT NULL THEN
        RAISE EXCEPTION 'what two people agreed about a transfer stays (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER bank_strays_immutable BEFORE UPDATE OR DELETE ON bank_strays
    FOR EACH ROW EXECUTE FUNCTION bank_strays_keep();

-- Every transfer that was credited is a top-up; those of before get their rows now.
ALTER TABLE bank_credits ADD COLUMN topup_id text UNIQUE REFERENCES topups (id);
INSERT INTO topups (id, principal_id, method, asset, amount_minor, status, entry_id, created_at, ended_at)
    SELECT bank_reference, principal_id, 'bank_transfer', asset, amount_minor, 'succeeded', entry_id,
           created_at, created_at FROM bank_credits;
UPDATE bank_credits SET topup_id = bank_reference;
ALTER TABLE bank_credits ALTER COLUMN topup_id SET NOT NULL;

-- The debtors, found without reading every account.
CREATE INDEX accounts_receivable_idx ON accounts (path) WHERE path LIKE 'receivable:%';

CREATE OR REPLACE VIEW activity AS
    SELECT t.id, t.payer_id AS principal_id, 'transfer' AS kind, 'completed' AS status,
           'out' AS direction, t.asset, t.amount_minor, NULL::text AS fee_asset,
           NULL::numeric AS fee_minor, NULL::text AS target_asset, NULL::numeric AS target_minor,
           '@' || u.handle AS counterparty, u.display_name AS counterparty_name,
           t.note, t.created_at
      FROM transfers t JOIN users u ON u.id = t.payee_id
    UNION ALL
    SELECT t.id, t.payee_id, 'transfer', 'completed', 'in', t.asset, t.amount_minor, NULL, NULL,
           NULL, NULL, '@' || u.handle, u.display_name, t.note, t.created_at
      FROM transfers t JOIN users u ON u.id = t.payer_id
    UNION ALL
    SELECT d.id, d.principal_id, 'deposit', d.status, 'in', d.asset, d.amount_minor, NULL, NULL,
           NULL, NULL, d.from_address, d.network, NULL, d.created_at
      FROM deposits d WHERE d.principal_id IS NOT NULL
    UNION ALL
    SELECT w.id, w.principal_id, 'withdrawal', w.status, 'out', w.asset, w.amount_minor, w.asset,
           coalesce(w.fee_minor, w.fee_bound_minor), NULL, NULL, w.to_address, w.network, NULL,
           w.created_at
      FROM withdrawals w
    UNION ALL
    SELECT c.id, c.principal_id, 'conversion', c.status, 'exchange', c.source_asset, c.source_minor,
           NULL, NULL, c.target_asset, c.target_minor, NULL, NULL, NULL, c.created_at
      FROM conversions c
    UNION ALL
    SELECT p.id, p.principal_id, 'payment', p.status, 'out', q.source_asset, q.source_minor,
           q.source_asset, q.fee_minor, q.target_asset, q.target_minor, p.corridor, r.name,
           p.reference, p.created_at
      FROM payments p JOIN quotes q ON q.id = p.quote_id JOIN recipients r ON r.id = p.recipient_id
    UNION ALL
    SELECT p.id, p.payer_id, 'hold',
           coalesce(p.ended, CASE WHEN h.status = 'closed' THEN 'captured' ELSE 'open' END),
           'out', h.asset, CASE WHEN h.captured_minor > 0 THEN h.captured_minor
                                ELSE h.amount_minor END,
           NULL, NULL, NULL, NULL, '@' || u.handle, u.display_name, p.note, p.created_at
      FROM payment_holds p JOIN holds h ON h.id = p.id JOIN users u ON u.id = p.payee_id
    UNION ALL
    SELECT p.id, p.payee_id, 'hold',
           coalesce(p.ended, CASE WHEN h.status = 'closed' THEN 'captured' ELSE 'open' END),
           'in', h.asset, CASE WHEN h.captured_minor > 0 THEN h.captured_minor
                               ELSE h.amount_minor END,
           NULL, NULL, NULL, NULL, '@' || u.handle, u.display_name, p.note, p.created_at
      FROM payment_holds p JOIN holds h ON h.id = p.id JOIN users u ON u.id = p.payer_id
    UNION ALL
    SELECT t.id, t.principal_id, 'topup', t.status, 'in', t.asset, t.amount_minor,
           NULL, NULL, NULL, NULL, NULL, t.method, NULL, t.created_at
      FROM topups t;

-- The simulated gateway: another company's books, kept apart as the simulated bank's are -------------
CREATE SCHEMA simgate;

CREATE TABLE simgate.tokens (
    token text PRIMARY KEY,
    test_card text NOT NULL,
    forgotten_at timestamptz
);

CREATE TABLE simgate.balances (
    asset text PRIMARY KEY,
    balance_minor numeric(78,0) NOT NULL DEFAULT 0 CHECK (balance_minor <> 'NaN')
);

-- `fate`: what becomes of it when it is due, decided at the door. `charge_back_at`: its holder objects.
CREATE TABLE simgate.charges (
    reference text PRIMARY KEY,
    token text,
    asset text,
    amount_minor numeric(78,0) CHECK (amount_minor > 0 AND amount_minor <> 'NaN'),
    status text NOT NULL CHECK (status IN
        ('processing', 'action_needed', 'succeeded', 'declined', 'cancelled', 'charged_back')),
    fate text NOT NULL CHECK (fate IN ('succeeded', 'declined')),
    reason text,
    due_at timestamptz,
    charge_back_seconds integer,
    charge_back_at timestamptz,
    received_at timestamptz NOT NULL DEFAULT public.bifold_now(),
    ended_at timestamptz
);
CREATE INDEX simgate_charges_due_idx ON simgate.charges (due_at) WHERE status = 'processing';
CREATE INDEX simgate_charges_back_idx ON simgate.charges (charge_back_at) WHERE status = 'succeeded';

CREATE TABLE simgate.list (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset text NOT NULL REFERENCES simgate.balances (asset),
    kind text NOT NULL CHECK (kind IN ('charge', 'charge_back')),
    reference text NOT NULL,
    amount_minor numeric(78,0) NOT NULL CHECK (amount_minor <> 0 AND amount_minor <> 'NaN'),
    balance_after_minor numeric(78,0) NOT NULL,
    at timestamptz NOT NULL DEFAULT public.bifold_now(),
    UNIQUE (kind, reference)
);
CREATE INDEX simgate_list_asset_idx ON simgate.list (asset, id);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE ALL ON cards, topups, gateway_lines, bank_references, bank_strays FROM bifold_app;
        GRANT SELECT, INSERT ON cards, topups, gateway_lines, bank_references, bank_strays TO bifold_app;
        GRANT UPDATE (removed_at) ON cards TO bifold_app;
        GRANT UPDATE (status, waiting_for, action_url, reason, kept_aside, entry_id,
            charge_back_entry_id, told_at, next_at, ended_at) ON topups TO bifold_app;
        GRANT UPDATE (principal_id, proposed_by, approved_by, topup_id) ON bank_strays TO bifold_app;
        GRANT USAGE ON SCHEMA simgate TO bifold_app;
        REVOKE ALL ON ALL TABLES IN SCHEMA simgate FROM bifold_app;
        GRANT SELECT, INSERT ON simgate.tokens TO bifold_app;
        GRANT UPDATE (forgotten_at) ON simgate.tokens TO bifold_app;
        GRANT SELECT, INSERT, UPDATE ON simgate.balances, simgate.charges TO bifold_app;
        GRANT SELECT, INSERT ON simgate.list TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON cards, topups, gateway_lines, bank_references, bank_strays TO bifold_audit;
        GRANT USAGE ON SCHEMA simgate TO bifold_audit;
        GRANT SELECT ON ALL TABLES IN SCHEMA simgate TO bifold_audit;
    END IF;
END $$;
