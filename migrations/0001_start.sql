-- Columns are TEXT and BIGINT only, so that one set of queries serves SQLite and PostgreSQL. Times are milliseconds
-- since the Unix epoch. Serials are decimal TEXT: they have 64 bits without a sign.

CREATE TABLE sign_in (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    provider TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    display TEXT NOT NULL,
    groups_json TEXT NOT NULL,
    key_fingerprint TEXT,
    method TEXT NOT NULL,
    from_address TEXT NOT NULL,
    client TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    ended BIGINT
);
CREATE INDEX sign_in_key ON sign_in (key_fingerprint, created);
CREATE INDEX sign_in_ended ON sign_in (ended);

CREATE TABLE pending_sign_in (
    id TEXT PRIMARY KEY,
    mode TEXT NOT NULL,
    state TEXT NOT NULL,
    oauth_state_hash TEXT UNIQUE,
    user_code_hash TEXT UNIQUE,
    json TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX pending_sign_in_expires ON pending_sign_in (expires);

CREATE TABLE request_nonce (
    key_fingerprint TEXT NOT NULL,
    nonce TEXT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (key_fingerprint, nonce)
);
CREATE INDEX request_nonce_expires ON request_nonce (expires);

CREATE TABLE certificate (
    serial TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    sign_in TEXT NOT NULL,
    session TEXT,
    key_id TEXT NOT NULL,
    key_fingerprint TEXT NOT NULL,
    principals TEXT NOT NULL,
    valid_after BIGINT NOT NULL,
    valid_before BIGINT NOT NULL
);
CREATE INDEX certificate_sign_in ON certificate (sign_in);

CREATE TABLE session (
    id TEXT PRIMARY KEY,
    sign_in TEXT NOT NULL,
    who TEXT NOT NULL,
    display TEXT NOT NULL,
    target TEXT NOT NULL,
    login TEXT NOT NULL,
    kind TEXT NOT NULL,
    command TEXT NOT NULL,
    from_address TEXT NOT NULL,
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
CREATE INDEX session_opened ON session (opened);
CREATE INDEX session_open_of ON session (node, closed);

CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    json TEXT NOT NULL
);

-- The last number given out. Its row is locked until commit, so numbers rise without gaps in the order of commits.
CREATE TABLE audit_head (
    id BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL
);
INSERT INTO audit_head (id, seq) VALUES (1, 0);
