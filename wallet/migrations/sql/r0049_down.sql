DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        REVOKE SELECT ON fx_rates, payment_events FROM bifold_audit;
        REVOKE SELECT (asset, as_of, eur_price) ON fx_rates FROM bifold_audit;
        REVOKE SELECT (payment_id, type, detail) ON payment_events FROM bifold_audit;
    END IF;
END $$;
