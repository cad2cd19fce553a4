-- Coins paid inside a transaction have no log: the call that paid them is their place in it.
ALTER TABLE deposits ADD COLUMN trace_path text NOT NULL DEFAULT ''
    CONSTRAINT deposits_trace_path_check CHECK
    (trace_path ~ '^([0-9]+([.][0-9]+)*)?$' AND (trace_path = '' OR log_index = -1));
DO $$
DECLARE old text;
BEGIN
    SELECT conname INTO STRICT old FROM pg_constraint
     WHERE conrelid = 'deposits'::regclass AND contype = 'u' AND array_length(conkey, 1) = 4;
    EXECUTE format('ALTER TABLE deposits DROP CONSTRAINT %I', old);
END $$;
ALTER TABLE deposits ADD CONSTRAINT deposits_place_key
    UNIQUE (network, block_hash, tx_hash, log_index, trace_path);
