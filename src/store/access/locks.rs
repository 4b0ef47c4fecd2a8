//! Rows of `access_lock`.

use std::sync::Arc;

use sqlx::any::AnyRow;

use crate::access::{Lock, LockOn};
use crate::ids::LockId;
use crate::store::column::{Columns, bad, label, millis, text};
use crate::store::{Store, StoreError, Tx};
use crate::time::Timestamp;

const TABLE: &str = "access_lock";

const HELD: &str = "SELECT id, kind, name, reason, set_by, created, until FROM access_lock \
                    WHERE lifted IS NULL AND (until IS NULL OR until > $1) ORDER BY created, id";

impl Store {
    /// The locks that hold, oldest first.
    pub async fn locks(&self, now: Timestamp) -> Result<Vec<Lock>, StoreError> {
        let locks = self.asked.locks.get(self.read_locks(now)).await?;
        // Perhaps asked by another, whose `now` was a moment earlier.
        Ok(locks.iter().filter(|lock| lock.until.is_none_or(|until| until > now)).cloned().collect())
    }

    async fn read_locks(&self, now: Timestamp) -> Result<Arc<[Lock]>, StoreError> {
        let rows = sqlx::query(HELD).bind(millis(TABLE, "now", now)?).fetch_all(&self.watchers).await?;
        rows.iter().map(read).collect()
    }
}

impl Tx {
    /// The same as this transaction sees it.
    pub async fn locks(&mut self, now: Timestamp) -> Result<Vec<Lock>, StoreError> {
        let rows = sqlx::query(HELD).bind(millis(TABLE, "now", now)?).fetch_all(self.connection()).await?;
        rows.iter().map(read).collect()
    }

    /// A new lock. `Conflict` when the id is there.
    pub async fn insert_lock(&mut self, lock: &Lock) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO access_lock (id, kind, name, reason, set_by, created, until, lifted, lifted_by) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, NULL) ON CONFLICT DO NOTHING",
        )
        .bind(lock.id.as_str())
        .bind(lock.on.kind())
        .bind(text(TABLE, "name", lock.on.name())?)
        .bind(&*label(&lock.reason))
        .bind(text(TABLE, "set_by", &lock.by)?)
        .bind(millis(TABLE, "created", lock.created)?)
        .bind(lock.until.map(|at| millis(TABLE, "until", at)).transpose()?)
        .execute(self.connection())
        .await?;
        crate::store::inserted(&written)
    }

    /// Lifts a lock and gives it as it was; none when it did not hold.
    pub async fn lift_lock(
        &mut self,
        id: &LockId,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<Lock>, StoreError> {
        let row = sqlx::query(
            "UPDATE access_lock SET lifted = $2, lifted_by = $3 \
             WHERE id = $1 AND lifted IS NULL AND (until IS NULL OR until > $2) \
             RETURNING id, kind, name, reason, set_by, created, until",
        )
        .bind(id.as_str())
        .bind(millis(TABLE, "lifted", now)?)
        .bind(text(TABLE, "lifted_by", by)?)
        .fetch_optional(self.connection())
        .await?;
        row.as_ref().map(read).transpose()
    }
}

fn read(row: &AnyRow) -> Result<Lock, StoreError> {
    let columns = Columns { table: TABLE, row };
    let kind = columns.word("kind", &["user", "target", "role"])?;
    let on = match kind.as_str() {
        "user" => LockOn::User(columns.text("name")?),
        "target" => LockOn::Target(columns.parsed("name")?),
        "role" => LockOn::Role(columns.parsed("name")?),
        other => return Err(bad(TABLE, format_args!("kind {other:?} is unknown"))),
    };
    Ok(Lock {
        id: columns.parsed("id")?,
        on,
        reason: columns.text("reason")?,
        by: columns.text("set_by")?,
        created: columns.time("created")?,
        until: columns.time_opt("until")?,
    })
}
