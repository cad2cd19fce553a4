-- Several nodes per network: how each one stood when the observer last looked.
CREATE TABLE network_nodes (
    network text NOT NULL,
    position smallint NOT NULL CHECK (position >= 0),
    state text NOT NULL CHECK (state IN ('serving', 'standby', 'lagging', 'away', 'wrong_chain')),
    head_number bigint,
    detail text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (network, position)
);
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_app') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON network_nodes TO bifold_app;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bifold_audit') THEN
        GRANT SELECT ON network_nodes TO bifold_audit;
    END IF;
END $$;
