-- Notices to people and programs, their deliveries, and alerts. Times are milliseconds since the Unix epoch.

-- What is to be told. `place` numbers the notices of one case; `spread` is when its deliveries were written.
CREATE TABLE notice (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    case_id TEXT,
    place BIGINT NOT NULL,
    audience_json TEXT NOT NULL,
    title TEXT NOT NULL,
    fields_json TEXT NOT NULL,
    at BIGINT NOT NULL,
    spread BIGINT
);
CREATE INDEX notice_by_case ON notice (case_id, place);
CREATE INDEX notice_by_at ON notice (at);
CREATE INDEX notice_unspread ON notice (at) WHERE spread IS NULL;

-- One notice to one receiver. `lane` is what deliveries share a connection budget with.
CREATE TABLE delivery (
    notice TEXT NOT NULL REFERENCES notice (id) DEFERRABLE INITIALLY DEFERRED,
    sink TEXT NOT NULL,
    lane TEXT NOT NULL,
    case_id TEXT,
    place BIGINT NOT NULL,
    created BIGINT NOT NULL,
    due BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    leased_by TEXT,
    leased_until BIGINT NOT NULL,
    problem TEXT,
    outcome TEXT,
    finished BIGINT,
    PRIMARY KEY (notice, sink)
);
CREATE INDEX delivery_waiting ON delivery (lane, due) WHERE finished IS NULL;
CREATE INDEX delivery_of_case ON delivery (sink, case_id, place) WHERE finished IS NULL;
CREATE INDEX delivery_by_created ON delivery (created) WHERE finished IS NULL;
CREATE INDEX delivery_by_finished ON delivery (finished) WHERE finished IS NOT NULL;

-- Something in the audit log that somebody should look at. `happened` is the time of the entry
-- that made it an alert.
CREATE TABLE alert (
    id TEXT NOT NULL PRIMARY KEY,
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    title TEXT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    events BIGINT NOT NULL,
    happened BIGINT NOT NULL,
    last_happened BIGINT NOT NULL,
    raised BIGINT NOT NULL,
    acknowledged BIGINT,
    acknowledged_by TEXT,
    note TEXT
);
CREATE INDEX alert_by_subject ON alert (rule, subject, happened);
CREATE INDEX alert_by_raised ON alert (raised);
CREATE INDEX alert_open ON alert (raised) WHERE acknowledged IS NULL;

-- How far a set of rules has read the audit log, and which node reads now. Entries up to `quiet_to` only teach.
CREATE TABLE alert_watch (
    rules TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    quiet_to BIGINT NOT NULL,
    leased_by TEXT,
    leased_until BIGINT NOT NULL
);

-- What rules have met before: the first entry (`seq`) in which `subject` had to do with `what`.
CREATE TABLE alert_seen (
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    what TEXT NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (rule, subject, what)
);
