-- What a provider let us keep of a sign-in, so that it can be asked again whether the person is still there: the refresh
-- token, sealed under a key that is not in the database, with the key's id; its own names for person and session (`sub`,
-- `sid`), for logouts that it sends; when it last said yes and when it was last asked. `lease` keeps two servers from
-- using one rotating token at once. The row goes when the sign-in ends.

CREATE TABLE sign_in_check (
    sign_in TEXT NOT NULL PRIMARY KEY REFERENCES sign_in (id) DEFERRABLE INITIALLY DEFERRED,
    provider TEXT NOT NULL,
    sub TEXT NOT NULL,
    sid TEXT,
    nonce_sha256 TEXT NOT NULL,
    key_id TEXT,
    sealed TEXT,
    checked BIGINT NOT NULL,
    tried BIGINT NOT NULL,
    failure TEXT,
    lease TEXT,
    lease_until BIGINT NOT NULL
);
CREATE INDEX sign_in_check_by_sub ON sign_in_check (provider, sub);
CREATE INDEX sign_in_check_by_sid ON sign_in_check (provider, sid) WHERE sid IS NOT NULL;
CREATE INDEX sign_in_check_by_tried ON sign_in_check (tried) WHERE sealed IS NOT NULL;
