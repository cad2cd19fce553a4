-- Back to r0034: the application's role approves, freezes and lets go on by itself again.
DROP TRIGGER chain_signers_halted ON chain_signers;
DROP TRIGGER network_state_halted ON network_state;
DROP FUNCTION halts_keep();
DROP TRIGGER network_freezes_ordered ON network_freezes;
DROP FUNCTION network_freezes_keep();
DROP TRIGGER house_addresses_cold ON house_addresses;
DROP FUNCTION house_addresses_of_operators();
DROP TRIGGER treasury_moves_agreed ON treasury_moves;
DROP FUNCTION treasury_moves_keep();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        REVOKE UPDATE (approved_by) ON treasury_moves FROM bifold_operator;
        GRANT UPDATE (approved_by) ON treasury_moves TO bifold_app;
        REVOKE INSERT, UPDATE ON float_bounds FROM bifold_operator;
        GRANT INSERT, UPDATE ON float_bounds TO bifold_app;
        REVOKE INSERT, DELETE ON network_freezes FROM bifold_operator;
        REVOKE UPDATE (evacuate_to) ON network_freezes FROM bifold_app;
        GRANT INSERT, DELETE ON network_freezes TO bifold_app;
        REVOKE DELETE ON halted_tokens FROM bifold_operator;
        GRANT UPDATE, DELETE ON halted_tokens TO bifold_app;
        REVOKE UPDATE ON network_state, chain_signers FROM bifold_app;  -- the columns' own with it
        GRANT UPDATE, DELETE ON network_state TO bifold_app;
        GRANT UPDATE ON chain_signers TO bifold_app;
    END IF;
END $$;
