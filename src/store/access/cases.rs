//! Rows of `access_case`.

use sqlx::any::AnyRow;

use super::json::{case_text, read_case};
use crate::access::{Case, Review, due};
use crate::ids::CaseId;
use crate::store::column::{Columns, millis, text, text_opt};
use crate::store::{Store, StoreError, Tx};
use crate::time::Timestamp;

const TABLE: &str = "access_case";
/// At least the length of an id.
const ID_LEN_MAX: usize = 40;

/// Which cases to list. Everything that is given must match.
#[derive(Clone, Debug, Default)]
pub struct CaseFilter {
    /// Of this person: issuer and subject.
    pub who: Option<(String, String)>,
    /// In this state, as `State::word` says it.
    pub word: Option<&'static str>,
    /// Somebody still has to look at them afterwards.
    pub to_review: bool,
    /// Filed before this one, or at the same moment with a smaller id: where the page before ended.
    pub before: Option<(Timestamp, CaseId)>,
    /// Filed at this moment or later.
    pub since: Option<Timestamp>,
}

impl Store {
    /// One case.
    pub async fn case(&self, id: &CaseId) -> Result<Option<Case>, StoreError> {
        let row = sqlx::query("SELECT id, json FROM access_case WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The case that this person filed under this key.
    pub async fn case_by_key(
        &self,
        (issuer, subject): (&str, &str),
        key: &str,
    ) -> Result<Option<Case>, StoreError> {
        let row = sqlx::query(
            "SELECT id, json FROM access_case WHERE issuer = $1 AND subject = $2 AND idempotency = $3",
        )
        .bind(text(TABLE, "issuer", issuer)?)
        .bind(text(TABLE, "subject", subject)?)
        .bind(text(TABLE, "idempotency", key)?)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// Cases, newest first, at most `limit`.
    pub async fn cases(&self, filter: &CaseFilter, limit: u32) -> Result<Vec<Case>, StoreError> {
        let (issuer, subject) = filter.who.clone().unzip();
        let (before, before_id) = match &filter.before {
            Some((at, id)) => (Some(millis(TABLE, "filed", *at)?), Some(id.as_str().to_owned())),
            None => (None, None),
        };
        let since = filter.since.map(|at| millis(TABLE, "filed", at)).transpose()?;
        let rows = sqlx::query(
            "SELECT id, json FROM access_case \
             WHERE (CAST($1 AS TEXT) IS NULL OR (issuer = $1 AND subject = $2)) \
             AND (CAST($3 AS TEXT) IS NULL OR word = $3) \
             AND ($4 = 0 OR review_due = 1) \
             AND (CAST($5 AS BIGINT) IS NULL OR filed < $5 OR (filed = $5 AND id < $6)) \
             AND (CAST($7 AS BIGINT) IS NULL OR filed >= $7) \
             ORDER BY filed DESC, id DESC LIMIT $8",
        )
        .bind(issuer)
        .bind(subject)
        .bind(filter.word)
        .bind(i64::from(filter.to_review))
        .bind(before)
        .bind(before_id)
        .bind(since)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }

    /// Cases whose id begins with `beginning`, at most `limit`. It is looked for in the order of ids, however many there are.
    pub async fn cases_beginning(&self, beginning: &str, limit: u32) -> Result<Vec<Case>, StoreError> {
        // Ids have digits and small letters only, which every collation puts in this order; none is longer than this.
        let last = format!("{beginning}{}", "z".repeat(ID_LEN_MAX));
        let rows =
            sqlx::query("SELECT id, json FROM access_case WHERE id >= $1 AND id <= $2 ORDER BY id LIMIT $3")
                .bind(text(TABLE, "id", beginning)?)
                .bind(text(TABLE, "id", &last)?)
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(read).collect()
    }

    /// Cases for which time has something to say, oldest first, at most `limit`.
    pub async fn cases_due(&self, now: Timestamp, limit: u32) -> Result<Vec<CaseId>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM access_case WHERE due IS NOT NULL AND due <= $1 ORDER BY due LIMIT $2",
        )
        .bind(millis(TABLE, "now", now)?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Columns { table: TABLE, row }.parsed("id")).collect()
    }
}

impl Tx {
    /// How many cases this person has filed since then, whatever became of them.
    pub async fn count_filed(
        &mut self,
        (issuer, subject): (&str, &str),
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS filed FROM access_case WHERE issuer = $1 AND subject = $2 AND filed >= $3",
        )
        .bind(text(TABLE, "issuer", issuer)?)
        .bind(text(TABLE, "subject", subject)?)
        .bind(millis(TABLE, "since", since)?)
        .fetch_one(self.connection())
        .await?;
        Columns { table: TABLE, row: &row }.whole("filed")
    }

    /// A new case. `key` is the person's own name for the request: `Conflict` when they used it before, or the id is there.
    pub async fn insert_case(&mut self, case: &Case, key: Option<&str>) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO access_case (id, issuer, subject, who, role, word, review_due, due, filed, changed, \
             idempotency, version, json) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, 0, $11) \
             ON CONFLICT DO NOTHING",
        )
        .bind(case.id.as_str())
        .bind(text(TABLE, "issuer", &case.who.issuer)?)
        .bind(text(TABLE, "subject", &case.who.subject)?)
        .bind(text(TABLE, "who", &case.who.reference)?)
        .bind(case.scope.role.as_str())
        .bind(case.state.word())
        .bind(i64::from(case.review == Review::Due))
        .bind(due(case).map(|at| millis(TABLE, "due", at)).transpose()?)
        .bind(millis(TABLE, "filed", case.filed)?)
        .bind(text_opt(TABLE, "idempotency", key)?)
        .bind(case_text(case)?)
        .execute(self.connection())
        .await?;
        crate::store::inserted(&written)
    }

    /// The case as it is, and nobody else changes it until this transaction is over.
    pub async fn take_case(&mut self, id: &CaseId) -> Result<Option<Case>, StoreError> {
        let row =
            sqlx::query("UPDATE access_case SET version = version + 1 WHERE id = $1 RETURNING id, json")
                .bind(id.as_str())
                .fetch_optional(self.connection())
                .await?;
        row.as_ref().map(read).transpose()
    }

    /// Writes what became of a case that was taken.
    pub async fn write_case(&mut self, case: &Case, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE access_case SET word = $2, review_due = $3, due = $4, changed = $5, json = $6 WHERE id = $1",
        )
        .bind(case.id.as_str())
        .bind(case.state.word())
        .bind(i64::from(case.review == Review::Due))
        .bind(due(case).map(|at| millis(TABLE, "due", at)).transpose()?)
        .bind(millis(TABLE, "changed", now)?)
        .bind(case_text(case)?)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

fn read(row: &AnyRow) -> Result<Case, StoreError> {
    let columns = Columns { table: TABLE, row };
    read_case(&columns.text("id")?, &columns.text("json")?)
}
