//! Sessions and certificates.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{CertificateRow, SessionFilter, SessionRow, Store, StoreError, Tx, at, bad, big, count, time};
use crate::ids::SessionId;

const TABLE: &str = "session";

/// A query of sessions: the columns in the order [`session`] reads them.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, sign_in, who, display, target, login, kind, command, from_address, node, recording, ",
            "opened, closed, close_reason, exit_status, bytes_in, bytes_out, recording_sha256 FROM session ",
            $rest
        )
    };
}

fn session(row: &AnyRow) -> Result<SessionRow, StoreError> {
    let text = |index: usize| row.try_get::<String, _>(index);
    let exit_status: Option<i64> = row.try_get(14)?;
    Ok(SessionRow {
        id: text(0)?.parse().map_err(|e| bad(TABLE, e))?,
        sign_in: text(1)?.parse().map_err(|e| bad(TABLE, e))?,
        who: text(2)?,
        display: text(3)?,
        target: text(4)?,
        login: text(5)?,
        kind: text(6)?,
        command: text(7)?,
        from: text(8)?,
        node: text(9)?,
        recording: row.try_get(10)?,
        opened: time(TABLE, row.try_get(11)?)?,
        closed: row.try_get::<Option<i64>, _>(12)?.map(|millis| time(TABLE, millis)).transpose()?,
        close_reason: row.try_get(13)?,
        exit_status: exit_status.map(u32::try_from).transpose().map_err(|e| bad(TABLE, e))?,
        bytes_in: count(TABLE, row.try_get(15)?)?,
        bytes_out: count(TABLE, row.try_get(16)?)?,
        recording_sha256: row.try_get(17)?,
    })
}

impl Store {
    /// One session.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(session).transpose()
    }

    /// Sessions, newest first.
    pub async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE ($1 = '' OR target = $1) AND ($2 = '' OR who = $2) AND ($3 = 0 OR closed IS NULL) \
             ORDER BY opened DESC, id DESC LIMIT $4"
        ))
        .bind(filter.target.as_deref().unwrap_or_default())
        .bind(filter.who.as_deref().unwrap_or_default())
        .bind(i64::from(filter.open))
        .bind(i64::from(filter.limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(session).collect()
    }

    /// Sessions of `node` that are still open (after a crash: to be sealed as interrupted).
    pub async fn open_sessions_of(&self, node: &str) -> Result<Vec<SessionRow>, StoreError> {
        let query = sqlx::query(select!("WHERE node = $1 AND closed IS NULL ORDER BY opened, id"));
        query.bind(node).fetch_all(&self.pool).await?.iter().map(session).collect()
    }
}

impl Tx {
    /// A session.
    pub async fn insert_session(&mut self, row: &SessionRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO session (id, sign_in, who, display, target, login, kind, command, from_address, node, \
             recording, opened, bytes_in, bytes_out) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0)",
        )
        .bind(row.id.as_str())
        .bind(row.sign_in.as_str())
        .bind(&row.who)
        .bind(&row.display)
        .bind(&row.target)
        .bind(&row.login)
        .bind(&row.kind)
        .bind(row.command.replace('\0', "\u{fffd}"))
        .bind(&row.from)
        .bind(&row.node)
        .bind(row.recording.as_deref())
        .bind(at(row.opened))
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Closes a session: `closed`, `close_reason`, `exit_status`, byte counts and digest of `row`; false when it was
    /// closed already.
    pub async fn close_session(&mut self, row: &SessionRow) -> Result<bool, StoreError> {
        let closed = row.closed.ok_or_else(|| bad(TABLE, "a session to be closed without a time"))?;
        let done = sqlx::query(
            "UPDATE session SET closed = $2, close_reason = $3, exit_status = $4, bytes_in = $5, bytes_out = $6, \
             recording_sha256 = $7 WHERE id = $1 AND closed IS NULL",
        )
        .bind(row.id.as_str())
        .bind(at(closed))
        .bind(row.close_reason.as_deref())
        .bind(row.exit_status.map(i64::from))
        .bind(big(row.bytes_in))
        .bind(big(row.bytes_out))
        .bind(row.recording_sha256.as_deref())
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A certificate, before it is signed.
    pub async fn insert_certificate(&mut self, row: &CertificateRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO certificate (serial, kind, sign_in, session, key_id, key_fingerprint, principals, \
             valid_after, valid_before) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(row.serial.to_string())
        .bind(row.kind)
        .bind(row.sign_in.as_str())
        .bind(row.session.as_ref().map(|id| id.as_str()))
        .bind(&row.key_id)
        .bind(&row.key_fingerprint)
        .bind(&row.principals)
        .bind(at(row.valid_after))
        .bind(at(row.valid_before))
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
