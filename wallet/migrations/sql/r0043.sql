-- What was agreed of a payment abroad stays: to whom, at which price, by which order. The application moves
-- it on and writes down what the bank said; it could also have sent it to another recipient of its payer.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE, DELETE ON payments, payouts, payment_legs FROM bifold_app;
        GRANT UPDATE (status, reason, waiting_for, waiting_until, next_try_at, refund_minor, updated_at,
            ended_at) ON payments TO bifold_app;
        GRANT UPDATE (answer, reason, contradicted_at, told_at, answered_at) ON payouts TO bifold_app;
        GRANT UPDATE (status, at) ON payment_legs TO bifold_app;
    END IF;
END $$;
