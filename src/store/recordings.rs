//! Rows of `recording_key`, and what the audit log says of the recording of one session. Whether a recording is what it was is judged
//! elsewhere.

use sqlx::any::AnyRow;

use super::audit::{self, AuditRow};
use super::column::{Columns, millis, text};
use super::{Store, StoreError, Tx};
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

    /// Entries of `kind` made between `from` and `until`, both included, oldest first.
    pub async fn audit_of_kind_between(
        &self,
        kind: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, kind, json, hash FROM audit WHERE kind = $1 AND at >= $2 AND at <= $3 ORDER BY seq",
        )
        .bind(text("audit", "kind", kind)?)
        .bind(millis("audit", "at", from)?)
        .bind(millis("audit", "at", until)?)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(audit::read).collect()
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
