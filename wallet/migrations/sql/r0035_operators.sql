-- Treasury moves are approved, freezes ordered, cold addresses named and halts ended by operators ---------
-- `bifold_app` goes on proposing moves, recording how their payments end, and halting what must stop.

-- A move is paid while it is approved. In the house's own name (`bifold`) the worker proposes what keeps
-- the float within its bounds; people propose, approve and dismiss as operators. Without another word of
-- theirs it makes only what an evacuation needs that one of them has ordered.
CREATE FUNCTION treasury_moves_keep() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_operators boolean;
BEGIN
    IF TG_OP = 'INSERT' THEN
        of_operators := NEW.proposed_by <> 'bifold' OR NEW.kind = 'profit' OR NEW.state <> 'proposed'
            OR NEW.approved_by IS NOT NULL OR NEW.intent_id IS NOT NULL;
        IF NEW.proposed_by = 'bifold' AND NEW.kind = 'evacuate' AND NEW.state = 'approved'
           AND EXISTS (SELECT FROM public.network_freezes f WHERE f.network = NEW.network
                          AND f.evacuate_to = NEW.to_address AND f.by_whom = NEW.approved_by) THEN
            of_operators := false;
        END IF;
    ELSIF TG_OP = 'DELETE' OR (NEW.id, NEW.network, NEW.asset, NEW.kind, NEW.to_address,
             NEW.amount_minor, NEW.proposed_by, NEW.created_at) IS DISTINCT FROM (OLD.id, OLD.network,
             OLD.asset, OLD.kind, OLD.to_address, OLD.amount_minor, OLD.proposed_by, OLD.created_at)
          OR (OLD.approved_by IS NOT NULL AND NEW.approved_by IS DISTINCT FROM OLD.approved_by)
          OR (OLD.intent_id IS NOT NULL AND NEW.intent_id IS DISTINCT FROM OLD.intent_id)
          OR (NEW.state <> OLD.state AND OLD.state NOT IN ('proposed', 'approved')) THEN
        RAISE EXCEPTION 'a treasury move stays as it was proposed, approved and paid (%)', OLD.id;
    ELSE
        -- What is left is how the payment of an approved one ended.
        of_operators := (OLD.state = 'proposed' AND NEW.state <> 'proposed')
            OR (NEW.state = 'dismissed' AND OLD.state <> 'dismissed')
            OR NEW.approved_by IS DISTINCT FROM OLD.approved_by
            OR NEW.intent_id IS DISTINCT FROM OLD.intent_id;
    END IF;
    IF NEW.state = 'approved' AND NEW.approved_by IS NULL THEN
        RAISE EXCEPTION 'a treasury move is approved by somebody (%)', NEW.id;
    END IF;
    IF of_operators AND NOT public.is_operator() THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('only operators propose, approve or dismiss a treasury move (%s)', NEW.id);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER treasury_moves_agreed BEFORE INSERT OR UPDATE OR DELETE ON treasury_moves
    FOR EACH ROW EXECUTE FUNCTION treasury_moves_keep();

-- The worker ends an evacuation when nothing is left; the freeze itself, and where to, are an operator's.
CREATE FUNCTION network_freezes_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.evacuate_to IS NOT NULL AND NOT public.is_operator() THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('only operators order an evacuation (%s)', NEW.network);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER network_freezes_ordered BEFORE UPDATE ON network_freezes FOR EACH ROW
    WHEN (NEW.evacuate_to IS DISTINCT FROM OLD.evacuate_to)
    EXECUTE FUNCTION network_freezes_keep();

-- Where a move to cold, or an evacuation, may go at all.
CREATE FUNCTION house_addresses_of_operators() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT public.is_operator() THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('only operators make a cold address known (%s)', NEW.address);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER house_addresses_cold BEFORE INSERT ON house_addresses FOR EACH ROW
    WHEN (NEW.place = 'cold') EXECUTE FUNCTION house_addresses_of_operators();

-- What is halted stays so, for the first reason, until an operator has looked. While an evacuation runs
-- the worker puts an address in reserve in the place of those that it has emptied.
CREATE FUNCTION halts_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'chain_signers' AND NEW.halted_reason IS NULL
       AND OLD.halted_reason = 'standby' AND EXISTS (
           SELECT FROM public.network_freezes f WHERE f.network = NEW.network
              AND f.evacuate_to IS NOT NULL) THEN
        RETURN NEW;
    END IF;
    IF NOT public.is_operator() THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('only operators let go on what is halted (%s)', NEW.network);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER network_state_halted BEFORE UPDATE ON network_state FOR EACH ROW
    WHEN (OLD.halted_reason IS NOT NULL AND NEW.halted_reason IS DISTINCT FROM OLD.halted_reason)
    EXECUTE FUNCTION halts_keep();
CREATE TRIGGER chain_signers_halted BEFORE UPDATE ON chain_signers FOR EACH ROW
    WHEN (OLD.halted_reason IS NOT NULL AND NEW.halted_reason IS DISTINCT FROM OLD.halted_reason)
    EXECUTE FUNCTION halts_keep();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE (approved_by) ON treasury_moves FROM bifold_app;
        GRANT UPDATE (approved_by) ON treasury_moves TO bifold_operator;
        REVOKE INSERT, UPDATE ON float_bounds FROM bifold_app;
        GRANT INSERT, UPDATE ON float_bounds TO bifold_operator;
        REVOKE INSERT, DELETE ON network_freezes FROM bifold_app;
        GRANT UPDATE (evacuate_to) ON network_freezes TO bifold_app;
        GRANT INSERT, DELETE ON network_freezes TO bifold_operator;
        REVOKE UPDATE, DELETE ON halted_tokens FROM bifold_app;
        GRANT DELETE ON halted_tokens TO bifold_operator;
        -- Nor is a halt ended by giving its row another name.
        REVOKE UPDATE, DELETE ON network_state, chain_signers FROM bifold_app;
        GRANT UPDATE (chain_id, block1_hash, head_number, head_hash, head_time, base_fee_wei, tip_wei,
            cap_wei, as_of, healthy, detail, snapshot_block, snapshot_hash, halted_reason, halted_at)
            ON network_state TO bifold_app;
        GRANT UPDATE (next_nonce, halted_reason, halted_at) ON chain_signers TO bifold_app;
    END IF;
END $$;
