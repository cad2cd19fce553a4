CREATE OR REPLACE FUNCTION deposits_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.amount_minor <> OLD.amount_minor OR NEW.asset <> OLD.asset
       OR NEW.to_address <> OLD.to_address OR NEW.tx_hash <> OLD.tx_hash
       OR NEW.principal_id IS DISTINCT FROM OLD.principal_id
       OR (OLD.entry_id IS NOT NULL AND (NEW.entry_id IS DISTINCT FROM OLD.entry_id
           OR NEW.status <> OLD.status OR NEW.block_hash <> OLD.block_hash)) THEN
        RAISE EXCEPTION 'a deposit keeps what arrived, and a booked one its place (%)', OLD.id;
    END IF;
    RETURN NEW;
END $$;
ALTER TABLE deposits DROP COLUMN is_move;
