CREATE INDEX outgoing_usage_window_idx ON outgoing_usage (principal_id, created_at)
    WHERE released_at IS NULL;
DROP INDEX outgoing_usage_tried_idx;
