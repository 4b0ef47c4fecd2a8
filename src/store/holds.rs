//! Rows of `legal_hold`: recordings that nobody may delete.

use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;

use super::column::{Columns, bad, label, millis, text, word};
use super::sessions::SessionRow;
use super::{Store, StoreError, Tx};
use crate::ids::{HoldId, SessionId};
use crate::time::Timestamp;

const TABLE: &str = "legal_hold";

/// What a hold is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The recording of one session.
    Session(SessionId),
    /// Those of one person, by `provider:subject`, also of sessions to come.
    User(String),
    /// Those of sessions at one target, likewise.
    Target(String),
}

impl Held {
    /// Words of kinds.
    const KINDS: &'static [&'static str] = &["session", "user", "target"];

    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::User(_) => "user",
            Self::Target(_) => "target",
        }
    }

    /// Which.
    pub fn subject(&self) -> &str {
        match self {
            Self::Session(id) => id.as_str(),
            Self::User(name) | Self::Target(name) => name,
        }
    }
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRow {
    /// Its id.
    pub id: HoldId,
    /// What it is on.
    pub held: Held,
    /// Why.
    pub reason: String,
    /// Who set it.
    pub set_by: String,
    /// When.
    pub set_at: Timestamp,
    /// Who released it, and when.
    pub released: Option<(String, Timestamp)>,
}

impl Store {
    /// Holds, newest first; only those in force unless `all`.
    pub async fn holds(&self, all: bool) -> Result<Vec<HoldRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, kind, subject, reason, set_by, set_at, released_by, released_at FROM legal_hold \
             WHERE $1 = 1 OR released_at IS NULL ORDER BY set_at DESC, id DESC",
        )
        .bind(i64::from(all))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }
}

/// The recordings that a hold is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Those that stay.
    pub kept: u64,
    /// Those whose deletion was decided before.
    pub deleting: u64,
    /// Those that are gone.
    pub deleted: u64,
}

impl Tx {
    /// What a hold on this covers now; after [`Self::insert_hold`] nothing of it can change before the transaction ends, but
    /// for new sessions.
    pub async fn covered(&mut self, held: &Held) -> Result<Covered, StoreError> {
        let count = |column| {
            format!(
                "SELECT COUNT(*) AS n, COUNT(CASE WHEN a.state = 'deleting' THEN 1 END) AS deleting, \
                 COUNT(CASE WHEN a.state = 'deleted' THEN 1 END) AS deleted \
                 FROM session s LEFT JOIN archive a ON a.session = s.id \
                 WHERE s.recording IS NOT NULL AND s.{column} = $1"
            )
        };
        let sql = match held {
            Held::Session(_) => count("id"),
            Held::User(_) => count("who"),
            Held::Target(_) => count("target"),
        };
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(text(TABLE, "subject", held.subject())?)
            .fetch_one(self.connection())
            .await?;
        let columns = Columns { table: TABLE, row: &row };
        let (all, deleting, deleted): (u64, u64, u64) =
            (columns.whole("n")?, columns.whole("deleting")?, columns.whole("deleted")?);
        Ok(Covered { kept: all.saturating_sub(deleting + deleted), deleting, deleted })
    }

    /// Sets a hold. Deletions that are decided at the same time are decided before or after it.
    pub async fn insert_hold(&mut self, row: &HoldRow) -> Result<(), StoreError> {
        self.hold_gate().await?;
        let written = sqlx::query(
            "INSERT INTO legal_hold (id, kind, subject, reason, set_by, set_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT DO NOTHING",
        )
        .bind(row.id.as_str())
        .bind(word(TABLE, "kind", row.held.kind(), Held::KINDS)?)
        .bind(text(TABLE, "subject", row.held.subject())?)
        .bind(&*label(&row.reason))
        .bind(text(TABLE, "set_by", &row.set_by)?)
        .bind(millis(TABLE, "set_at", row.set_at)?)
        .execute(self.connection())
        .await?;
        super::inserted(&written)
    }

    /// Releases a hold; none when there is none of this id in force.
    pub async fn release_hold(
        &mut self,
        id: &HoldId,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<HoldRow>, StoreError> {
        let row = sqlx::query(
            "UPDATE legal_hold SET released_by = $2, released_at = $3 WHERE id = $1 AND released_at IS NULL \
             RETURNING id, kind, subject, reason, set_by, set_at, released_by, released_at",
        )
        .bind(id.as_str())
        .bind(text(TABLE, "released_by", by)?)
        .bind(millis(TABLE, "released_at", now)?)
        .fetch_optional(self.connection())
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Whether a hold is on the recording of this session. None can be set before this transaction ends.
    pub(super) async fn is_held(&mut self, session: &SessionRow) -> Result<bool, StoreError> {
        self.hold_gate().await?;
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM legal_hold WHERE released_at IS NULL AND ((kind = 'session' AND subject = $1) \
             OR (kind = 'user' AND subject = $2) OR (kind = 'target' AND subject = $3))",
        )
        .bind(session.id.as_str())
        .bind(&session.who)
        .bind(&session.target)
        .fetch_one(self.connection())
        .await?;
        Ok(Columns { table: TABLE, row: &row }.whole("n")? > 0)
    }

    async fn hold_gate(&mut self) -> Result<(), StoreError> {
        let locked =
            sqlx::query("UPDATE hold_gate SET n = n + 1 WHERE one = 1").execute(self.connection()).await?;
        if locked.rows_affected() == 1 {
            Ok(())
        } else {
            Err(bad("hold_gate", "its one row is missing; restore the database from a backup"))
        }
    }
}

fn read(row: &AnyRow) -> Result<HoldRow, StoreError> {
    let columns = Columns { table: TABLE, row };
    let held = match columns.word("kind", Held::KINDS)?.as_str() {
        "session" => Held::Session(columns.parsed("subject")?),
        "user" => Held::User(columns.text("subject")?),
        _ => Held::Target(columns.text("subject")?),
    };
    Ok(HoldRow {
        id: columns.parsed("id")?,
        held,
        reason: columns.text("reason")?,
        set_by: columns.text("set_by")?,
        set_at: columns.time("set_at")?,
        released: columns.text_opt("released_by")?.zip(columns.time_opt("released_at")?),
    })
}
