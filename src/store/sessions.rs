//! Rows of `session`. Whether one may open is the policy's decision and why it closes the gateway's.

use sqlx::any::AnyRow;

use super::column::{Columns, bad, label, millis, text, text_opt, whole, word};
use super::{Store, StoreError, Tx, Whose};
use crate::ids::{GrantId, SessionId, SignInId};
use crate::time::Timestamp;

const TABLE: &str = "session";
/// Kinds of session.
const KINDS: &[&str] = &["shell", "exec", "sftp", "forward"];

/// A session row.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// The sign-in behind it.
    pub sign_in: SignInId,
    /// `provider:subject`.
    pub who: String,
    /// Display label.
    pub display: String,
    /// Target.
    pub target: String,
    /// Login.
    pub login: String,
    /// `shell`, `exec`, `sftp`, `forward`.
    pub kind: String,
    /// The command line of an exec, lossy UTF-8 (NUL is kept as U+FFFD too); empty otherwise.
    pub command: String,
    /// Client's address.
    pub from: String,
    /// Name of the bastion process that holds it.
    pub node: String,
    /// Path of the recording, relative to the recordings folder.
    pub recording: Option<String>,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// Why it was closed (see `AuditEvent::SessionClosed`).
    pub close_reason: Option<String>,
    /// Exit status.
    pub exit_status: Option<u32>,
    /// Bytes client to target.
    pub bytes_in: u64,
    /// Bytes target to client.
    pub bytes_out: u64,
    /// SHA-256 of the sealed recording.
    pub recording_sha256: Option<String>,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only those still open.
    pub open: bool,
    /// Only this target.
    pub target: Option<String>,
    /// Only this person (`provider:subject`).
    pub who: Option<String>,
    /// At most so many, newest first. Zero means none.
    pub limit: u32,
}

/// The start of every read: columns by name, so that a prepared statement outlives a column that a newer node adds.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, sign_in, who, display, target, login, kind, command, address, node, recording, opened, closed, \
             close_reason, exit_status, bytes_in, bytes_out, recording_sha256 FROM session ",
            $rest
        )
    };
}

pub(super) use select;

impl Store {
    /// One session.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// Sessions, newest first.
    pub async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        // Four whole texts rather than one that is put together: each can use its own index, and no SQL is built.
        let sql = match (&filter.target, &filter.who) {
            (None, None) => {
                select!("WHERE ($2 = 0 OR closed IS NULL) ORDER BY opened DESC, id DESC LIMIT $1")
            }
            (Some(_), None) => {
                select!(
                    "WHERE ($2 = 0 OR closed IS NULL) AND target = $3 \
                 ORDER BY opened DESC, id DESC LIMIT $1"
                )
            }
            (None, Some(_)) => {
                select!(
                    "WHERE ($2 = 0 OR closed IS NULL) AND who = $3 \
                 ORDER BY opened DESC, id DESC LIMIT $1"
                )
            }
            (Some(_), Some(_)) => {
                select!(
                    "WHERE ($2 = 0 OR closed IS NULL) AND target = $3 AND who = $4 \
                 ORDER BY opened DESC, id DESC LIMIT $1"
                )
            }
        };
        let mut query = sqlx::query(sql).bind(i64::from(filter.limit)).bind(i64::from(filter.open));
        for value in [&filter.target, &filter.who].into_iter().flatten() {
            query = query.bind(value);
        }
        query.fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// Sessions that were opened under a grant, newest first; with `open` only those that are open.
    pub async fn sessions_of_grant(
        &self,
        grant: &GrantId,
        open: bool,
        limit: u32,
    ) -> Result<Vec<SessionRow>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE id IN (SELECT session FROM session_grant WHERE grant_id = $1) AND ($2 = 0 OR closed IS NULL) \
             ORDER BY opened DESC, id DESC LIMIT $3"
        ))
        .bind(grant.as_str())
        .bind(i64::from(open))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Sessions that are open and hang on no grant, newest first.
    pub async fn sessions_without_grant(
        &self,
        whose: &Whose,
        target: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SessionRow>, StoreError> {
        let [who, issuer, subject] = whose.columns(TABLE)?;
        let rows = sqlx::query(select!(
            "WHERE closed IS NULL AND NOT EXISTS (SELECT 1 FROM session_grant g WHERE g.session = session.id) \
             AND (CAST($1 AS TEXT) IS NULL OR who = $1) \
             AND (CAST($2 AS TEXT) IS NULL \
             OR sign_in IN (SELECT s.id FROM sign_in s WHERE s.issuer = $2 \
             AND CASE WHEN s.run IS NULL THEN s.subject ELSE s.subject || ' ' || s.id END = $3)) \
             AND (CAST($4 AS TEXT) IS NULL OR target = $4) \
             ORDER BY opened DESC, id DESC LIMIT $5"
        ))
        .bind(who)
        .bind(issuer)
        .bind(subject)
        .bind(target.map(str::to_owned))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Sessions of `node` that are still open, oldest first (after a crash: to be sealed as interrupted).
    pub async fn open_sessions_of(&self, node: &str) -> Result<Vec<SessionRow>, StoreError> {
        let rows = sqlx::query(select!("WHERE node = $1 AND closed IS NULL ORDER BY opened, id"))
            .bind(node)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }
}

impl Tx {
    /// A session. `Conflict` when the id exists.
    pub async fn insert_session(&mut self, row: &SessionRow) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO session (id, sign_in, who, display, target, login, kind, command, address, node, recording, \
             opened, closed, close_reason, exit_status, bytes_in, bytes_out, recording_sha256) VALUES \
             ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
             ON CONFLICT DO NOTHING",
        )
        .bind(row.id.as_str())
        .bind(row.sign_in.as_str())
        .bind(text(TABLE, "who", &row.who)?)
        .bind(&*label(&row.display))
        .bind(text(TABLE, "target", &row.target)?)
        .bind(text(TABLE, "login", &row.login)?)
        .bind(word(TABLE, "kind", &row.kind, KINDS)?)
        .bind(&*label(&row.command))
        .bind(text(TABLE, "address", &row.from)?)
        .bind(text(TABLE, "node", &row.node)?)
        .bind(text_opt(TABLE, "recording", row.recording.as_deref())?)
        .bind(millis(TABLE, "opened", row.opened)?)
        .bind(row.closed.map(|at| millis(TABLE, "closed", at)).transpose()?)
        .bind(text_opt(TABLE, "close_reason", row.close_reason.as_deref())?)
        .bind(row.exit_status.map(i64::from))
        .bind(whole(TABLE, "bytes_in", row.bytes_in)?)
        .bind(whole(TABLE, "bytes_out", row.bytes_out)?)
        .bind(text_opt(TABLE, "recording_sha256", row.recording_sha256.as_deref())?)
        .execute(self.connection())
        .await?;
        super::inserted(&written)
    }

    /// Closes a session: `closed`, `close_reason`, `exit_status`, byte counts and digest of `row`; false when it was
    /// closed already (or never opened). `BadRow` when `row` does not say when and why it was closed.
    pub async fn close_session(&mut self, row: &SessionRow) -> Result<bool, StoreError> {
        let (Some(closed), Some(reason)) = (row.closed, row.close_reason.as_deref()) else {
            return Err(bad(TABLE, "closing needs `closed` and `close_reason`"));
        };
        let changed = sqlx::query(
            "UPDATE session SET closed = $2, close_reason = $3, exit_status = $4, bytes_in = $5, bytes_out = $6, \
             recording_sha256 = $7 WHERE id = $1 AND closed IS NULL",
        )
        .bind(row.id.as_str())
        .bind(millis(TABLE, "closed", closed)?)
        .bind(text(TABLE, "close_reason", reason)?)
        .bind(row.exit_status.map(i64::from))
        .bind(whole(TABLE, "bytes_in", row.bytes_in)?)
        .bind(whole(TABLE, "bytes_out", row.bytes_out)?)
        .bind(text_opt(TABLE, "recording_sha256", row.recording_sha256.as_deref())?)
        .execute(self.connection())
        .await?;
        if changed.rows_affected() != 1 {
            return Ok(false);
        }
        self.insert_transcript(&row.id, closed).await?;
        Ok(true)
    }
}

pub(super) fn read(row: &AnyRow) -> Result<SessionRow, StoreError> {
    let columns = Columns { table: TABLE, row };
    let exit_status = columns
        .whole_opt("exit_status")?
        .map(|status| u32::try_from(status).map_err(|_| bad(TABLE, "exit_status does not fit 32 bits")))
        .transpose()?;
    Ok(SessionRow {
        id: columns.parsed("id")?,
        sign_in: columns.parsed("sign_in")?,
        who: columns.text("who")?,
        display: columns.text("display")?,
        target: columns.text("target")?,
        login: columns.text("login")?,
        kind: columns.word("kind", KINDS)?,
        command: columns.text("command")?,
        from: columns.text("address")?,
        node: columns.text("node")?,
        recording: columns.text_opt("recording")?,
        opened: columns.time("opened")?,
        closed: columns.time_opt("closed")?,
        close_reason: columns.text_opt("close_reason")?,
        exit_status,
        bytes_in: columns.whole("bytes_in")?,
        bytes_out: columns.whole("bytes_out")?,
        recording_sha256: columns.text_opt("recording_sha256")?,
    })
}
