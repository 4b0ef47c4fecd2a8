-- The archive of recordings. Times are milliseconds since the Unix epoch.

-- One row per session that is over and has a recording. `state`: `local` (there is no archive), `unsealed` (nothing to hold
-- it against), `waiting`, `archived`, `deleting`, `deleted`. `here`: 1 the local copy is there, 2 it is being removed, 0 it is gone.
-- `delete_after` is when retention ends.
CREATE TABLE archive (
    session TEXT NOT NULL PRIMARY KEY REFERENCES session (id) DEFERRABLE INITIALLY DEFERRED,
    node TEXT NOT NULL,
    state TEXT NOT NULL,
    here BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    due BIGINT NOT NULL,
    problem TEXT,
    stored_bytes BIGINT,
    index_sha256 TEXT,
    taken_up BIGINT NOT NULL,
    confirmed BIGINT,
    delete_after BIGINT,
    removed BIGINT,
    deleted BIGINT
);
CREATE INDEX archive_waiting ON archive (node, due) WHERE state = 'waiting';
CREATE INDEX archive_here ON archive (node, confirmed) WHERE here <> 0;
CREATE INDEX archive_ending ON archive (delete_after) WHERE state <> 'deleted' AND delete_after IS NOT NULL;
CREATE INDEX session_by_closed ON session (node, closed) WHERE closed IS NOT NULL;

-- Files of a session that the archive has already, before its list is there: what an attempt that failed, or a session that
-- still runs, need not bring again. `object_json` is the file's line in the list.
CREATE TABLE archive_file (
    session TEXT NOT NULL,
    name TEXT NOT NULL,
    object_json TEXT NOT NULL,
    PRIMARY KEY (session, name)
);

-- Recordings that nobody may delete: of one session, of one person (`provider:subject`), or at one target.
CREATE TABLE legal_hold (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL,
    set_at BIGINT NOT NULL,
    released_by TEXT,
    released_at BIGINT
);
CREATE INDEX legal_hold_of ON legal_hold (kind, subject) WHERE released_at IS NULL;

-- The one row that who sets a hold and who is about to delete both lock, so that one of them sees the other.
CREATE TABLE hold_gate (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    n BIGINT NOT NULL
);
INSERT INTO hold_gate (one, n) VALUES (1, 0);
