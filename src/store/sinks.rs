//! Rows of `audit_sink`: up to which entry each copy of the audit log has it, and which node writes there now. What goes
//! there, and whether it got there, is not decided here. Moving a copy on changes nothing anybody may do and is not audited.

use sqlx::any::AnyRow;

use super::column::{Columns, bad, millis, text, whole};
use super::{Store, StoreError};
use crate::time::Timestamp;

const TABLE: &str = "audit_sink";

/// How far a copy of the log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkPlace {
    /// Behind which entry it began.
    pub started: u64,
    /// The last entry that it has.
    pub seq: u64,
    /// When it last got something, or was first seen.
    pub acknowledged: Timestamp,
}

impl Store {
    /// Takes (or keeps) a sink until `until`; none while another node has it. One that was never there begins at the first
    /// entry, or with `from_beginning` false behind the last one of now.
    pub async fn hold_sink(
        &self,
        name: &str,
        node: &str,
        (now, until): (Timestamp, Timestamp),
        from_beginning: bool,
    ) -> Result<Option<SinkPlace>, StoreError> {
        // Nobody writes only to learn that another node is at it.
        let leased = sqlx::query("SELECT leased_by, leased_until FROM audit_sink WHERE name = $1")
            .bind(text(TABLE, "name", name)?)
            .fetch_optional(&self.pool)
            .await?;
        if let Some(row) = &leased {
            let columns = Columns { table: TABLE, row };
            let is_ours = columns.text_opt("leased_by")?.as_deref() == Some(node);
            if !is_ours && columns.time("leased_until")? > now {
                return Ok(None);
            }
        }
        let (at, until) = (millis(TABLE, "now", now)?, millis(TABLE, "leased_until", until)?);
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO audit_sink (name, started, seq, acknowledged, leased_by, leased_until) \
             SELECT $1, CASE WHEN $2 = 1 THEN 0 ELSE seq END, CASE WHEN $2 = 1 THEN 0 ELSE seq END, $3, NULL, 0 FROM audit_head WHERE one = 1 \
             ON CONFLICT DO NOTHING",
        )
        .bind(text(TABLE, "name", name)?)
        .bind(i64::from(from_beginning))
        .bind(at)
        .execute(tx.connection())
        .await?;
        let held = sqlx::query(
            "UPDATE audit_sink SET leased_by = $2, leased_until = $4 WHERE name = $1 AND \
             (leased_by = $2 OR leased_until <= $3) RETURNING started, seq, acknowledged",
        )
        .bind(name)
        .bind(text(TABLE, "leased_by", node)?)
        .bind(at)
        .bind(until)
        .fetch_optional(tx.connection())
        .await?;
        let place = held.as_ref().map(read);
        tx.commit_unaudited().await?;
        place.transpose()
    }

    /// The copy has the log up to `seq` now; false when the node has lost the sink to another.
    pub async fn move_sink(
        &self,
        name: &str,
        node: &str,
        seq: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let moved = sqlx::query(
            "UPDATE audit_sink SET seq = $3, acknowledged = $4 WHERE name = $1 AND leased_by = $2",
        )
        .bind(name)
        .bind(node)
        .bind(whole(TABLE, "seq", seq)?)
        .bind(millis(TABLE, "acknowledged", now)?)
        .execute(tx.connection())
        .await?;
        tx.commit_unaudited().await?;
        Ok(moved.rows_affected() == 1)
    }

    /// Lets go of what `node` holds, so that another takes it at once.
    pub async fn release_sinks(&self, node: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE audit_sink SET leased_by = NULL, leased_until = 0 WHERE leased_by = $1")
            .bind(node)
            .execute(tx.connection())
            .await?;
        tx.commit_unaudited().await
    }

    /// Where a sink stands.
    pub async fn sink(&self, name: &str) -> Result<SinkPlace, StoreError> {
        let row = sqlx::query("SELECT started, seq, acknowledged FROM audit_sink WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?
            .ok_or_else(|| bad(TABLE, format_args!("there is no sink {name:?}")))?;
        read(&row)
    }
}

fn read(row: &AnyRow) -> Result<SinkPlace, StoreError> {
    let columns = Columns { table: TABLE, row };
    Ok(SinkPlace {
        started: columns.whole("started")?,
        seq: columns.whole("seq")?,
        acknowledged: columns.time("acknowledged")?,
    })
}
