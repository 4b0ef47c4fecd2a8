-- The first schema. One text for SQLite and PostgreSQL: columns are TEXT and BIGINT only.
-- Times are milliseconds since the Unix epoch. Certificate serials use all 64 bits, so they are decimal TEXT.
-- Foreign keys are checked at commit: the rows of one transaction may be written in any order.

CREATE TABLE sign_in (
    id TEXT NOT NULL PRIMARY KEY,
    who_kind TEXT NOT NULL,
    provider TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    display TEXT NOT NULL,
    groups_json TEXT NOT NULL,
    key_fingerprint TEXT,
    method TEXT NOT NULL,
    address TEXT NOT NULL,
    client TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    ended BIGINT
);
CREATE INDEX sign_in_by_key ON sign_in (key_fingerprint, created);
CREATE INDEX sign_in_by_expires ON sign_in (expires);
CREATE INDEX sign_in_by_ended ON sign_in (ended) WHERE ended IS NOT NULL;

CREATE TABLE pending_sign_in (
    id TEXT NOT NULL PRIMARY KEY,
    mode TEXT NOT NULL,
    state TEXT NOT NULL,
    oauth_state_hash TEXT UNIQUE,
    user_code_hash TEXT UNIQUE,
    json TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX pending_sign_in_by_expires ON pending_sign_in (expires);

CREATE TABLE request_nonce (
    key_fingerprint TEXT NOT NULL,
    nonce TEXT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (key_fingerprint, nonce)
);
CREATE INDEX request_nonce_by_expires ON request_nonce (expires);

CREATE TABLE session (
    id TEXT NOT NULL PRIMARY KEY,
    sign_in TEXT NOT NULL REFERENCES sign_in (id) DEFERRABLE INITIALLY DEFERRED,
    who TEXT NOT NULL,
    display TEXT NOT NULL,
    target TEXT NOT NULL,
    login TEXT NOT NULL,
    kind TEXT NOT NULL,
    command TEXT NOT NULL,
    address TEXT NOT NULL,
    node TEXT NOT NULL,
    recording TEXT,
    opened BIGINT NOT NULL,
    closed BIGINT,
    close_reason TEXT,
    exit_status BIGINT,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    recording_sha256 TEXT
);
CREATE INDEX session_by_opened ON session (opened);
CREATE INDEX session_by_target ON session (target, opened);
CREATE INDEX session_by_who ON session (who, opened);
CREATE INDEX session_by_sign_in ON session (sign_in);
CREATE INDEX session_open_by_node ON session (node) WHERE closed IS NULL;

CREATE TABLE certificate (
    serial TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    sign_in TEXT NOT NULL REFERENCES sign_in (id) DEFERRABLE INITIALLY DEFERRED,
    session TEXT REFERENCES session (id) DEFERRABLE INITIALLY DEFERRED,
    key_id TEXT NOT NULL,
    key_fingerprint TEXT NOT NULL,
    principals TEXT NOT NULL,
    valid_after BIGINT NOT NULL,
    valid_before BIGINT NOT NULL
);
CREATE INDEX certificate_by_sign_in ON certificate (sign_in);
CREATE INDEX certificate_by_session ON certificate (session);
CREATE INDEX certificate_by_key ON certificate (key_fingerprint);

CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    json TEXT NOT NULL
);

-- The one row that every commit locks, last: entries become visible in the order of their numbers, without gaps.
CREATE TABLE audit_head (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL
);
INSERT INTO audit_head (one, seq) VALUES (1, 0);
