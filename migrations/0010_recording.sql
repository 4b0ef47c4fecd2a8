-- The keys by which nodes seal recordings and sign checkpoints of the audit log: public halves, as OpenSSH writes them.

CREATE TABLE recording_key (
    node TEXT NOT NULL,
    public_key TEXT NOT NULL,
    first_used BIGINT NOT NULL,
    PRIMARY KEY (node, public_key)
);
