-- What people agree upon is an operator's, not a process's; transfers are known by their line ---------

-- `bifold_operator` can all that `bifold_app` can and these: end a pause, accept a break, propose and
-- agree to corrections (docs/decisions/0014). Roles are made by whoever installs the cluster.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_operator'
                   AND pg_has_role(oid, 'bifold_app', 'USAGE')) THEN
        RAISE EXCEPTION 'make the operators'' role first, as a superuser: '
            'CREATE ROLE bifold_operator LOGIN INHERIT IN ROLE bifold_app (docs/configuration.md)';
    END IF;
    REVOKE DELETE ON audit_pauses FROM bifold_app;
    REVOKE INSERT ON audit_accepted FROM bifold_app;
    REVOKE ALL ON corrections FROM bifold_app;
    GRANT SELECT ON corrections TO bifold_app;
    GRANT DELETE ON audit_pauses TO bifold_operator;
    GRANT INSERT ON audit_accepted TO bifold_operator;
    GRANT INSERT (id, kind, reverses, document, reason, proposed_by) ON corrections
        TO bifold_operator;
    GRANT UPDATE (state, ended_by, ended_at, entry_ids) ON corrections TO bifold_operator;
END $$;

-- A transfer is the bank's line; its reference is what its sender's bank wrote, and may come again ----
ALTER TABLE bank_credits ADD COLUMN bank text, ADD COLUMN line_id bigint;
UPDATE bank_credits c SET bank = l.bank, line_id = l.line_id FROM bank_lines l
 WHERE l.reference = c.bank_reference AND l.kind = 'credit' AND l.asset = c.asset
   AND l.amount_minor = c.amount_minor;
ALTER TABLE bank_credits ALTER COLUMN bank SET NOT NULL, ALTER COLUMN line_id SET NOT NULL,
    DROP CONSTRAINT bank_credits_pkey, ADD PRIMARY KEY (bank, line_id);
CREATE INDEX bank_credits_reference_idx ON bank_credits (bank_reference);

ALTER TABLE bank_strays ADD COLUMN line_id bigint;
ALTER TABLE bank_strays DISABLE TRIGGER bank_strays_immutable;
UPDATE bank_strays s SET line_id = l.line_id FROM bank_lines l
 WHERE l.bank = s.bank AND l.reference = s.bank_reference AND l.kind = 'credit'
   AND l.asset = s.asset AND l.amount_minor = s.amount_minor;
ALTER TABLE bank_strays ENABLE TRIGGER bank_strays_immutable;
ALTER TABLE bank_strays ALTER COLUMN line_id SET NOT NULL,
    DROP CONSTRAINT bank_strays_bank_bank_reference_key, ADD UNIQUE (bank, line_id);

-- Which lines share a reference: a movement that a payout had already, a transfer that left again.
CREATE INDEX bank_lines_reference_idx ON bank_lines (bank, reference);

-- The simulated bank may give a reference twice to what comes in, as real ones do.
ALTER TABLE simbank.statement DROP CONSTRAINT statement_kind_reference_key;
CREATE UNIQUE INDEX simbank_statement_once_idx ON simbank.statement (kind, reference)
    WHERE kind <> 'credit';
CREATE INDEX simbank_statement_credit_idx ON simbank.statement (reference) WHERE kind = 'credit';

-- Events of some types, read in their order: one noun is one stretch of this index.
CREATE INDEX events_noun_idx ON events (principal_id, split_part(type, '.', 1), seq);
