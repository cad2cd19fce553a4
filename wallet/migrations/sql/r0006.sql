-- Sending: what the owner of a payment asks for after its nonce is given.
-- A request is a wish: the deliverer answers it by another attempt at the same nonce, and whichever
-- attempt the chain takes decides.
ALTER TABLE chain_intents
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN speed_up_requested_at timestamptz,
    ADD CHECK (nonce IS NOT NULL OR (cancel_requested_at IS NULL AND speed_up_requested_at IS NULL));
