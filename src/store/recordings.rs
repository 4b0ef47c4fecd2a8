//! Rows of `recording_key`, and what the audit log says of the recording of one session. Whether a recording is what it was is judged
//! elsewhere.

use sqlx::any::AnyRow;

use super::audit::{self, AuditRow};
use super::column::{Columns, millis, text};
use super::{Store, StoreError, Tx};
use crate::ids::SessionId;
use crate::time::Timestamp;

const TABLE: &str = "recording_key";

/// A key that sealed recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingKeyRow {
    /// The node.
    pub node: String,
    /// Its public key, as OpenSSH writes it.
    pub key: String,
    /// When it was first used there.
    pub first_used: Timestamp,
}

impl Store {
    /// All keys that ever sealed recordings, oldest first.
    pub async fn recording_keys(&self) -> Result<Vec<RecordingKeyRow>, StoreError> {
        let rows =
            sqlx::query("SELECT node, public_key, first_used FROM recording_key ORDER BY first_used, node")
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(read).collect()
    }

    /// Entries of `kind` behind `after` and before `until` (both numbers, neither included; none: to the end), oldest first, at
    /// most `limit`.
    pub async fn audit_of_kind_before(
        &self,
        kind: &str,
        after: u64,
        until: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, kind, json, hash FROM audit WHERE kind = $1 AND seq > $2 AND seq < $3 ORDER BY seq LIMIT $4",
        )
        .bind(text("audit", "kind", kind)?)
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(until.and_then(|until| i64::try_from(until).ok()).unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(audit::read).collect()
    }

    /// The number of the first entry behind `after` that is younger than `at`; none when all are older.
    pub async fn audit_behind(&self, after: u64, at: Timestamp) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query("SELECT seq FROM audit WHERE seq > $1 AND at > $2 ORDER BY seq LIMIT 1")
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(millis("audit", "at", at)?)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| Columns { table: "audit", row: &row }.whole("seq")).transpose()
    }

    /// Entries of these kinds with this session as a text in them, oldest first. Reads the whole log.
    pub async fn audit_of_session(
        &self,
        session: &SessionId,
        kinds: &[&str],
    ) -> Result<Vec<AuditRow>, StoreError> {
        let names = (0..kinds.len()).map(|n| format!("${}", n + 2)).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT seq, at, kind, json, hash FROM audit WHERE json LIKE $1 AND kind IN ({names}) ORDER BY seq"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(format!("%\"{session}\"%"));
        for kind in kinds {
            query = query.bind((*kind).to_owned());
        }
        query.fetch_all(&self.pool).await?.iter().map(audit::read).collect()
    }
}

impl Tx {
    /// A key of a node; false when it is there already.
    pub async fn insert_recording_key(&mut self, row: &RecordingKeyRow) -> Result<bool, StoreError> {
        let written = sqlx::query(
            "INSERT INTO recording_key (node, public_key, first_used) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(text(TABLE, "node", &row.node)?)
        .bind(text(TABLE, "public_key", &row.key)?)
        .bind(millis(TABLE, "first_used", row.first_used)?)
        .execute(self.connection())
        .await?;
        Ok(written.rows_affected() == 1)
    }
}

fn read(row: &AnyRow) -> Result<RecordingKeyRow, StoreError> {
    let columns = Columns { table: TABLE, row };
    Ok(RecordingKeyRow {
        node: columns.text("node")?,
        key: columns.text("public_key")?,
        first_used: columns.time("first_used")?,
    })
}
