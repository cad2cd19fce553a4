-- Browser wallets.
-- `browser`: SHA-256 over the secret in the cookie of the browser that asked; null: asked over /v1.
ALTER TABLE siwe_nonces ADD COLUMN browser bytea CHECK (octet_length(browser) = 32);

-- `chain_id`: a contract (EIP-1271), and the only chain it signs in on: at the same address of
-- another chain there may be somebody else's. Null: a key, whose signature is its own everywhere.
ALTER TABLE linked_wallets ADD COLUMN chain_id bigint CHECK (chain_id > 0);
