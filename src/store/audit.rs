//! Audit entries.

use sqlx::Row as _;

use super::{AuditRow, Store, StoreError, Tx, at, bad, big, count, time};
use crate::audit::AuditEvent;
use crate::time::Timestamp;

impl Tx {
    /// Numbers are given out by one row that stays locked until commit.
    pub(super) async fn insert_audit(
        &mut self,
        now: Timestamp,
        event: &AuditEvent,
    ) -> Result<(), StoreError> {
        let head = sqlx::query("UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq")
            .fetch_optional(&mut *self.inner)
            .await?
            .ok_or_else(|| bad("audit_head", "its only row is missing"))?;
        let seq: i64 = head.try_get(0)?;
        sqlx::query("INSERT INTO audit (seq, at, kind, json) VALUES ($1, $2, $3, $4)")
            .bind(seq)
            .bind(at(now))
            .bind(event.kind())
            .bind(event.fields().to_string())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

impl Store {
    /// Audit entries with `seq > after`, oldest first, at most `limit`.
    pub async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query("SELECT seq, at, kind, json FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(big(after))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(AuditRow {
                    seq: count("audit", row.try_get(0)?)?,
                    at: time("audit", row.try_get(1)?)?,
                    kind: row.try_get(2)?,
                    json: row.try_get(3)?,
                })
            })
            .collect()
    }
}
