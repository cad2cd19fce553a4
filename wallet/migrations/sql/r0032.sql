-- A warm tier: an address of the signer's vault out of which nothing goes without several operators -----
ALTER TABLE house_addresses DROP CONSTRAINT house_addresses_place_check,
    ADD CONSTRAINT house_addresses_place_check CHECK (place IN ('hot', 'warm', 'cold', 'faucet'));
ALTER TABLE sweeps DROP CONSTRAINT sweeps_place_check,
    ADD CONSTRAINT sweeps_place_check CHECK (place IN ('hot', 'warm', 'cold'));
-- It gives nonces like a hot one, but is no lane: it sends what is pinned to it.
ALTER TABLE chain_signers DROP CONSTRAINT chain_signers_role_check,
    ADD CONSTRAINT chain_signers_role_check CHECK (role IN ('hot', 'warm', 'deposit'));

ALTER TABLE float_bounds ADD COLUMN tier text NOT NULL DEFAULT 'hot' CHECK (tier IN ('hot', 'warm')),
    DROP CONSTRAINT float_bounds_pkey, ADD PRIMARY KEY (network, asset, tier);

-- `refill_warm`, like `refill`, comes by a sheet signed cold.
ALTER TABLE treasury_moves DROP CONSTRAINT treasury_moves_kind_check,
    ADD CONSTRAINT treasury_moves_kind_check CHECK (kind IN ('to_cold', 'profit', 'evacuate', 'refill',
        'to_warm', 'to_hot', 'warm_to_cold', 'evacuate_warm', 'refill_warm'));

-- Several operators may sign for one payment, each once; `by_whom` is the name they gave.
ALTER TABLE chain_approvals ADD COLUMN by_whom text, DROP CONSTRAINT chain_approvals_pkey,
    ADD PRIMARY KEY (intent_id, operator), ADD UNIQUE (intent_id, by_whom);
