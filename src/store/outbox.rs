//! Rows of `notice` and `delivery`: what is to be told, and how far each receiver has heard it. What a notice says is
//! its flow's, whom it reaches the configuration's, and what an attempt came to `alerts`'. The order within a case, and
//! that one node at a time tries a delivery, is held here.
//!
//! Steps of a delivery change nothing anybody may do and are not audited; that one is given up is.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::column::{Columns, bad, label, millis, text};
use super::{Store, StoreError, Tx};
use crate::alerts::{Concerned, Notice, NoticeKind, Sink};
use crate::ids::NoticeId;
use crate::time::Timestamp;

/// What stands before a name in `audience_json`.
const GROUP: &str = "group ";
const PERSON: &str = "person ";
const TABLE: &str = "notice";
const DELIVERY: &str = "delivery";

/// A notice as it lies in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedNotice {
    /// What is told.
    pub notice: Notice,
    /// When it happened.
    pub at: Timestamp,
}

/// A delivery that this node may try now, or one that is to be given up.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What is told.
    pub queued: QueuedNotice,
    /// To whom.
    pub sink: Sink,
    /// Attempts that have been made.
    pub attempts: u64,
    /// When it was written.
    pub created: Timestamp,
    /// What came of the last attempt.
    pub problem: Option<String>,
}

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
        let audience = serde_json::Value::from_iter(notice.audience.iter().map(kept));
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

    /// Ends a delivery that failed for too long; false when it has ended already, or somebody tries it right now.
    pub async fn give_up_delivery(
        &mut self,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = sqlx::query(
            "UPDATE delivery SET finished = $3, outcome = 'given-up', leased_by = NULL, leased_until = 0 \
             WHERE notice = $1 AND sink = $2 AND finished IS NULL AND leased_until <= $3",
        )
        .bind(delivery.queued.notice.id.as_str())
        .bind(&delivery.sink.name)
        .bind(millis(DELIVERY, "finished", now)?)
        .execute(self.connection())
        .await?;
        Ok(changed.rows_affected() == 1)
    }
}

/// The start of every read of deliveries, with their notices.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT n.id, n.kind, n.case_id, n.audience_json, n.title, n.fields_json, n.at, \
             d.sink, d.lane, d.attempts, d.created, d.problem FROM delivery d JOIN notice n ON n.id = d.notice ",
            $rest
        )
    };
}

impl Store {
    /// Notices whose deliveries have not been written yet, oldest first.
    pub async fn unspread(&self, limit: u32) -> Result<Vec<QueuedNotice>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, kind, case_id, audience_json, title, fields_json, at FROM notice WHERE spread IS NULL \
             ORDER BY at, place, id LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_notice).collect()
    }

    /// Writes one delivery of the notice for each of `sinks`, all due now. False when that has been done, or when an
    /// earlier notice of the same case comes first.
    pub async fn spread(&self, id: &NoticeId, sinks: &[Sink], now: Timestamp) -> Result<bool, StoreError> {
        let now = millis(DELIVERY, "created", now)?;
        let mut tx = self.begin().await?;
        let moved = sqlx::query(
            "UPDATE notice SET spread = $2 WHERE id = $1 AND spread IS NULL AND NOT EXISTS (SELECT 1 FROM notice e \
             WHERE e.case_id = notice.case_id AND e.place < notice.place AND e.spread IS NULL)",
        )
        .bind(id.as_str())
        .bind(now)
        .execute(tx.connection())
        .await?;
        if moved.rows_affected() != 1 {
            return Ok(false);
        }
        for sink in sinks {
            sqlx::query(
                "INSERT INTO delivery (notice, sink, lane, case_id, place, created, due, attempts, leased_until) \
                 SELECT id, $2, $3, case_id, place, $4, $4, 0, 0 FROM notice WHERE id = $1",
            )
            .bind(id.as_str())
            .bind(text(DELIVERY, "sink", &sink.name)?)
            .bind(text(DELIVERY, "lane", &sink.lane)?)
            .bind(now)
            .execute(tx.connection())
            .await?;
        }
        tx.commit_unaudited().await?;
        Ok(true)
    }

    /// Takes at most `limit` deliveries of `lane` that are due, until `until`: nobody else gets them before that. A
    /// delivery waits for those of the same case to the same sink that come before it.
    pub async fn claim_deliveries(
        &self,
        lane: &str,
        node: &str,
        (now, until): (Timestamp, Timestamp),
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (now, until) = (millis(DELIVERY, "now", now)?, millis(DELIVERY, "leased_until", until)?);
        let rows = sqlx::query(select!(
            "WHERE d.lane = $1 AND d.finished IS NULL AND d.due <= $2 AND d.leased_until <= $2 \
             AND (d.case_id IS NULL OR NOT EXISTS (SELECT 1 FROM delivery e WHERE e.sink = d.sink AND \
             e.case_id = d.case_id AND e.place < d.place AND e.finished IS NULL)) \
             ORDER BY d.due, d.place, d.notice, d.sink LIMIT $3"
        ))
        .bind(lane)
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut claimed = Vec::new();
        let mut tx = self.begin().await?;
        for delivery in rows.iter().map(read_delivery) {
            let delivery = delivery?;
            let taken = sqlx::query(
                "UPDATE delivery SET leased_by = $4, leased_until = $5, attempts = attempts + 1 WHERE notice = $1 \
                 AND sink = $2 AND finished IS NULL AND due <= $3 AND leased_until <= $3",
            )
            .bind(delivery.queued.notice.id.as_str())
            .bind(&delivery.sink.name)
            .bind(now)
            .bind(text(DELIVERY, "leased_by", node)?)
            .bind(until)
            .execute(tx.connection())
            .await?;
            if taken.rows_affected() == 1 {
                claimed.push(Delivery { attempts: delivery.attempts + 1, ..delivery });
            }
        }
        tx.commit_unaudited().await?;
        Ok(claimed)
    }

    /// The receiver has it.
    pub async fn delivered(&self, delivery: &Delivery, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE delivery SET finished = $3, outcome = 'delivered', problem = NULL, leased_by = NULL, \
             leased_until = 0 WHERE notice = $1 AND sink = $2 AND finished IS NULL",
        )
        .bind(delivery.queued.notice.id.as_str())
        .bind(&delivery.sink.name)
        .bind(millis(DELIVERY, "finished", now)?)
        .execute(tx.connection())
        .await?;
        tx.commit_unaudited().await
    }

    /// The attempt of `node` failed; the next one is at `due`.
    pub async fn postpone_delivery(
        &self,
        delivery: &Delivery,
        node: &str,
        due: Timestamp,
        problem: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE delivery SET due = $4, problem = $5, leased_by = NULL, leased_until = 0 WHERE notice = $1 AND \
             sink = $2 AND leased_by = $3 AND finished IS NULL",
        )
        .bind(delivery.queued.notice.id.as_str())
        .bind(&delivery.sink.name)
        .bind(node)
        .bind(millis(DELIVERY, "due", due)?)
        .bind(&*label(problem))
        .execute(tx.connection())
        .await?;
        tx.commit_unaudited().await
    }

    /// What `node` had claimed when it went is free again. For a node that starts.
    pub async fn release_deliveries(&self, node: &str) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let freed = sqlx::query(
            "UPDATE delivery SET leased_by = NULL, leased_until = 0 WHERE leased_by = $1 AND finished IS NULL",
        )
        .bind(node)
        .execute(tx.connection())
        .await?;
        tx.commit_unaudited().await?;
        Ok(freed.rows_affected())
    }

    /// Deliveries that have not ended and that nobody tries right now: written before `before` and tried, or written
    /// before `untried`, whatever their sink, also one that is in no configuration any more.
    pub async fn overdue_deliveries(
        &self,
        (before, untried): (Timestamp, Timestamp),
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows = sqlx::query(select!(
            "WHERE d.finished IS NULL AND d.created <= $1 AND d.leased_until <= $2 AND (d.attempts > 0 OR d.created <= $4) \
             ORDER BY d.created, d.place, d.notice, d.sink LIMIT $3"
        ))
        .bind(millis(DELIVERY, "created", before)?)
        .bind(millis(DELIVERY, "now", now)?)
        .bind(i64::from(limit))
        .bind(millis(DELIVERY, "created", untried)?)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_delivery).collect()
    }

    /// How many deliveries have not ended.
    pub async fn deliveries_waiting(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) AS n FROM delivery WHERE finished IS NULL")
            .fetch_one(&self.pool)
            .await?;
        Columns { table: DELIVERY, row: &row }.whole("n")
    }

    /// Deletes deliveries that ended before `before`, and the notices that have none left; returns how many rows.
    pub async fn sweep_notices(&self, before: Timestamp) -> Result<u64, StoreError> {
        let before = millis(DELIVERY, "finished", before)?;
        let mut tx = self.begin().await?;
        let mut swept = 0;
        for sql in [
            "DELETE FROM delivery WHERE finished IS NOT NULL AND finished <= $1",
            "DELETE FROM notice WHERE spread IS NOT NULL AND at <= $1 AND NOT EXISTS (SELECT 1 FROM delivery d \
             WHERE d.notice = notice.id)",
        ] {
            swept += sqlx::query(sql).bind(before).execute(tx.connection()).await?.rows_affected();
        }
        tx.commit_unaudited().await?;
        Ok(swept)
    }
}

fn read_notice(row: &AnyRow) -> Result<QueuedNotice, StoreError> {
    let columns = Columns { table: TABLE, row };
    let word = columns.text("kind")?;
    let kind = NoticeKind::of(&word).ok_or_else(|| bad(TABLE, format_args!("kind {word:?} is unknown")))?;
    let json = |column: &'static str, error: serde_json::Error| bad(TABLE, format_args!("{column}: {error}"));
    let audience = columns.text("audience_json")?;
    let fields = columns.text("fields_json")?;
    let case = columns.text_opt("case_id")?.map(|case| case.parse()).transpose();
    Ok(QueuedNotice {
        notice: Notice {
            id: columns.parsed("id")?,
            kind,
            case: case.map_err(|e| bad(TABLE, e))?,
            audience: serde_json::from_str::<Vec<String>>(&audience)
                .map_err(|e| json("audience_json", e))?
                .iter()
                .map(|text| read_concerned(text))
                .collect(),
            title: columns.text("title")?,
            fields: serde_json::from_str(&fields).map_err(|e| json("fields_json", e))?,
        },
        at: columns.time("at")?,
    })
}

/// The text that is kept for somebody. No name of a provider has a blank, so none looks like a word before it.
fn kept(who: &Concerned) -> String {
    match who {
        Concerned::Group(name) => format!("{GROUP}{name}"),
        Concerned::Person(name) => format!("{PERSON}{name}"),
    }
}

/// Without a word before it, it was kept by an older version: approvers mostly, which are groups.
fn read_concerned(text: &str) -> Concerned {
    match text.strip_prefix(PERSON) {
        Some(name) => Concerned::Person(name.to_owned()),
        None => Concerned::Group(text.strip_prefix(GROUP).unwrap_or(text).to_owned()),
    }
}

fn read_delivery(row: &AnyRow) -> Result<Delivery, StoreError> {
    let columns = Columns { table: DELIVERY, row };
    Ok(Delivery {
        queued: read_notice(row)?,
        sink: Sink { lane: columns.text("lane")?, name: columns.text("sink")? },
        attempts: columns.whole("attempts")?,
        created: columns.time("created")?,
        problem: columns.text_opt("problem")?,
    })
}
