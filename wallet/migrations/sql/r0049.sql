-- r0049: the auditor reads stored prices, and how each payment abroad began -----------------------------------
-- By those it follows what was priced in the last week; by this it sees whom a payment was for when it was made.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT (asset, as_of, eur_price) ON fx_rates TO bifold_audit;
        GRANT SELECT (payment_id, type, detail) ON payment_events TO bifold_audit;
    END IF;
END $$;
