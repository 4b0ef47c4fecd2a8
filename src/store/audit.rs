//! The audit table: how an entry is numbered, and reading by number. What an entry says is `crate::audit`'s.
//!
//! Numbers come from the one row of `audit_head`, which each writer locks as its last act before COMMIT. So no entry
//! becomes visible before one with a smaller number, and a reader who asks for `seq > after` misses nothing. A hash
//! chain finds its place in the same row: whoever holds it knows the entry before its own.

use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

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

/// Entries of some kinds, and how far the log was looked through for them.
#[derive(Clone, Debug)]
pub struct AuditLook {
    /// The entries.
    pub rows: Vec<AuditRow>,
    /// The last number that was looked at.
    pub seen: u64,
    /// There is more behind it.
    pub more: bool,
}

impl Store {
    /// The number of the last audit entry.
    pub async fn audit_end(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT seq FROM audit_head WHERE one = 1").fetch_one(&self.watchers).await?;
        Columns { table: "audit_head", row: &row }.whole("seq")
    }

    /// Audit entries of these kinds with `seq > after`, oldest first, at most `limit`.
    pub async fn audit_of_kinds(
        &self,
        after: u64,
        kinds: &[&str],
        limit: u32,
    ) -> Result<AuditLook, StoreError> {
        // Read first: what comes in meanwhile is for the next look.
        let end = self.audit_end().await?;
        if end <= after {
            return Ok(AuditLook { rows: Vec::new(), seen: after, more: false });
        }
        let names = (0..kinds.len()).map(|n| format!("${}", n + 4)).collect::<Vec<_>>().join(", ");
        let text = format!(
            "SELECT seq, at, kind, json FROM audit WHERE seq > $1 AND seq <= $2 AND kind IN ({names}) ORDER BY seq LIMIT $3"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(whole(TABLE, "seq", end)?)
            .bind(i64::from(limit));
        for kind in kinds {
            query = query.bind((*kind).to_owned());
        }
        let rows = query.fetch_all(&self.watchers).await?;
        let rows: Vec<AuditRow> = rows.iter().map(read).collect::<Result<_, _>>()?;
        let more = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let seen = rows.last().filter(|_| more).map_or(end, |last| last.seq);
        Ok(AuditLook { rows, seen, more })
    }

    /// The newest entries by which providers ended sign-ins, and those of logouts that they sent; at most `limit`.
    pub async fn audit_of_providers(&self, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        // Quotes inside of JSON strings have a backslash before them, so no reason can look like that field.
        let rows = sqlx::query(
            "SELECT seq, at, kind, json FROM audit WHERE kind IN ('sign_in_ended', 'provider_logged_out') \
             AND (kind = 'provider_logged_out' OR json LIKE '%\"by\":\"provider\"%') ORDER BY seq DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Audit entries with `seq > after`, oldest first, at most `limit`.
    pub async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query("SELECT seq, at, kind, json FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }
}

pub(super) fn read(row: &AnyRow) -> Result<AuditRow, StoreError> {
    let columns = Columns { table: TABLE, row };
    Ok(AuditRow {
        seq: columns.whole("seq")?,
        at: columns.time("at")?,
        kind: columns.text("kind")?,
        json: columns.text("json")?,
    })
}

/// An entry that has no number yet.
#[derive(Debug)]
pub(super) struct Entry {
    at: i64,
    kind: &'static str,
    json: String,
}

impl Entry {
    /// What is written of `event`.
    pub(super) fn of(now: Timestamp, event: &AuditEvent) -> Result<Self, StoreError> {
        Ok(Self { at: millis(TABLE, "at", now)?, kind: event.kind(), json: event.fields().to_string() })
    }
}

/// Writes `entry` under the next number (PostgreSQL). Entries must be the last that is written before COMMIT: this takes the
/// lock that orders all writers.
pub(super) async fn append(connection: &mut AnyConnection, entry: Entry) -> Result<(), StoreError> {
    let head = sqlx::query("UPDATE audit_head SET seq = seq + 1 WHERE one = 1 RETURNING seq")
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| bad("audit_head", "its one row is missing; restore the database from a backup"))?;
    let seq: i64 = head.try_get("seq")?;
    sqlx::query("INSERT INTO audit (seq, at, kind, json) VALUES ($1, $2, $3, $4)")
        .bind(seq)
        .bind(entry.at)
        .bind(entry.kind)
        .bind(entry.json)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// The same for SQLite, which runs several statements in one go, with `$end` after them. Without its head the entry has no
/// number, which the table refuses: `$end` is not reached then.
///
/// On a full disk SQLite may have taken back the whole transaction, savepoint and all; what is written after that is
/// committed at once, statement by statement. So an entry is written in a savepoint of its own, which begins a transaction
/// if there is none, and ends with the member's: that one is missing then, and nothing is committed.
macro_rules! append_and {
    ($end:literal) => {
        concat!(
            "SAVEPOINT entry; UPDATE audit_head SET seq = seq + 1 WHERE one = 1; \
             INSERT INTO audit (seq, at, kind, json) \
             VALUES ((SELECT seq FROM audit_head WHERE one = 1), $1, $2, $3)",
            $end
        )
    };
}

/// Writes `entry` under the next number, and more entries will come (SQLite).
pub(super) const APPEND: &str = append_and!("");
/// Writes `entry` under the next number, and hands the batch on (SQLite).
pub(super) const APPEND_AND_HAND_ON: &str = append_and!("; RELEASE member; SAVEPOINT member");

/// Runs one of these two.
pub(super) async fn append_with(
    connection: &mut AnyConnection,
    statement: &'static str,
    entry: Entry,
) -> Result<(), sqlx::Error> {
    sqlx::query(statement)
        .bind(entry.at)
        .bind(entry.kind)
        .bind(entry.json)
        .execute(connection)
        .await
        .map(|_| ())
}
