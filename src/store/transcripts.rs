//! Rows of `transcript` and `transcript_block`: which sessions have been read for finding, and what is in them. What a block
//! says is `recording::text`'s, what is worth showing its flow's. The one place where the two databases differ: SQLite finds
//! words in a table beside (FTS5), PostgreSQL in a column (tsvector). Both are given the words as they are, so they find the same.
//!
//! Reading a recording for finding is book-keeping, and not audited; searching is.

use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;

use super::column::{Columns, bad, label, millis, text, whole};
use super::{Inner, Store, StoreError, Tx, Writers};
use crate::ids::SessionId;
use crate::recording::text::{Block, Kind};
use crate::recording::words::Wanted;
use crate::time::Timestamp;

const TABLE: &str = "transcript";
const BLOCK: &str = "transcript_block";
/// Blocks that are written in one transaction: others write between two.
const TOGETHER: usize = 8;

/// A session whose recording is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueTranscript {
    /// Which.
    pub session: SessionId,
    /// How often it was tried before.
    pub tries: u64,
}

/// What is looked for. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct BlockSearch {
    /// Words.
    pub wanted: Wanted,
    /// Only blocks of commands.
    pub commands: bool,
    /// Only this person (`provider:subject`).
    pub who: Option<String>,
    /// Only this target.
    pub target: Option<String>,
    /// Only sessions that were open at this time or later.
    pub since: Option<Timestamp>,
    /// Only sessions that were open at this time or before.
    pub until: Option<Timestamp>,
    /// Only blocks before this one.
    pub before: Option<u64>,
    /// At most so many, newest first.
    pub limit: u32,
}

/// A block that has the words, and whose it is.
#[derive(Clone, Debug)]
pub struct FoundBlock {
    /// Its number.
    pub id: u64,
    /// The session.
    pub session: SessionId,
    /// `provider:subject`.
    pub who: String,
    /// Display label.
    pub display: String,
    /// Target.
    pub target: String,
    /// Login.
    pub login: String,
    /// When the session was opened.
    pub opened: Timestamp,
    /// The lines.
    pub block: Block,
    /// Not all of the session could be kept.
    pub cut: bool,
}

/// How many sessions are not, or not all, in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Not read yet.
    pub waiting: u64,
    /// Could not be read.
    pub failed: u64,
    /// Had more than is kept.
    pub cut: u64,
}

impl Store {
    /// Closed sessions of `node` whose recording is to be read now, at most `limit`.
    pub async fn transcripts_due(
        &self,
        node: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueTranscript>, StoreError> {
        let rows = sqlx::query(
            "SELECT session, tries FROM transcript WHERE state = 'waiting' AND node = $1 AND due <= $2 \
             ORDER BY due, session LIMIT $3",
        )
        .bind(text(TABLE, "node", node)?.to_owned())
        .bind(millis(TABLE, "due", now)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let read = |row: &AnyRow| {
            let columns = Columns { table: TABLE, row };
            Ok(DueTranscript { session: columns.parsed("session")?, tries: columns.whole("tries")? })
        };
        rows.iter().map(read).collect()
    }

    /// Keeps what was read of a session, in place of what an attempt before left; false when it was forgotten meanwhile.
    pub async fn keep_transcript(
        &self,
        session: &SessionId,
        blocks: &[Block],
        cut: bool,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        tx.clear_transcript(session).await?;
        tx.commit_unaudited().await?;
        for some in blocks.chunks(TOGETHER) {
            let mut tx = self.begin().await?;
            // Held until COMMIT: whoever forgets the session waits, and takes these away too.
            if !tx.touch_transcript(session).await? {
                tx.leave().await?;
                return Ok(false);
            }
            for block in some {
                tx.insert_block(session, block).await?;
            }
            tx.commit_unaudited().await?;
        }
        let mut tx = self.begin().await?;
        let changed = sqlx::query(
            "UPDATE transcript SET state = 'done', cut = $2, problem = NULL WHERE session = $1 AND state = 'waiting'",
        )
        .bind(session.as_str())
        .bind(i64::from(cut))
        .execute(tx.connection())
        .await?;
        tx.commit_unaudited().await?;
        Ok(changed.rows_affected() == 1)
    }

    /// Writes that a recording could not be read: it is tried again at `again`, or never.
    pub async fn transcript_failed(
        &self,
        session: &SessionId,
        problem: &str,
        again: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE transcript SET tries = tries + 1, state = $2, due = $3, problem = $4 \
             WHERE session = $1 AND state = 'waiting'",
        )
        .bind(session.as_str())
        .bind(if again.is_some() { "waiting" } else { "failed" })
        .bind(millis(TABLE, "due", again.unwrap_or(Timestamp::from_millis(0)))?)
        .bind(label(problem).into_owned())
        .execute(tx.connection())
        .await?;
        tx.commit_unaudited().await
    }

    /// How much is not in the index.
    pub async fn unread_transcripts(&self) -> Result<Unread, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(CASE WHEN state = 'waiting' THEN 1 END) AS waiting, \
             COUNT(CASE WHEN state = 'failed' THEN 1 END) AS failed, COUNT(CASE WHEN cut = 1 THEN 1 END) AS cut \
             FROM transcript",
        )
        .fetch_one(&self.pool)
        .await?;
        let columns = Columns { table: TABLE, row: &row };
        Ok(Unread {
            waiting: columns.whole("waiting")?,
            failed: columns.whole("failed")?,
            cut: columns.whole("cut")?,
        })
    }

    /// Blocks with the words that are looked for, newest first. Lines in them may still be others than those meant.
    pub async fn search_blocks(&self, search: &BlockSearch) -> Result<Vec<FoundBlock>, StoreError> {
        let is_sqlite = matches!(self.writers, Writers::InBatches(_));
        let words = if search.wanted.is_nothing() {
            "AND CAST($7 AS TEXT) = ''"
        } else if is_sqlite {
            "AND b.id IN (SELECT rowid FROM transcript_words WHERE transcript_words MATCH $7)"
        } else {
            "AND b.words @@ CAST($7 AS tsquery)"
        };
        let kind = if search.commands { "AND b.kind = 'command'" } else { "" };
        let sql = format!(
            "SELECT b.id, b.session, b.kind, b.lines_json, t.cut, s.who, s.display, s.target, s.login, s.opened \
             FROM transcript_block b JOIN session s ON s.id = b.session JOIN transcript t ON t.session = b.session \
             WHERE b.id < $1 AND (CAST($2 AS TEXT) IS NULL OR s.who = $2) \
             AND (CAST($3 AS TEXT) IS NULL OR s.target = $3) AND s.opened <= $4 AND s.closed >= $5 {words} {kind} \
             ORDER BY b.id DESC LIMIT $6"
        );
        let bound = |at: Option<Timestamp>, other| at.map_or(Ok(other), |at| millis(TABLE, "time", at));
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(search.before.map_or(Ok(i64::MAX), |before| whole(BLOCK, "id", before))?)
            .bind(search.who.clone())
            .bind(search.target.clone())
            .bind(bound(search.until, i64::MAX)?)
            .bind(bound(search.since, 0)?)
            .bind(i64::from(search.limit))
            .bind(if is_sqlite { fts5(&search.wanted) } else { tsquery(&search.wanted) })
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(found).collect()
    }
}

impl Tx {
    /// Marks a session whose recording is complete as one to be read for finding.
    pub(super) async fn insert_transcript(
        &mut self,
        session: &SessionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO transcript (session, node, state, tries, due, cut, problem) \
             SELECT id, node, 'waiting', 0, $2, 0, NULL FROM session WHERE id = $1 AND recording IS NOT NULL \
             ON CONFLICT DO NOTHING",
        )
        .bind(session.as_str())
        .bind(millis(TABLE, "due", now)?)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Takes out of the index what a session is found by, for good: for whoever deletes its recording.
    pub async fn forget_transcript(&mut self, session: &SessionId) -> Result<(), StoreError> {
        sqlx::query("UPDATE transcript SET state = 'forgotten', cut = 0, problem = NULL WHERE session = $1")
            .bind(session.as_str())
            .execute(self.connection())
            .await?;
        self.clear_transcript(session).await
    }

    async fn clear_transcript(&mut self, session: &SessionId) -> Result<(), StoreError> {
        if self.is_sqlite() {
            sqlx::query(
                "DELETE FROM transcript_words WHERE rowid IN \
                 (SELECT id FROM transcript_block WHERE session = $1)",
            )
            .bind(session.as_str())
            .execute(self.connection())
            .await?;
        }
        sqlx::query("DELETE FROM transcript_block WHERE session = $1")
            .bind(session.as_str())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    async fn touch_transcript(&mut self, session: &SessionId) -> Result<bool, StoreError> {
        let changed = sqlx::query("UPDATE transcript SET cut = cut WHERE session = $1 AND state = 'waiting'")
            .bind(session.as_str())
            .execute(self.connection())
            .await?;
        Ok(changed.rows_affected() == 1)
    }

    async fn insert_block(&mut self, session: &SessionId, block: &Block) -> Result<(), StoreError> {
        let lines: Vec<(u64, String)> =
            block.lines.iter().map(|(at, line)| (*at, label(line).into_owned())).collect();
        let lines = serde_json::to_string(&lines).map_err(|error| bad(BLOCK, error))?;
        let words = block.words();
        if !self.is_sqlite() {
            sqlx::query(
                "INSERT INTO transcript_block (session, kind, lines_json, words) \
                 VALUES ($1, $2, $3, CAST($4 AS tsvector))",
            )
            .bind(session.as_str())
            .bind(block.kind.as_str())
            .bind(lines)
            .bind(tsvector(&words))
            .execute(self.connection())
            .await?;
            return Ok(());
        }
        sqlx::query("INSERT INTO transcript_block (session, kind, lines_json) VALUES ($1, $2, $3)")
            .bind(session.as_str())
            .bind(block.kind.as_str())
            .bind(lines)
            .execute(self.connection())
            .await?;
        sqlx::query("INSERT INTO transcript_words (rowid, words) VALUES (last_insert_rowid(), $1)")
            .bind(words.join(" "))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    fn is_sqlite(&self) -> bool {
        matches!(self.0, Inner::Member(_))
    }
}

/// Words are letters and digits, so nothing in them can be taken for syntax.
fn tsvector(words: &[String]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}

fn tsquery(wanted: &Wanted) -> String {
    let whole = wanted.whole.iter().map(|word| format!("'{word}'"));
    let begins = wanted.begins.iter().map(|word| format!("'{word}':*"));
    whole.chain(begins).collect::<Vec<_>>().join(" & ")
}

fn fts5(wanted: &Wanted) -> String {
    let whole = wanted.whole.iter().map(|word| format!("\"{word}\""));
    let begins = wanted.begins.iter().map(|word| format!("\"{word}\"*"));
    whole.chain(begins).collect::<Vec<_>>().join(" AND ")
}

fn found(row: &AnyRow) -> Result<FoundBlock, StoreError> {
    let columns = Columns { table: BLOCK, row };
    let kind = columns.text("kind")?;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    let lines = serde_json::from_str(&columns.text("lines_json")?).map_err(|error| bad(BLOCK, error))?;
    Ok(FoundBlock {
        id: columns.whole("id")?,
        session: columns.parsed("session")?,
        who: columns.text("who")?,
        display: columns.text("display")?,
        target: columns.text("target")?,
        login: columns.text("login")?,
        opened: columns.time("opened")?,
        block: Block { kind: kind.ok_or_else(|| bad(BLOCK, "kind is not one of ours"))?, lines },
        cut: columns.whole("cut")? != 0,
    })
}
