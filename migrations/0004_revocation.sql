-- What is revoked. `kind` says what `value` is: serial (decimal), key and ca (SHA256:... of the public key), key-id,
-- session (its id). `authority` is whose certificates: user, target, or any. `until` is when it stops to matter because
-- what it names has ended by itself; NULL means never. `public_key` is the key itself, where it is known.

CREATE TABLE revocation (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    authority TEXT NOT NULL,
    value TEXT NOT NULL,
    public_key TEXT,
    reason TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    created BIGINT NOT NULL,
    until BIGINT
);
CREATE UNIQUE INDEX revocation_by_value ON revocation (kind, authority, value);
CREATE INDEX revocation_by_until ON revocation (until);
CREATE INDEX revocation_by_created ON revocation (created);

-- The one row that every revocation locks, first. The version only rises, also when an old backup is restored: it is
-- at least the time in seconds.
CREATE TABLE revocation_head (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL,
    changed BIGINT NOT NULL
);
INSERT INTO revocation_head (one, version, changed) VALUES (1, 1, 0);

-- Whoever is revoked is looked for by who they are.
CREATE INDEX sign_in_by_subject ON sign_in (provider, subject);
