-- Who bears a loss that stays: one operator proposes, another agrees.
ALTER TABLE deposit_losses
    ADD COLUMN bearer text CHECK (bearer IN ('customer', 'house')),
    ADD COLUMN bearer_proposed_by text,
    ADD COLUMN bearer_approved_by text,
    ADD COLUMN settle_entry_id text UNIQUE REFERENCES entries (id),
    ADD CONSTRAINT deposit_losses_four_eyes_check
        CHECK (bearer_approved_by IS NULL OR bearer_approved_by <> bearer_proposed_by),
    ADD CONSTRAINT deposit_losses_proposal_check
        CHECK ((bearer IS NULL) = (bearer_proposed_by IS NULL)),
    ADD CONSTRAINT deposit_losses_settled_check
        CHECK ((settle_entry_id IS NULL) = (bearer_approved_by IS NULL)
               AND (settle_entry_id IS NULL OR bearer IS NOT NULL));

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

-- Accounts that were frozen because their owner owes the house: opened again once it is repaid.
CREATE TABLE receivable_freezes (
    account_id text PRIMARY KEY REFERENCES accounts (id),
    principal_id text NOT NULL REFERENCES principals (id),
    created_at timestamptz NOT NULL DEFAULT bifold_now()
);
CREATE INDEX receivable_freezes_principal_idx ON receivable_freezes (principal_id);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT UPDATE (bearer, bearer_proposed_by, bearer_approved_by, settle_entry_id)
            ON deposit_losses TO bifold_app;
        GRANT SELECT, INSERT, DELETE ON receivable_freezes TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON receivable_freezes TO bifold_audit;
    END IF;
END $$;
