-- For finding: what was seen and done in sessions, as text (SQLite; the file beside this one is PostgreSQL's). How far each
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
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL REFERENCES session (id) DEFERRABLE INITIALLY DEFERRED,
    kind TEXT NOT NULL,
    lines_json TEXT NOT NULL
);

CREATE VIRTUAL TABLE transcript_words USING fts5 (words, content = '', contentless_delete = 1, tokenize = "unicode61 remove_diacritics 0");

CREATE INDEX transcript_waiting ON transcript (node, due) WHERE state = 'waiting';
CREATE INDEX transcript_block_of ON transcript_block (session);
CREATE INDEX transcript_block_commands ON transcript_block (id) WHERE kind = 'command';

INSERT INTO transcript (session, node, state, tries, due, cut, problem)
SELECT id, node, 'waiting', 0, 0, 0, NULL FROM session WHERE closed IS NOT NULL AND recording IS NOT NULL;
