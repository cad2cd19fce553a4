DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT UPDATE ON payments, payouts, payment_legs TO bifold_app;
    END IF;
END $$;
