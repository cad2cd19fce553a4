-- What was released counts among what a person tried in a day (wallet/risk/limits.py).
CREATE INDEX outgoing_usage_tried_idx ON outgoing_usage (principal_id, created_at);
DROP INDEX outgoing_usage_window_idx;
