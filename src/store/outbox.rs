//! Rows of `notice`: what is to be told, kept until it is. What a notice says is its flow's, whom it reaches the
//! configuration's.

use sqlx::Row as _;

use super::column::{label, millis};
use super::{StoreError, Tx};
use crate::alerts::Notice;
use crate::time::Timestamp;

const TABLE: &str = "notice";

impl Tx {
    /// Puts a notice into the outbox; it is told when this transaction commits. Notices of one case keep their order,
    /// which holds between transactions when each of them has changed (and so locked) the row of the case before.
    /// `Conflict` when the id exists.
    pub async fn enqueue(&mut self, notice: &Notice, now: Timestamp) -> Result<(), StoreError> {
        let case = notice.case.as_ref().map(|case| case.as_str());
        let place = match case {
            None => 0,
            Some(case) => {
                let last =
                    sqlx::query("SELECT COALESCE(MAX(place), 0) AS last FROM notice WHERE case_id = $1")
                        .bind(case)
                        .fetch_one(self.connection())
                        .await?;
                last.try_get::<i64, _>("last")?.saturating_add(1)
            }
        };
        let audience = serde_json::Value::from_iter(notice.audience.iter().map(String::as_str));
        let fields =
            serde_json::Value::from_iter(notice.fields.iter().map(|(name, value)| vec![&**name, &**value]));
        let written = sqlx::query(
            "INSERT INTO notice (id, kind, case_id, place, audience_json, title, fields_json, at, spread) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL) ON CONFLICT DO NOTHING",
        )
        .bind(notice.id.as_str())
        .bind(notice.kind.word())
        .bind(case)
        .bind(place)
        .bind(audience.to_string())
        .bind(&*label(&notice.title))
        .bind(fields.to_string())
        .bind(millis(TABLE, "at", now)?)
        .execute(self.connection())
        .await?;
        super::inserted(&written)
    }
}
