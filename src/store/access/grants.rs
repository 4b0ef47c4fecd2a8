//! Rows of `access_grant`, and which sessions used which.

use sqlx::any::AnyRow;

use super::json::{read_scope_text, scope_text};
use crate::access::{Close, Grant, Party};
use crate::ids::{CaseId, GrantId, SessionId};
use crate::store::column::{Columns, bad, label, millis, text};
use crate::store::{Store, StoreError, Tx};
use crate::time::Timestamp;

pub(super) const TABLE: &str = "access_grant";

/// A grant with what only lists and reports want to know.
#[derive(Clone, Debug)]
pub struct GrantRow {
    /// The grant.
    pub grant: Grant,
    /// When it was opened.
    pub opened: Timestamp,
    /// How it ended.
    pub end_word: Option<String>,
    /// How many sessions used it.
    pub uses: u64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, case_id, issuer, subject, who, display, scope_json, starts, until, break_glass, used_by, uses, \
             opened, ended, end_word FROM access_grant ",
            $rest
        )
    };
}

pub(super) use select;

impl Store {
    /// The grants of this person that have not ended and are not over.
    pub async fn grants_of(
        &self,
        issuer: &str,
        subject: &str,
        now: Timestamp,
    ) -> Result<Vec<Grant>, StoreError> {
        let rows =
            sqlx::query(select!("WHERE issuer = $1 AND subject = $2 AND ended IS NULL AND until > $3"))
                .bind(text(TABLE, "issuer", issuer)?)
                .bind(text(TABLE, "subject", subject)?)
                .bind(millis(TABLE, "now", now)?)
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|row| Ok(read(row)?.grant)).collect()
    }

    /// One grant.
    pub async fn grant(&self, id: &GrantId) -> Result<Option<GrantRow>, StoreError> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// What a case opened.
    pub async fn grant_of_case(&self, case: &CaseId) -> Result<Option<GrantRow>, StoreError> {
        let row =
            sqlx::query(select!("WHERE case_id = $1")).bind(case.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// Grants opened since `since`, newest first; with `live_at` only those that have not ended and are not over then.
    pub async fn grants(
        &self,
        since: Option<Timestamp>,
        live_at: Option<Timestamp>,
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        let since = since.map(|at| millis(TABLE, "opened", at)).transpose()?;
        let live_at = live_at.map(|at| millis(TABLE, "until", at)).transpose()?;
        let rows = sqlx::query(select!(
            "WHERE (CAST($1 AS BIGINT) IS NULL OR opened >= $1) \
             AND (CAST($2 AS BIGINT) IS NULL OR (ended IS NULL AND until > $2)) \
             ORDER BY opened DESC, id DESC LIMIT $3"
        ))
        .bind(since)
        .bind(live_at)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// The grants that a session was opened under.
    pub async fn grants_of_session(&self, session: &SessionId) -> Result<Vec<GrantId>, StoreError> {
        let rows = sqlx::query("SELECT grant_id FROM session_grant WHERE session = $1")
            .bind(session.as_str())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Columns { table: "session_grant", row }.parsed("grant_id")).collect()
    }
}

impl Tx {
    /// How many grants this person has that have not ended and are not over.
    pub async fn count_held(
        &mut self,
        (issuer, subject): (&str, &str),
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS held FROM access_grant \
             WHERE issuer = $1 AND subject = $2 AND ended IS NULL AND until > $3",
        )
        .bind(text(TABLE, "issuer", issuer)?)
        .bind(text(TABLE, "subject", subject)?)
        .bind(millis(TABLE, "now", now)?)
        .fetch_one(self.connection())
        .await?;
        Columns { table: TABLE, row: &row }.whole("held")
    }

    /// A new grant. `Conflict` when the id is there.
    pub async fn insert_grant(&mut self, grant: &Grant, now: Timestamp) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO access_grant (id, case_id, issuer, subject, who, display, scope_json, starts, until, \
             break_glass, used_by, uses, opened, ended, end_word) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL, 0, $11, NULL, NULL) ON CONFLICT DO NOTHING",
        )
        .bind(grant.id.as_str())
        .bind(grant.case.as_str())
        .bind(text(TABLE, "issuer", &grant.who.issuer)?)
        .bind(text(TABLE, "subject", &grant.who.subject)?)
        .bind(text(TABLE, "who", &grant.who.reference)?)
        .bind(&*label(&grant.who.display))
        .bind(scope_text(&grant.scope)?)
        .bind(millis(TABLE, "starts", grant.starts)?)
        .bind(millis(TABLE, "until", grant.until)?)
        .bind(i64::from(grant.break_glass))
        .bind(millis(TABLE, "opened", now)?)
        .execute(self.connection())
        .await?;
        crate::store::inserted(&written)
    }

    /// Ends a grant; false when it had ended.
    pub async fn end_grant(
        &mut self,
        id: &GrantId,
        close: Close,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed =
            sqlx::query("UPDATE access_grant SET ended = $2, end_word = $3 WHERE id = $1 AND ended IS NULL")
                .bind(id.as_str())
                .bind(millis(TABLE, "ended", now)?)
                .bind(close.as_str())
                .execute(self.connection())
                .await?;
        Ok(changed.rows_affected() == 1)
    }

    /// Notes that a session begins under a grant. False when it has ended, is over, or was for one use and had that.
    pub async fn use_grant(
        &mut self,
        grant: &Grant,
        session: &SessionId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let claimed = grant.once().map(|_| session.as_str().to_owned());
        let changed = sqlx::query(
            "UPDATE access_grant SET uses = uses + 1, used_by = $2 \
             WHERE id = $1 AND ended IS NULL AND used_by IS NULL AND until > $3",
        )
        .bind(grant.id.as_str())
        .bind(claimed)
        .bind(millis(TABLE, "now", now)?)
        .execute(self.connection())
        .await?;
        if changed.rows_affected() != 1 {
            return Ok(false);
        }
        sqlx::query("INSERT INTO session_grant (session, grant_id) VALUES ($1, $2)")
            .bind(session.as_str())
            .bind(grant.id.as_str())
            .execute(self.connection())
            .await?;
        Ok(true)
    }
}

pub(super) fn read(row: &AnyRow) -> Result<GrantRow, StoreError> {
    let columns = Columns { table: TABLE, row };
    let used_by = columns.text_opt("used_by")?;
    let used_by = used_by.map(|id| id.parse()).transpose();
    Ok(GrantRow {
        grant: Grant {
            id: columns.parsed("id")?,
            case: columns.parsed::<CaseId>("case_id")?,
            who: Party {
                issuer: columns.text("issuer")?,
                subject: columns.text("subject")?,
                reference: columns.text("who")?,
                display: columns.text("display")?,
            },
            scope: read_scope_text(&columns.text("scope_json")?)?,
            starts: columns.time("starts")?,
            until: columns.time("until")?,
            break_glass: columns.whole("break_glass")? != 0,
            used_by: used_by.map_err(|error| bad(TABLE, format_args!("used_by: {error}")))?,
            ended: columns.time_opt("ended")?,
        },
        opened: columns.time("opened")?,
        end_word: columns.text_opt("end_word")?,
        uses: columns.whole("uses")?,
    })
}
