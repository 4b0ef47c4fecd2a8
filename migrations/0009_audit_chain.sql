-- The hash chain of the audit log. `hash` of an entry is the SHA-256 (in hex) of the hash before it and of the entry;
-- audit_head has that of the last. `unhashed` is the last entry from before there was a chain: those have none.
-- Nothing is computed here, because both databases must come to the same text.

ALTER TABLE audit ADD COLUMN hash TEXT;
ALTER TABLE audit_head ADD COLUMN hash TEXT;
ALTER TABLE audit_head ADD COLUMN unhashed BIGINT NOT NULL DEFAULT 0;
UPDATE audit_head SET unhashed = seq;

-- Copies of the log elsewhere: up to which entry each has it, and which node writes there now.
CREATE TABLE audit_sink (
    name TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    acknowledged BIGINT NOT NULL,
    leased_by TEXT,
    leased_until BIGINT NOT NULL
);
