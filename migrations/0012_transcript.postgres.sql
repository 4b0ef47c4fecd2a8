-- For finding: what was seen and done in sessions, as text (PostgreSQL; the file beside this one is SQLite's). How far each
-- session has been read stands in transcript; a block is some lines of one kind, and the words that are in it.

CREATE TABLE transcript (
    session TEXT NOT NULL PRIMARY KEY REFERENCES session (id) DEFERRABLE INITIALLY DEFERRED,
    node TEXT NOT NULL,
    state TEXT NOT NULL,
    tries BIGINT NOT NULL,
    due BIGINT NOT NULL,
    cut BIGINT NOT NULL,
    problem TEXT
);

CREATE TABLE transcript_block (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session TEXT NOT NULL REFERENCES session (id) DEFERRABLE INITIALLY DEFERRED,
    kind TEXT NOT NULL,
    lines_json TEXT NOT NULL,
    words TSVECTOR NOT NULL
);

CREATE INDEX transcript_words ON transcript_block USING gin (words);
CREATE INDEX transcript_waiting ON transcript (node, due) WHERE state = 'waiting';
CREATE INDEX transcript_block_of ON transcript_block (session);
CREATE INDEX transcript_block_commands ON transcript_block (id) WHERE kind = 'command';

INSERT INTO transcript (session, node, state, tries, due, cut, problem)
SELECT id, node, 'waiting', 0, 0, 0, NULL FROM session WHERE closed IS NOT NULL AND recording IS NOT NULL;
