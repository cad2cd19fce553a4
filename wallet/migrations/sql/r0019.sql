-- `export`: an own account goes back to its owner as a key file, sealed for the browser that asked.
ALTER TABLE selfcustody_requests DROP CONSTRAINT selfcustody_requests_purpose_check;
ALTER TABLE selfcustody_requests ADD CONSTRAINT selfcustody_requests_purpose_check
    CHECK (purpose IN ('create', 'import', 'grant', 'export')) NOT VALID;
ALTER TABLE selfcustody_requests VALIDATE CONSTRAINT selfcustody_requests_purpose_check;

-- Sealed replies are forgotten after minutes; these are the ones still there.
CREATE INDEX selfcustody_requests_replies_idx ON selfcustody_requests (created_at)
    WHERE reply IS NOT NULL;
