//! The audit table: how an entry is numbered, and reading by number. What an entry says is `crate::audit`'s.
//!
//! Numbers come from the one row of `audit_head`, which each writer locks as its last act before COMMIT. So no entry
//! becomes visible before one with a smaller number, and a reader who asks for `seq > after` misses nothing. A hash
//! chain finds its place in the same row: whoever holds it knows the entry before its own.

use sqlx::AnyConnection;
use sqlx::Row as _;

use super::column::{Columns, bad, millis, whole};
use super::{Store, StoreError};
use crate::audit::AuditEvent;
use crate::time::Timestamp;

const TABLE: &str = "audit";

/// One audit entry as stored.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Sequence number, rising, from 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// `AuditEvent::kind()`.
    pub kind: String,
    /// `AuditEvent::fields()` as JSON text.
    pub json: String,
}

impl Store {
    /// Audit entries with `seq > after`, oldest first, at most `limit`.
    pub async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query("SELECT seq, at, kind, json FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let columns = Columns { table: TABLE, row };
                Ok(AuditRow {
                    seq: columns.whole("seq")?,
                    at: columns.time("at")?,
                    kind: columns.text("kind")?,
                    json: columns.text("json")?,
                })
            })
            .collect()
    }
}

/// Writes `event` under the next number. Must be the last statement before COMMIT: it takes the lock that orders
/// all writers.
pub(super) async fn append(
    connection: &mut AnyConnection,
    now: Timestamp,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    let head = sqlx::query("UPDATE audit_head SET seq = seq + 1 WHERE one = 1 RETURNING seq")
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| bad("audit_head", "its one row is missing; restore the database from a backup"))?;
    let seq: i64 = head.try_get("seq")?;
    let seq = whole(TABLE, "seq", u64::try_from(seq).map_err(|_| bad("audit_head", "seq is negative"))?)?;
    sqlx::query("INSERT INTO audit (seq, at, kind, json) VALUES ($1, $2, $3, $4)")
        .bind(seq)
        .bind(millis(TABLE, "at", now)?)
        .bind(event.kind())
        .bind(event.fields().to_string())
        .execute(&mut *connection)
        .await?;
    Ok(())
}
