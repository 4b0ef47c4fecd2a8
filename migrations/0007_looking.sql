-- For looking: which roles a session was opened by, and who used which role when. Both begin with this migration; what was
-- opened before has no row in session_role.

CREATE TABLE role_use (
    role TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    who TEXT NOT NULL,
    first_used BIGINT NOT NULL,
    last_used BIGINT NOT NULL,
    uses BIGINT NOT NULL,
    PRIMARY KEY (role, issuer, subject)
);

CREATE TABLE session_role (
    session TEXT NOT NULL REFERENCES session (id) DEFERRABLE INITIALLY DEFERRED,
    role TEXT NOT NULL,
    PRIMARY KEY (session, role)
);

CREATE INDEX sign_in_by_person ON sign_in (issuer, subject, created);
CREATE INDEX session_open ON session (opened) WHERE closed IS NULL;
CREATE INDEX access_grant_unused ON access_grant (opened) WHERE uses = 0;
CREATE INDEX audit_of_providers ON audit (seq) WHERE kind IN ('sign_in_ended', 'provider_logged_out');
