//! Rows of `archive` and `archive_file`: what becomes of the recording of a session that is over. When something is tried,
//! removed or deleted is `flow::archive`'s matter; that nothing under a hold is removed is decided here, in the transaction.

use sqlx::any::AnyRow;

use super::column::{Columns, label, millis, text, whole, word};
use super::sessions::{self, SessionRow};
use super::{Store, StoreError, Tx};
use crate::ids::SessionId;
use crate::time::Timestamp;

const TABLE: &str = "archive";
const FILE: &str = "archive_file";
/// See the migration.
const STATES: &[&str] = &["local", "unsealed", "waiting", "archived", "deleting", "deleted"];

/// What becomes of one recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveRow {
    /// The session.
    pub session: SessionId,
    /// The bastion that has it.
    pub node: String,
    /// `local` (there is no archive), `unsealed`, `waiting`, `archived`, `deleting` or `deleted`.
    pub state: String,
    /// Where the local copy is.
    pub here: Here,
    /// How often the act at hand has failed.
    pub attempts: u64,
    /// When it is tried (again).
    pub due: Timestamp,
    /// What came of the last attempt.
    pub problem: Option<String>,
    /// Bytes of the archive.
    pub stored_bytes: Option<u64>,
    /// SHA-256 of the archive's list.
    pub index_sha256: Option<String>,
    /// When it was found that the session is over.
    pub taken_up: Timestamp,
    /// When the archive gave it back right.
    pub confirmed: Option<Timestamp>,
    /// When retention ends.
    pub delete_after: Option<Timestamp>,
    /// When the local copy was removed.
    pub removed: Option<Timestamp>,
    /// When it was deleted.
    pub deleted: Option<Timestamp>,
}

/// Whether the local copy is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// It is.
    Yes,
    /// It is decided and written down that it goes.
    Going,
    /// It is not.
    No,
}

impl Here {
    fn number(self) -> i64 {
        match self {
            Self::No => 0,
            Self::Yes => 1,
            Self::Going => 2,
        }
    }
}

/// That no hold is on the recording, for a first look: the transaction that decides looks again.
macro_rules! not_held {
    () => {
        "NOT EXISTS (SELECT 1 FROM session s, legal_hold h WHERE s.id = archive.session AND h.released_at IS NULL \
         AND ((h.kind = 'session' AND h.subject = s.id) OR (h.kind = 'user' AND h.subject = s.who) \
         OR (h.kind = 'target' AND h.subject = s.target)))"
    };
}

macro_rules! select {
    ($($rest:expr),+) => {
        concat!(
            "SELECT session, node, state, here, attempts, due, problem, stored_bytes, index_sha256, taken_up, confirmed, \
             delete_after, removed, deleted FROM archive ",
            $($rest),+
        )
    };
}

impl Store {
    /// Sessions of `node` that were closed at `since` or later, have a recording, and of which nothing is written down yet.
    pub async fn not_taken_up(
        &self,
        node: &str,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionRow>, StoreError> {
        let rows = sqlx::query(sessions::select!(
            "WHERE node = $1 AND closed >= $2 AND recording IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM archive a WHERE a.session = session.id) ORDER BY closed LIMIT $3"
        ))
        .bind(node)
        .bind(millis(TABLE, "since", since)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(sessions::read).collect()
    }

    /// Rows of `node` that wait for the archive and are due.
    pub async fn archive_due(
        &self,
        node: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ArchiveRow>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE node = $1 AND state = 'waiting' AND due <= $2 ORDER BY due, session LIMIT $3"
        ))
        .bind(node)
        .bind(millis(TABLE, "now", now)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Rows of `node` whose local copy may go: archived at `before` or earlier and not held, or on its way.
    pub async fn archive_removable(
        &self,
        node: &str,
        (before, now): (Timestamp, Timestamp),
        limit: u32,
    ) -> Result<Vec<ArchiveRow>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE node = $1 AND state = 'archived' AND here <> 0 AND due <= $3 AND (here = 2 OR (confirmed <= $2 AND ",
            not_held!(),
            ")) ORDER BY confirmed, session LIMIT $4"
        ))
        .bind(node)
        .bind(millis(TABLE, "confirmed", before)?)
        .bind(millis(TABLE, "now", now)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Rows whose time is over, or that are being deleted: those of `node`, and those that lie in the archive alone.
    pub async fn archive_ended(
        &self,
        node: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ArchiveRow>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE (node = $1 OR here = 0) AND state <> 'deleted' AND delete_after <= $2 AND due <= $2 AND (state = 'deleting' OR (state <> 'deleting' AND ",
            not_held!(),
            ")) ORDER BY delete_after, session LIMIT $3"
        ))
        .bind(node)
        .bind(millis(TABLE, "now", now)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// What becomes of one recording; none before it was taken up.
    pub async fn archive_row(&self, session: &SessionId) -> Result<Option<ArchiveRow>, StoreError> {
        let row = sqlx::query(select!("WHERE session = $1"))
            .bind(session.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// All of them, or only those that something waits for, newest first.
    pub async fn archive_rows(&self, all: bool, limit: u32) -> Result<Vec<ArchiveRow>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE $1 = 1 OR state IN ('waiting', 'unsealed', 'deleting') OR problem IS NOT NULL \
             ORDER BY taken_up DESC, session DESC LIMIT $2"
        ))
        .bind(i64::from(all))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Files that the archive has of a session before it has the whole, by name, as their lines of the list.
    pub async fn archive_files(&self, session: &SessionId) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sqlx::query("SELECT name, object_json FROM archive_file WHERE session = $1 ORDER BY name")
            .bind(session.as_str())
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: FILE, row };
                Ok((columns.text("name")?, columns.text("object_json")?))
            })
            .collect()
    }

    /// Remembers that the archive has this file.
    pub async fn note_archived_file(
        &self,
        session: &SessionId,
        name: &str,
        object_json: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO archive_file (session, name, object_json) VALUES ($1, $2, $3) \
             ON CONFLICT (session, name) DO UPDATE SET object_json = excluded.object_json",
        )
        .bind(session.as_str())
        .bind(text(FILE, "name", name)?)
        .bind(text(FILE, "object_json", object_json)?)
        .execute(tx.connection())
        .await?;
        tx.commit_unaudited().await
    }

    /// Writes the first row of a recording; one that is there stays as it is.
    pub async fn take_up_recording(&self, row: &ArchiveRow) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO archive (session, node, state, here, attempts, due, taken_up, delete_after) \
             VALUES ($1, $2, $3, $4, 0, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(row.session.as_str())
        .bind(text(TABLE, "node", &row.node)?)
        .bind(word(TABLE, "state", &row.state, STATES)?)
        .bind(row.here.number())
        .bind(millis(TABLE, "due", row.due)?)
        .bind(millis(TABLE, "taken_up", row.taken_up)?)
        .bind(row.delete_after.map(|at| millis(TABLE, "delete_after", at)).transpose()?)
        .execute(tx.connection())
        .await?;
        tx.commit_unaudited().await
    }

    /// There is an archive now: recordings of `node` that had none to go to wait for it. Says how many.
    pub async fn archive_from_now_on(&self, node: &str, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let changed =
            sqlx::query("UPDATE archive SET state = 'waiting', due = $2 WHERE node = $1 AND state = 'local'")
                .bind(node)
                .bind(millis(TABLE, "due", now)?)
                .execute(tx.connection())
                .await?;
        tx.commit_unaudited().await?;
        Ok(changed.rows_affected())
    }

    /// Remembers that an act failed; the next attempt is at `due`. For attempts of which nothing is told.
    pub async fn postpone_archive(
        &self,
        session: &SessionId,
        due: Timestamp,
        problem: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.postpone_archive(session, due, problem).await?;
        tx.commit_unaudited().await
    }

    /// The local copy, or the whole recording, is gone; it was written down before.
    pub async fn archive_gone(
        &self,
        session: &SessionId,
        deleted: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let sql = if deleted {
            "UPDATE archive SET state = 'deleted', here = 0, deleted = $2, problem = NULL WHERE session = $1 AND state = 'deleting'"
        } else {
            "UPDATE archive SET here = 0, removed = $2, attempts = 0, problem = NULL WHERE session = $1 AND here = 2"
        };
        sqlx::query(sql)
            .bind(session.as_str())
            .bind(millis(TABLE, "now", now)?)
            .execute(tx.connection())
            .await?;
        if deleted {
            forget_files(&mut tx, session).await?;
        }
        tx.commit_unaudited().await
    }
}

impl Tx {
    /// As [`Store::postpone_archive`], for an attempt that is told of.
    pub async fn postpone_archive(
        &mut self,
        session: &SessionId,
        due: Timestamp,
        problem: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE archive SET attempts = attempts + 1, due = $2, problem = $3 WHERE session = $1")
            .bind(session.as_str())
            .bind(millis(TABLE, "due", due)?)
            .bind(&*label(problem))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The archive has it: false when the row does not wait any more.
    pub async fn set_archived(
        &mut self,
        session: &SessionId,
        stored_bytes: u64,
        index_sha256: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = sqlx::query(
            "UPDATE archive SET state = 'archived', attempts = 0, problem = NULL, stored_bytes = $2, index_sha256 = $3, \
             confirmed = $4, due = $4 WHERE session = $1 AND state = 'waiting'",
        )
        .bind(session.as_str())
        .bind(whole(TABLE, "stored_bytes", stored_bytes)?)
        .bind(text(TABLE, "index_sha256", index_sha256)?)
        .bind(millis(TABLE, "confirmed", now)?)
        .execute(self.connection())
        .await?;
        forget_files(self, session).await?;
        Ok(changed.rows_affected() == 1)
    }

    /// Decides that the local copy goes: false when a hold is on it, or it does not lie here any more.
    pub async fn let_local_go(&mut self, session: &SessionRow) -> Result<bool, StoreError> {
        if self.is_held(session).await? {
            return Ok(false);
        }
        let changed = sqlx::query("UPDATE archive SET here = 2, attempts = 0 WHERE session = $1 AND here = 1 AND state = 'archived'")
            .bind(session.id.as_str())
            .execute(self.connection())
            .await?;
        Ok(changed.rows_affected() == 1)
    }

    /// Decides that the recording is deleted: false when a hold is on it, or that is decided already.
    pub async fn let_recording_go(
        &mut self,
        session: &SessionRow,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.is_held(session).await? {
            return Ok(false);
        }
        let changed = sqlx::query(
            "UPDATE archive SET state = 'deleting', attempts = 0, due = $2, problem = NULL \
             WHERE session = $1 AND state NOT IN ('deleting', 'deleted') AND delete_after <= $2",
        )
        .bind(session.id.as_str())
        .bind(millis(TABLE, "now", now)?)
        .execute(self.connection())
        .await?;
        Ok(changed.rows_affected() == 1)
    }
}

async fn forget_files(tx: &mut Tx, session: &SessionId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM archive_file WHERE session = $1")
        .bind(session.as_str())
        .execute(tx.connection())
        .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<ArchiveRow, StoreError> {
    let columns = Columns { table: TABLE, row };
    Ok(ArchiveRow {
        session: columns.parsed("session")?,
        node: columns.text("node")?,
        state: columns.word("state", STATES)?,
        here: match columns.whole("here")? {
            0 => Here::No,
            1 => Here::Yes,
            // What is not known is not removed a second time, and not read either.
            _ => Here::Going,
        },
        attempts: columns.whole("attempts")?,
        due: columns.time("due")?,
        problem: columns.text_opt("problem")?,
        stored_bytes: columns.whole_opt("stored_bytes")?,
        index_sha256: columns.text_opt("index_sha256")?,
        taken_up: columns.time("taken_up")?,
        confirmed: columns.time_opt("confirmed")?,
        delete_after: columns.time_opt("delete_after")?,
        removed: columns.time_opt("removed")?,
        deleted: columns.time_opt("deleted")?,
    })
}
