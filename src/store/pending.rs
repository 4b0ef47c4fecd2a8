//! Rows of `pending_sign_in`: sign-ins that have begun. Which step may follow which is decided in `flow::sign_in`;
//! here a step only happens if the row still stands where the flow saw it.

use std::net::{IpAddr, Ipv6Addr};

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::column::{Columns, bad, millis, text, text_opt, word};
use super::sign_ins::METHODS;
use super::{Store, StoreError, Tx};
use crate::ids::PendingId;
use crate::time::Timestamp;

const TABLE: &str = "pending_sign_in";

/// A sign-in that has begun: the state machine lives in `flow::sign_in`, this is its row. `state` is a short word
/// (`begun`, `at-provider`, `identified`, `confirmed`, `done`, `denied`); `json` holds what that state needs.
#[derive(Clone, Debug)]
pub struct PendingSignIn {
    /// Its id.
    pub id: PendingId,
    /// `loopback`, `device` or `ssh`.
    pub mode: String,
    /// State word. Only the flow knows its words; it must refuse those it does not know.
    pub state: String,
    /// SHA-256 (hex) of the OAuth `state` parameter, once sent to a provider. Unique.
    pub oauth_state_hash: Option<String>,
    /// SHA-256 (hex) of the user code, in device and ssh mode. Unique while pending.
    pub user_code_hash: Option<String>,
    /// The rest, as JSON.
    pub json: String,
    /// The network it was begun from, as `place::area` says.
    pub area: IpAddr,
    /// The wider one, as `place::wide_area` says.
    pub wide_area: IpAddr,
    /// When it began.
    pub created: Timestamp,
    /// When it is void.
    pub expires: Timestamp,
}

/// How many pending sign-ins are not void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingCounts {
    /// In all.
    pub all: u64,
    /// Of one area.
    pub area: u64,
    /// Of one wider area.
    pub wide_area: u64,
}

/// The start of every read: columns by name, so that a prepared statement outlives a column that a newer node adds.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, mode, state, oauth_state_hash, user_code_hash, json, area, wide_area, created, expires \
             FROM pending_sign_in ",
            $rest
        )
    };
}

impl Store {
    /// A pending sign-in by id, if not void.
    pub async fn pending(&self, id: &PendingId, now: Timestamp) -> Result<Option<PendingSignIn>, StoreError> {
        self.one_pending(select!("WHERE id = $1 AND expires > $2"), id.as_str(), now).await
    }

    /// By the hash of its OAuth state.
    pub async fn pending_by_oauth_state(
        &self,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<PendingSignIn>, StoreError> {
        let sql = select!("WHERE oauth_state_hash = $1 AND expires > $2");
        self.one_pending(sql, hash, now).await
    }

    /// By the hash of its user code.
    pub async fn pending_by_user_code(
        &self,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<PendingSignIn>, StoreError> {
        let sql = select!("WHERE user_code_hash = $1 AND expires > $2");
        self.one_pending(sql, hash, now).await
    }

    /// Inserts a pending sign-in; begins are not audited (anybody can cause them), their ends are. `Conflict` when its
    /// id, OAuth state or user code is taken: draw again.
    pub async fn insert_pending(&self, row: &PendingSignIn) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let written = sqlx::query(
            "INSERT INTO pending_sign_in (id, mode, state, oauth_state_hash, user_code_hash, json, created, expires, \
             area, wide_area) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        )
        .bind(row.id.as_str())
        .bind(word(TABLE, "mode", &row.mode, METHODS)?)
        .bind(text(TABLE, "state", &row.state)?)
        .bind(text_opt(TABLE, "oauth_state_hash", row.oauth_state_hash.as_deref())?)
        .bind(text_opt(TABLE, "user_code_hash", row.user_code_hash.as_deref())?)
        .bind(text(TABLE, "json", &row.json)?)
        .bind(millis(TABLE, "created", row.created)?)
        .bind(millis(TABLE, "expires", row.expires)?)
        .bind(row.area.to_string())
        .bind(row.wide_area.to_string())
        .execute(tx.connection())
        .await?;
        super::inserted(&written)?;
        tx.commit_unaudited().await
    }

    /// Moves a pending sign-in from state `from` to `row.state`, atomically; false when it was not in `from` any more.
    /// Writes all of `row` but its id, mode, areas and `created`. `Conflict` when its new OAuth state or user code is taken.
    pub async fn step_pending(&self, from: &str, row: &PendingSignIn) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let moved = step(tx.connection(), from, row).await?;
        tx.commit_unaudited().await?;
        Ok(moved)
    }

    /// Number of pending sign-ins that are not void (caps stand on them): in all, and of these areas.
    pub async fn pending_counts(
        &self,
        area: IpAddr,
        wide_area: IpAddr,
        now: Timestamp,
    ) -> Result<PendingCounts, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n, COUNT(CASE WHEN area = $2 THEN 1 END) AS of_area, \
             COUNT(CASE WHEN wide_area = $3 THEN 1 END) AS of_wide_area FROM pending_sign_in WHERE expires > $1",
        )
        .bind(millis(TABLE, "now", now)?)
        .bind(area.to_string())
        .bind(wide_area.to_string())
        .fetch_one(&self.pool)
        .await?;
        let columns = Columns { table: TABLE, row: &row };
        Ok(PendingCounts {
            all: columns.whole("n")?,
            area: columns.whole("of_area")?,
            wide_area: columns.whole("of_wide_area")?,
        })
    }

    /// Pending sign-ins that are void and were in one of these states, at most `limit`.
    pub async fn void_pending(
        &self,
        states: &[&str],
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<PendingSignIn>, StoreError> {
        let mut void = Vec::new();
        for state in states {
            let rows = sqlx::query(select!("WHERE expires <= $1 AND state = $2 ORDER BY expires LIMIT $3"))
                .bind(millis(TABLE, "now", now)?)
                .bind(*state)
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await?;
            for row in &rows {
                void.push(read(row)?);
            }
        }
        Ok(void)
    }

    async fn one_pending(
        &self,
        sql: &'static str,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<PendingSignIn>, StoreError> {
        let row =
            sqlx::query(sql).bind(key).bind(millis(TABLE, "now", now)?).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }
}

impl Tx {
    /// Moves a pending sign-in as `Store::step_pending`, inside this transaction.
    pub async fn step_pending(&mut self, from: &str, row: &PendingSignIn) -> Result<bool, StoreError> {
        step(self.connection(), from, row).await
    }

    /// Deletes a pending sign-in that is void; false when there is none.
    pub async fn delete_void_pending(&mut self, id: &PendingId, now: Timestamp) -> Result<bool, StoreError> {
        let gone = sqlx::query("DELETE FROM pending_sign_in WHERE id = $1 AND expires <= $2")
            .bind(id.as_str())
            .bind(millis(TABLE, "now", now)?)
            .execute(self.connection())
            .await?;
        Ok(gone.rows_affected() == 1)
    }
}

async fn step(connection: &mut AnyConnection, from: &str, row: &PendingSignIn) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE pending_sign_in SET state = $3, oauth_state_hash = $4, user_code_hash = $5, json = $6, expires = $7 \
         WHERE id = $1 AND state = $2",
    )
    .bind(row.id.as_str())
    .bind(text(TABLE, "state", from)?)
    .bind(text(TABLE, "state", &row.state)?)
    .bind(text_opt(TABLE, "oauth_state_hash", row.oauth_state_hash.as_deref())?)
    .bind(text_opt(TABLE, "user_code_hash", row.user_code_hash.as_deref())?)
    .bind(text(TABLE, "json", &row.json)?)
    .bind(millis(TABLE, "expires", row.expires)?)
    .execute(connection)
    .await
    .map_err(super::conflict)?;
    Ok(changed.rows_affected() == 1)
}

/// Empty in rows that were there before the column was.
fn read_area(text: &str) -> Result<IpAddr, StoreError> {
    if text.is_empty() {
        return Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    text.parse().map_err(|_| bad(TABLE, format_args!("{text:?} is not an address")))
}

fn read(row: &AnyRow) -> Result<PendingSignIn, StoreError> {
    let columns = Columns { table: TABLE, row };
    Ok(PendingSignIn {
        id: columns.parsed("id")?,
        mode: columns.word("mode", METHODS)?,
        state: columns.text("state")?,
        oauth_state_hash: columns.text_opt("oauth_state_hash")?,
        user_code_hash: columns.text_opt("user_code_hash")?,
        json: columns.text("json")?,
        area: read_area(&columns.text("area")?)?,
        wide_area: read_area(&columns.text("wide_area")?)?,
        created: columns.time("created")?,
        expires: columns.time("expires")?,
    })
}
