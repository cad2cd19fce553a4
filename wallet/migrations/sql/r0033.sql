-- What operators decide about arrivals, strays, losses and forks is theirs; a report is acted on ----------
-- `bifold_app` proposes and approves nothing of these any more (docs/decisions/0014). What it goes on
-- writing is what it finds: an arrival, a transfer of nobody's, a loss, and that a loss came back.

-- Whether whoever is connected is an operator. The session's user, because the poster runs as the owner;
-- an instance whose roles were never made has one user for everything.
CREATE FUNCTION is_operator() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT pg_catalog.pg_has_role(session_user, r.oid, 'USAGE')
                       FROM pg_catalog.pg_roles r WHERE r.rolname = 'bifold_operator'),
                    NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = 'bifold_app'))
$$;

-- Two people: the second agrees with what stands there, and changes none of it in the same breath.
CREATE OR REPLACE FUNCTION unattributed_arrivals_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.amount_minor <> OLD.amount_minor OR NEW.asset <> OLD.asset
       OR NEW.address <> OLD.address OR NEW.entry_id <> OLD.entry_id OR OLD.deposit_id IS NOT NULL
    THEN
        RAISE EXCEPTION 'an arrival keeps what arrived, and an assigned one its owner (%)', OLD.id;
    END IF;
    IF NEW.approved_by IS NOT NULL AND (NEW.principal_id, NEW.tx_hash, NEW.proposed_by)
       IS DISTINCT FROM (OLD.principal_id, OLD.tx_hash, OLD.proposed_by) THEN
        RAISE EXCEPTION 'who approves agrees with what was proposed (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION bank_strays_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.topup_id IS NOT NULL THEN
        RAISE EXCEPTION 'what two people agreed about a transfer stays (%)', OLD.id;
    END IF;
    IF NEW.approved_by IS NOT NULL AND (NEW.principal_id, NEW.proposed_by)
       IS DISTINCT FROM (OLD.principal_id, OLD.proposed_by) THEN
        RAISE EXCEPTION 'who approves agrees with what was proposed (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
ALTER TABLE bank_strays ADD CONSTRAINT bank_strays_proposed_check
    CHECK (approved_by IS NULL OR proposed_by IS NOT NULL);

CREATE OR REPLACE FUNCTION deposit_losses_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.id <> OLD.id OR NEW.deposit_id <> OLD.deposit_id
       OR NEW.entry_id <> OLD.entry_id OR NEW.fork_number <> OLD.fork_number
       OR NEW.network <> OLD.network OR OLD.return_entry_id IS NOT NULL
       OR (OLD.settle_entry_id IS NOT NULL
           AND (NEW.settle_entry_id, NEW.bearer, NEW.bearer_proposed_by, NEW.bearer_approved_by)
               IS DISTINCT FROM (OLD.settle_entry_id, OLD.bearer, OLD.bearer_proposed_by,
                                 OLD.bearer_approved_by)) THEN
        RAISE EXCEPTION 'a loss stays in the books as it was found (%)', OLD.id;
    END IF;
    IF NEW.bearer_approved_by IS NOT NULL AND (NEW.bearer, NEW.bearer_proposed_by)
       IS DISTINCT FROM (OLD.bearer, OLD.bearer_proposed_by) THEN
        RAISE EXCEPTION 'who approves agrees with what was proposed (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;

-- Every fork that was followed stays, with both names; one proposal at a time waits for a network.
ALTER TABLE fork_proposals DROP CONSTRAINT fork_proposals_pkey,
    ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ADD COLUMN approved_by text CHECK (approved_by <> '' AND approved_by <> proposed_by),
    ADD COLUMN approved_at timestamptz,
    -- The transaction that follows it: no other may.
    ADD COLUMN approved_in bigint,
    ADD CHECK ((approved_by IS NULL) = (approved_at IS NULL)),
    ADD CHECK ((approved_by IS NULL) = (approved_in IS NULL));
CREATE UNIQUE INDEX fork_proposals_open_idx ON fork_proposals (network) WHERE approved_by IS NULL;
CREATE FUNCTION fork_proposals_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.approved_by IS NOT NULL THEN
            RAISE EXCEPTION 'a fork is proposed before it is approved (%)', NEW.network;
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' OR OLD.approved_by IS NOT NULL OR NEW.network <> OLD.network THEN
        RAISE EXCEPTION 'what two people agreed about a fork stays (%)', OLD.network;
    END IF;
    IF NEW.approved_by IS NOT NULL THEN
        IF (NEW.fork_number, NEW.fork_hash, NEW.next_hash, NEW.proposed_by)
           IS DISTINCT FROM (OLD.fork_number, OLD.fork_hash, OLD.next_hash, OLD.proposed_by) THEN
            RAISE EXCEPTION 'who approves agrees with what was proposed (%)', OLD.network;
        END IF;
        NEW.approved_at := clock_timestamp();
        NEW.approved_in := pg_current_xact_id()::text::bigint;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fork_proposals_immutable BEFORE INSERT OR UPDATE OR DELETE ON fork_proposals
    FOR EACH ROW EXECUTE FUNCTION fork_proposals_keep();

-- What is final is left only by the transaction in which two people's agreement stands.
CREATE FUNCTION scan_state_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM public.fork_proposals f WHERE f.network = OLD.network
                   AND f.approved_in = pg_current_xact_id()::text::bigint
                   AND f.fork_number = least(NEW.tip_number, NEW.final_number)
                   AND (NEW.final_number > f.fork_number OR NEW.final_hash = f.fork_hash)) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('%s is final up to block %s; two operators leave it', OLD.network,
                             OLD.final_number);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER scan_state_final BEFORE UPDATE ON scan_state FOR EACH ROW
    WHEN (NEW.network <> OLD.network OR NEW.final_number < OLD.final_number
          OR NEW.tip_number < OLD.final_number
          OR (NEW.final_number = OLD.final_number AND NEW.final_hash IS DISTINCT FROM OLD.final_hash))
    EXECUTE FUNCTION scan_state_keep();

-- The bookings themselves: nobody's value goes to a person, and what a chain lost to whoever bears it,
-- by an operator's hand only. Lines of customers have a number of their own, the house's have none.
-- Scalar sub-selects: the planner would gather the whole table for a join.
CREATE FUNCTION postings_of_operators() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    taken text;
BEGIN
    SELECT s.path INTO taken FROM (
        SELECT n.entry_id,
               (SELECT a.path FROM public.accounts a WHERE a.id = n.account_id) AS path
          FROM new_postings n
         WHERE n.account_seq IS NULL AND n.amount_minor <> 0) s
     WHERE (s.path LIKE 'unattributed:%' AND EXISTS (
               SELECT FROM new_postings o WHERE o.entry_id = s.entry_id
                  AND o.account_seq IS NOT NULL AND o.amount_minor > 0))
        OR (s.path LIKE 'suspense:chain\_loss:%' AND EXISTS (
               SELECT FROM new_postings o WHERE o.entry_id = s.entry_id AND (o.account_seq IS NOT NULL
                  OR (SELECT a.path FROM public.accounts a WHERE a.id = o.account_id)
                     NOT SIMILAR TO '(chain|suspense:chain\_loss):%'))) LIMIT 1;
    IF FOUND AND NOT public.is_operator() THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('only operators give away what is in %s', taken);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER postings_agreed AFTER INSERT ON postings REFERENCING NEW TABLE AS new_postings
    FOR EACH STATEMENT EXECUTE FUNCTION postings_of_operators();

-- A report is acted on by pausing what it names: one cannot be had without the other. `reasons` words
-- the pause of each asset. False: somebody acted on it before.
CREATE FUNCTION audit_act(run bigint, reasons jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE audit_runs SET acted_at = clock_timestamp() WHERE id = run AND acted_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO audit_pauses (asset, run_id, reason)
    SELECT b.asset, run, coalesce(reasons->>b.asset, format('run %s names a break', run))
      FROM (SELECT DISTINCT coalesce(f.asset, '*') AS asset FROM audit_findings f
             WHERE f.run_id = run AND f.pauses AND NOT EXISTS
                   (SELECT FROM audit_accepted a WHERE a.fingerprint = f.fingerprint)) b
    ON CONFLICT DO NOTHING;
    RETURN true;
END $$;
REVOKE EXECUTE ON FUNCTION audit_act(bigint, jsonb) FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE INSERT, UPDATE ON unattributed_arrivals, bank_strays, deposit_losses FROM bifold_app;
        GRANT INSERT (id, network, address, asset, amount_minor, at_block, block_hash, block_time,
            entry_id) ON unattributed_arrivals TO bifold_app;
        GRANT INSERT (id, bank, line_id, bank_reference, asset, amount_minor, about, entry_id)
            ON bank_strays TO bifold_app;
        GRANT INSERT (id, deposit_id, network, fork_number, entry_id) ON deposit_losses TO bifold_app;
        GRANT UPDATE (again_block_hash, again_block_number, return_entry_id) ON deposit_losses
            TO bifold_app;
        REVOKE ALL ON fork_proposals FROM bifold_app;
        GRANT SELECT ON fork_proposals TO bifold_app;
        REVOKE UPDATE (acted_at) ON audit_runs FROM bifold_app;
        GRANT EXECUTE ON FUNCTION audit_act(bigint, jsonb) TO bifold_app;
        GRANT UPDATE (principal_id, tx_hash, proposed_by, proposed_at, approved_by, deposit_id)
            ON unattributed_arrivals TO bifold_operator;
        GRANT UPDATE (principal_id, proposed_by, approved_by, topup_id) ON bank_strays
            TO bifold_operator;
        GRANT UPDATE (bearer, bearer_proposed_by, bearer_approved_by, settle_entry_id)
            ON deposit_losses TO bifold_operator;
        GRANT INSERT (network, fork_number, fork_hash, next_hash, proposed_by) ON fork_proposals
            TO bifold_operator;
        GRANT UPDATE (fork_number, fork_hash, next_hash, proposed_by, proposed_at, approved_by)
            ON fork_proposals TO bifold_operator;
    END IF;
END $$;
