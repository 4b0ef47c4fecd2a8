-- Access requests, what they opened, and locks. What a case says in full is its json; the other columns are for finding it.

CREATE TABLE access_case (
    id TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    who TEXT NOT NULL,
    role TEXT NOT NULL,
    word TEXT NOT NULL,
    review_due BIGINT NOT NULL,
    due BIGINT,
    filed BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    idempotency TEXT,
    version BIGINT NOT NULL,
    json TEXT NOT NULL
);
CREATE UNIQUE INDEX access_case_by_key ON access_case (issuer, subject, idempotency);
CREATE INDEX access_case_by_filed ON access_case (filed, id);
CREATE INDEX access_case_by_who ON access_case (issuer, subject, filed);
CREATE INDEX access_case_waiting ON access_case (filed) WHERE word = 'waiting';
CREATE INDEX access_case_by_due ON access_case (due) WHERE due IS NOT NULL;
CREATE INDEX access_case_to_review ON access_case (filed) WHERE review_due = 1;

CREATE TABLE access_grant (
    id TEXT NOT NULL PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES access_case (id) DEFERRABLE INITIALLY DEFERRED,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    who TEXT NOT NULL,
    display TEXT NOT NULL,
    scope_json TEXT NOT NULL,
    starts BIGINT NOT NULL,
    until BIGINT NOT NULL,
    break_glass BIGINT NOT NULL,
    used_by TEXT,
    uses BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    ended BIGINT,
    end_word TEXT
);
CREATE INDEX access_grant_by_who ON access_grant (issuer, subject) WHERE ended IS NULL;
CREATE INDEX access_grant_live ON access_grant (until) WHERE ended IS NULL;
CREATE INDEX access_grant_by_case ON access_grant (case_id);
CREATE INDEX access_grant_by_opened ON access_grant (opened);

CREATE TABLE access_lock (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL,
    created BIGINT NOT NULL,
    until BIGINT,
    lifted BIGINT,
    lifted_by TEXT
);
CREATE INDEX access_lock_held ON access_lock (kind, name) WHERE lifted IS NULL;

-- Which grant a session was opened under, for stories and reports.
CREATE TABLE session_grant (
    session TEXT NOT NULL REFERENCES session (id) DEFERRABLE INITIALLY DEFERRED,
    grant_id TEXT NOT NULL REFERENCES access_grant (id) DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (session, grant_id)
);
CREATE INDEX session_grant_by_grant ON session_grant (grant_id);
