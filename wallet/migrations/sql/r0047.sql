-- r0047: what came to an address is found by the address -----------------------------------------------------
-- The look at balances asks for it every 15 s, one address at a time under the scanner's lock, releases and sweeps
-- ask, too: each read every deposit there ever was (0.14 s of 200,000).
CREATE INDEX deposits_address_idx ON deposits (to_address, network, asset);
