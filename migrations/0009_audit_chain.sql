-- The hash chain of the audit log. `hash` of an entry is the SHA-256 (in hex) of the hash before it and of the entry;
-- audit_head has that of the last. `unhashed` is the last entry from before there was a chain: those have none.
-- Nothing is computed here, because both databases must come to the same text.

ALTER TABLE audit ADD COLUMN hash TEXT;
ALTER TABLE audit_head ADD COLUMN hash TEXT;
ALTER TABLE audit_head ADD COLUMN unhashed BIGINT NOT NULL DEFAULT 0;
UPDATE audit_head SET unhashed = seq;

-- Copies of the log elsewhere: behind which entry each began, up to which entry it has the log, and which node writes there now.
CREATE TABLE audit_sink (
    name TEXT NOT NULL PRIMARY KEY,
    started BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    acknowledged BIGINT NOT NULL,
    leased_by TEXT,
    leased_until BIGINT NOT NULL
);

CREATE INDEX audit_of_checkpoints ON audit (seq) WHERE kind = 'checkpoint';
