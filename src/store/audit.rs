//! The audit table: how an entry is numbered, and reading by number. What an entry says is `crate::audit`'s.
//!
//! Numbers come from the one row of `audit_head`, which each writer locks as its last act before COMMIT. So no entry
//! becomes visible before one with a smaller number, and a reader who asks for `seq > after` misses nothing. The hash
//! chain (`audit::chain`) has its end in the same row: whoever holds it knows the entry before its own. All nodes that share a
//! store write one chain.

use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::column::{Columns, bad, millis, whole};
use super::{Store, StoreError};
use crate::audit::AuditEvent;
use crate::audit::chain::{self, Head, Link};
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
    /// Its place in the chain (`audit::chain`); none for what is older than that.
    pub hash: Option<String>,
}

impl AuditRow {
    /// As the chain sees it.
    pub fn link(&self) -> Link<'_> {
        Link { seq: self.seq, at: self.at.as_millis(), kind: &self.kind, json: &self.json }
    }
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

/// Where the audit log ends, and where its chain begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// The last entry.
    pub head: Head,
    /// The last entry from before the chain; 0 when all have a hash.
    pub unhashed: u64,
}

impl Store {
    /// Where the log ends, and where its chain begins.
    pub async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        let row = sqlx::query("SELECT seq, hash, unhashed FROM audit_head WHERE one = 1")
            .fetch_one(&self.watchers)
            .await?;
        let columns = Columns { table: "audit_head", row: &row };
        let hash = columns.text_opt("hash")?.unwrap_or_default();
        let head = Head { seq: columns.whole("seq")?, hash };
        Ok(AuditHead { head, unhashed: columns.whole("unhashed")? })
    }

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
            "SELECT seq, at, kind, json, hash FROM audit WHERE seq > $1 AND seq <= $2 AND kind IN ({names}) ORDER BY seq LIMIT $3"
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
            "SELECT seq, at, kind, json, hash FROM audit WHERE kind IN ('sign_in_ended', 'provider_logged_out') \
             AND (kind = 'provider_logged_out' OR json LIKE '%\"by\":\"provider\"%') ORDER BY seq DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Checkpoints of `node`, newest first, at most `limit`; only those before the entry `before`, if that is given.
    pub async fn audit_checkpoints_of(
        &self,
        node: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, kind, json, hash FROM audit WHERE kind = 'checkpoint' AND seq < $1 AND json LIKE $2 \
             ORDER BY seq DESC LIMIT $3",
        )
        .bind(before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX))
        .bind(format!("%\"node\":{}%", serde_json::Value::from(node)))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Entries in which one of these ids stands as a text of its own, oldest first, at most `limit`. Reads the whole log.
    pub async fn audit_that_name(&self, ids: &[&str], limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let each = (0..ids.len()).map(|n| format!("json LIKE ${}", n + 2)).collect::<Vec<_>>().join(" OR ");
        let text = format!("SELECT seq, at, kind, json, hash FROM audit WHERE {each} ORDER BY seq LIMIT $1");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(i64::from(limit));
        for id in ids {
            query = query.bind(format!("%\"{id}\"%"));
        }
        query.fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// Audit entries with `seq > after`, oldest first, at most `limit`.
    pub async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows =
            sqlx::query("SELECT seq, at, kind, json, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
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
        hash: columns.text_opt("hash")?,
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

/// `chain::hash`, as PostgreSQL computes it, of the entry in `$1` to `$3` behind the head that is updated.
const APPEND_TO_CHAIN: &str = "WITH head AS (UPDATE audit_head SET seq = seq + 1, hash = encode(sha256(convert_to(\
     COALESCE(hash, '') || chr(10) || CAST(seq + 1 AS TEXT) || chr(10) || CAST(CAST($1 AS BIGINT) AS TEXT) || chr(10) || \
     CAST($2 AS TEXT) || chr(10) || CAST($3 AS TEXT) || chr(10), 'UTF8')), 'hex') \
     WHERE one = 1 RETURNING seq, hash) \
     INSERT INTO audit (seq, at, kind, json, hash) SELECT seq, $1, $2, $3, hash FROM head";

/// Writes `entry` under the next number (PostgreSQL). Entries must be the last that is written before COMMIT: this takes the
/// lock that orders all writers. The database computes the hash, so that nobody waits for us while we hold it.
pub(super) async fn append(connection: &mut AnyConnection, entry: Entry) -> Result<(), StoreError> {
    let written = sqlx::query(APPEND_TO_CHAIN)
        .bind(entry.at)
        .bind(entry.kind)
        .bind(entry.json)
        .execute(&mut *connection)
        .await?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(no_head()) }
}

fn no_head() -> StoreError {
    bad("audit_head", "its one row is missing; restore the database from a backup")
}

/// Begins a batch (SQLite), with the end of the chain.
pub(super) const BEGIN: &str =
    "BEGIN IMMEDIATE; SAVEPOINT member; SELECT seq, hash FROM audit_head WHERE one = 1";

/// The end of the chain as [`BEGIN`] found it; none when its row is missing.
pub(super) fn head_of(row: Option<&AnyRow>) -> Result<Option<Head>, sqlx::Error> {
    let Some(row) = row else { return Ok(None) };
    let seq: i64 = row.try_get("seq")?;
    let hash: Option<String> = row.try_get("hash")?;
    Ok(Some(Head { seq: u64::try_from(seq).unwrap_or_default(), hash: hash.unwrap_or_default() }))
}

/// What writes an entry (SQLite, which runs several statements in one go), with `$end` after it. When the head is not what
/// it is taken for the entry has no number, which the table refuses: `$end` is not reached then, and the chain never forks.
///
/// On a full disk SQLite may have taken back the whole transaction, savepoint and all; what is written after that is
/// committed at once, statement by statement. So an entry is written in a savepoint of its own, which begins a transaction
/// if there is none, and ends with the member's: that one is missing then, and nothing is committed.
macro_rules! append_and {
    ($end:literal) => {
        concat!(
            "SAVEPOINT entry; UPDATE audit_head SET seq = $4, hash = $5 WHERE one = 1 AND seq = $4 - 1; \
             INSERT INTO audit (seq, at, kind, json, hash) \
             VALUES ((SELECT seq FROM audit_head WHERE one = 1 AND seq = $4 AND hash = $5), $1, $2, $3, $5)",
            $end
        )
    };
}

/// Writes `entry` under the next number, and more entries will come (SQLite).
pub(super) const APPEND: &str = append_and!("");
/// Writes `entry` under the next number, and hands the batch on (SQLite).
pub(super) const APPEND_AND_HAND_ON: &str = append_and!("; RELEASE member; SAVEPOINT member");

/// Runs one of these two behind `head`, and says where the chain ends then.
pub(super) async fn append_with(
    connection: &mut AnyConnection,
    statement: &'static str,
    head: &Head,
    entry: Entry,
) -> Result<Head, sqlx::Error> {
    let seq = head.seq.saturating_add(1);
    let at = u64::try_from(entry.at).unwrap_or_default();
    let hash = chain::hash(&head.hash, Link { seq, at, kind: entry.kind, json: &entry.json });
    sqlx::query(statement)
        .bind(entry.at)
        .bind(entry.kind)
        .bind(entry.json)
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .bind(hash.clone())
        .execute(connection)
        .await?;
    Ok(Head { seq, hash })
}
