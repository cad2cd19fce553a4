-- Back to r0031: the application's role decides by itself again.
DROP TRIGGER postings_agreed ON postings;
DROP FUNCTION postings_of_operators();
DROP TRIGGER scan_state_final ON scan_state;
DROP FUNCTION scan_state_keep();
DROP TRIGGER fork_proposals_immutable ON fork_proposals;
DROP FUNCTION fork_proposals_keep();
DROP FUNCTION audit_act(bigint, jsonb);
DROP FUNCTION is_operator();

-- What was agreed and followed has no place in the older table.
DELETE FROM fork_proposals WHERE approved_by IS NOT NULL;
DROP INDEX fork_proposals_open_idx;
ALTER TABLE fork_proposals DROP COLUMN id, DROP COLUMN approved_by, DROP COLUMN approved_at,
    DROP COLUMN approved_in, ADD PRIMARY KEY (network);
ALTER TABLE bank_strays DROP CONSTRAINT bank_strays_proposed_check;

CREATE OR REPLACE FUNCTION unattributed_arrivals_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.amount_minor <> OLD.amount_minor OR NEW.asset <> OLD.asset
       OR NEW.address <> OLD.address OR NEW.entry_id <> OLD.entry_id OR OLD.deposit_id IS NOT NULL
    THEN
        RAISE EXCEPTION 'an arrival keeps what arrived, and an assigned one its owner (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION bank_strays_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.topup_id IS NOT NULL THEN
        RAISE EXCEPTION 'what two people agreed about a transfer stays (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION deposit_losses_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.id <> OLD.id OR NEW.deposit_id <> OLD.deposit_id
       OR NEW.entry_id <> OLD.entry_id OR NEW.fork_number <> OLD.fork_number
       OR NEW.network <> OLD.network OR OLD.return_entry_id IS NOT NULL
       OR (OLD.settle_entry_id IS NOT NULL
           AND (NEW.settle_entry_id IS DISTINCT FROM OLD.settle_entry_id
                OR NEW.bearer IS DISTINCT FROM OLD.bearer)) THEN
        RAISE EXCEPTION 'a loss stays in the books as it was found (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE ON unattributed_arrivals, bank_strays, deposit_losses FROM bifold_operator;
        REVOKE ALL ON fork_proposals FROM bifold_operator;
        GRANT INSERT ON unattributed_arrivals, bank_strays, deposit_losses TO bifold_app;
        GRANT UPDATE (principal_id, tx_hash, proposed_by, proposed_at, approved_by, deposit_id)
            ON unattributed_arrivals TO bifold_app;
        GRANT UPDATE (principal_id, proposed_by, approved_by, topup_id) ON bank_strays TO bifold_app;
        GRANT UPDATE (bearer, bearer_proposed_by, bearer_approved_by, settle_entry_id)
            ON deposit_losses TO bifold_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON fork_proposals TO bifold_app;
        GRANT UPDATE (acted_at) ON audit_runs TO bifold_app;
    END IF;
END $$;
