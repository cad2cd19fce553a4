-- Cases: what stands still or needs a person's eye, opened in the transaction that stops it.
-- `subject`: what it is about, by the name an operator uses. `evidence`: what was known then.
CREATE TABLE cases (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind ~ '^[a-z_]{3,40}$'),
    subject_type text NOT NULL,
    subject text NOT NULL,
    network text,
    asset text,
    severity text NOT NULL CHECK (severity IN ('critical', 'serious', 'notice')),
    what text NOT NULL CHECK (what <> ''),
    evidence jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
    opened_at timestamptz NOT NULL DEFAULT bifold_now(),
    closed_at timestamptz,
    closed_by text CHECK (closed_by <> ''),
    closing_note text CHECK (closing_note <> ''),
    CHECK ((status = 'closed') = (closed_at IS NOT NULL)),
    CHECK ((closed_at IS NULL) = (closed_by IS NULL)),
    CHECK ((closed_at IS NULL) = (closing_note IS NULL))
);
-- One open case of a kind about one thing: who stops it again finds it stopped.
CREATE UNIQUE INDEX cases_open_idx ON cases (kind, subject) WHERE status = 'open';
CREATE INDEX cases_opened_idx ON cases (opened_at, id);

CREATE FUNCTION cases_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.status = 'closed' OR NEW.id <> OLD.id OR NEW.kind <> OLD.kind
       OR NEW.subject <> OLD.subject OR NEW.what <> OLD.what OR NEW.evidence <> OLD.evidence
       OR NEW.opened_at <> OLD.opened_at THEN
        RAISE EXCEPTION 'a case keeps what happened, and a closed one how it ended (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cases_immutable BEFORE UPDATE OR DELETE ON cases
    FOR EACH ROW EXECUTE FUNCTION cases_keep();

-- Business time at which these bytes are overdue, fixed when they first leave; null before.
ALTER TABLE chain_attempts ADD COLUMN late_at timestamptz;
UPDATE chain_attempts a SET late_at = a.first_sent_at + interval '15 minutes'
  FROM chain_intents i
 WHERE i.id = a.intent_id AND a.first_sent_at IS NOT NULL
   AND i.state IN ('allocated', 'signed', 'sent', 'mined');

-- The operator who asked for the cancel, which then costs its owner nothing; null: the owner did.
ALTER TABLE chain_intents ADD COLUMN cancel_asked_by text;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON cases FROM bifold_app;
        GRANT SELECT, INSERT ON cases TO bifold_app;
        GRANT UPDATE (status, closed_at, closed_by, closing_note) ON cases TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON cases TO bifold_audit;
    END IF;
END $$;
