-- Workloads: what the token of a run said (JSON), kept with its sign-in, because the policy of the moment judges it again;
-- tokens and deliveries of webhooks that were used; and which runs their platform said are running, or are over.

ALTER TABLE sign_in ADD COLUMN run TEXT;
ALTER TABLE sign_in ADD COLUMN run_name TEXT;
CREATE INDEX sign_in_by_run ON sign_in (provider, subject, run_name) WHERE run_name IS NOT NULL;

CREATE TABLE token_use (
    issuer TEXT NOT NULL,
    token TEXT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (issuer, token)
);
CREATE INDEX token_use_by_expires ON token_use (expires);

CREATE TABLE run_window (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    run TEXT NOT NULL,
    attempt TEXT NOT NULL,
    opened BIGINT,
    closed BIGINT,
    expires BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject, run, attempt)
);
CREATE INDEX run_window_by_expires ON run_window (expires);
