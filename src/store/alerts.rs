//! Rows of `alert`, `alert_watch` and `alert_seen`: what rules have found, how far they have read the audit log, and what
//! they have met before. What they look for is `alerts::rules`'.
//!
//! A set of rules moves on in the log only together with what it found on the way, and only if nobody else has moved it
//! meanwhile: so a restart neither repeats nor misses an entry, whoever reads.

use sqlx::any::AnyRow;

use super::column::{Columns, bad, label, millis, text, whole};
use super::{Store, StoreError, Tx};
use crate::alerts::rules::Seen;
use crate::config::AlertRule;
use crate::ids::AlertId;
use crate::time::Timestamp;

const TABLE: &str = "alert";
const WATCH: &str = "alert_watch";
const SEEN: &str = "alert_seen";

/// Something that somebody should look at, or has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    /// Its id.
    pub id: AlertId,
    /// The rule that found it.
    pub rule: AlertRule,
    /// Whom or what it is about.
    pub subject: String,
    /// In one line; names in it may be anybody's text.
    pub title: String,
    /// The first audit entry that counts.
    pub first_seq: u64,
    /// The last one so far.
    pub last_seq: u64,
    /// How many events it stands for.
    pub events: u64,
    /// When the entry was written that made it an alert.
    pub happened: Timestamp,
    /// When the last one was.
    pub last_happened: Timestamp,
    /// When it was raised.
    pub raised: Timestamp,
    /// When somebody acknowledged it.
    pub acknowledged: Option<Timestamp>,
    /// Who: `provider:subject`, or `admin`.
    pub acknowledged_by: Option<String>,
    /// What they said.
    pub note: Option<String>,
}

/// A set of rules at its place in the log, held by this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    /// The last entry that it has read.
    pub seq: u64,
    /// Entries up to this one only teach.
    pub quiet_to: u64,
}

/// More events of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoreEvents {
    /// Which.
    pub id: AlertId,
    /// How many.
    pub events: u64,
    /// The last entry.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
}

/// A step of a set of rules along the log.
#[derive(Clone, Debug)]
pub struct WatchStep<'a> {
    /// Which set.
    pub rules: &'a str,
    /// Which node reads.
    pub node: &'a str,
    /// From after this entry,
    pub from: u64,
    /// to this one.
    pub to: u64,
    /// What was met for the first time on the way, each with the number of the entry.
    pub learned: Vec<(Seen, u64)>,
    /// Events of alerts that were raised before.
    pub more: Vec<MoreEvents>,
}

/// Which alerts to list.
#[derive(Clone, Debug)]
pub struct AlertFilter {
    /// Only those that nobody has acknowledged.
    pub open: bool,
    /// At most so many, newest first.
    pub limit: u32,
    /// Only those that come after this place in that order.
    pub after: Option<AlertPlace>,
}

/// A place in the list of alerts: that of this one.
#[derive(Clone, Debug)]
pub struct AlertPlace {
    /// When it was raised.
    pub raised: Timestamp,
    /// Its id.
    pub id: AlertId,
}

/// The start of every read.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, rule, subject, title, first_seq, last_seq, events, happened, last_happened, raised, \
             acknowledged, acknowledged_by, note FROM alert ",
            $rest
        )
    };
}

impl Store {
    /// Takes (or keeps) a set of rules until `until`; none while another node has it. A set that was never there starts
    /// at the first entry, and is quiet up to the last one of now.
    pub async fn hold_watch(
        &self,
        rules: &str,
        node: &str,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<Option<Watching>, StoreError> {
        let half = Timestamp::from_millis(u64::midpoint(now.as_millis(), until.as_millis()));
        let row =
            sqlx::query("SELECT seq, quiet_to, leased_by, leased_until FROM alert_watch WHERE rules = $1")
                .bind(rules)
                .fetch_optional(&self.pool)
                .await?;
        if let Some(row) = &row {
            let columns = Columns { table: WATCH, row };
            let mine = columns.text_opt("leased_by")?.as_deref() == Some(node);
            let leased_until = columns.time("leased_until")?;
            if !mine && leased_until > now {
                return Ok(None);
            }
            if mine && leased_until > half {
                return read_watch(row).map(Some);
            }
        }
        let mut tx = self.begin().await?;
        if row.is_none() {
            sqlx::query(
                "INSERT INTO alert_watch (rules, seq, quiet_to, leased_by, leased_until) \
                 SELECT $1, 0, seq, NULL, 0 FROM audit_head WHERE one = 1 ON CONFLICT DO NOTHING",
            )
            .bind(text(WATCH, "rules", rules)?)
            .execute(tx.connection())
            .await?;
        }
        let held = sqlx::query(
            "UPDATE alert_watch SET leased_by = $2, leased_until = $4 WHERE rules = $1 AND \
             (leased_by = $2 OR leased_until <= $3) RETURNING seq, quiet_to",
        )
        .bind(rules)
        .bind(text(WATCH, "leased_by", node)?)
        .bind(millis(WATCH, "now", now)?)
        .bind(millis(WATCH, "leased_until", until)?)
        .fetch_optional(tx.connection())
        .await?;
        tx.commit_unaudited().await?;
        held.as_ref().map(read_watch).transpose()
    }

    /// Lets go of what `node` holds, so that another takes it at once.
    pub async fn release_watch(&self, node: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE alert_watch SET leased_by = NULL, leased_until = 0 WHERE leased_by = $1")
            .bind(node)
            .execute(tx.connection())
            .await?;
        tx.commit_unaudited().await
    }

    /// A step on which nothing was found that was not known; false when another node has moved on meanwhile.
    pub async fn advance_watch(&self, step: &WatchStep<'_>) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let moved = tx.advance_watch(step).await?;
        if moved {
            tx.commit_unaudited().await?;
        }
        Ok(moved)
    }

    /// Whether the rules have met this before.
    pub async fn has_seen(&self, seen: &Seen) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT seq FROM alert_seen WHERE rule = $1 AND subject = $2 AND what = $3")
            .bind(seen.rule.word())
            .bind(&*label(&seen.subject))
            .bind(&*label(&seen.what))
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// When an audit entry was written.
    pub async fn audit_time(&self, seq: u64) -> Result<Option<Timestamp>, StoreError> {
        let row = sqlx::query("SELECT at FROM audit WHERE seq = $1")
            .bind(whole("audit", "seq", seq)?)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(|row| Columns { table: "audit", row }.time("at")).transpose()
    }

    /// The newest alert of this rule and subject that happened after `since`.
    pub async fn alert_since(
        &self,
        rule: AlertRule,
        subject: &str,
        since: Timestamp,
    ) -> Result<Option<AlertRow>, StoreError> {
        let row = sqlx::query(select!(
            "WHERE rule = $1 AND subject = $2 AND happened > $3 ORDER BY happened DESC, id LIMIT 1"
        ))
        .bind(rule.word())
        .bind(&*label(subject))
        .bind(millis(TABLE, "happened", since)?)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(read).transpose()
    }

    /// One alert.
    pub async fn alert(&self, id: &AlertId) -> Result<Option<AlertRow>, StoreError> {
        let row = sqlx::query(select!("WHERE id = $1")).bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// Alerts, newest first.
    pub async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<AlertRow>, StoreError> {
        let (raised, id) = match &filter.after {
            None => (i64::MAX, ""),
            Some(place) => (millis(TABLE, "raised", place.raised)?, place.id.as_str()),
        };
        let rows = sqlx::query(select!(
            "WHERE ($2 = 0 OR acknowledged IS NULL) AND (raised < $3 OR (raised = $3 AND id > $4)) \
             ORDER BY raised DESC, id LIMIT $1"
        ))
        .bind(i64::from(filter.limit))
        .bind(i64::from(filter.open))
        .bind(raised)
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read).collect()
    }
}

impl Tx {
    /// Moves a set of rules along the log, with what it learned; false when another node has moved it meanwhile, and then
    /// this transaction is to be dropped.
    pub async fn advance_watch(&mut self, step: &WatchStep<'_>) -> Result<bool, StoreError> {
        let moved =
            sqlx::query("UPDATE alert_watch SET seq = $4 WHERE rules = $1 AND leased_by = $2 AND seq = $3")
                .bind(step.rules)
                .bind(step.node)
                .bind(whole(WATCH, "seq", step.from)?)
                .bind(whole(WATCH, "seq", step.to)?)
                .execute(self.connection())
                .await?;
        if moved.rows_affected() != 1 {
            return Ok(false);
        }
        for (seen, seq) in &step.learned {
            sqlx::query(
                "INSERT INTO alert_seen (rule, subject, what, seq) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            )
            .bind(seen.rule.word())
            .bind(&*label(&seen.subject))
            .bind(&*label(&seen.what))
            .bind(whole(SEEN, "seq", *seq)?)
            .execute(self.connection())
            .await?;
        }
        for more in &step.more {
            sqlx::query(
                "UPDATE alert SET events = events + $2, last_seq = $3, last_happened = $4 WHERE id = $1",
            )
            .bind(more.id.as_str())
            .bind(whole(TABLE, "events", more.events)?)
            .bind(whole(TABLE, "last_seq", more.seq)?)
            .bind(millis(TABLE, "last_happened", more.at)?)
            .execute(self.connection())
            .await?;
        }
        Ok(true)
    }

    /// A new alert. `Conflict` when the id exists.
    pub async fn insert_alert(&mut self, row: &AlertRow) -> Result<(), StoreError> {
        let written = sqlx::query(
            "INSERT INTO alert (id, rule, subject, title, first_seq, last_seq, events, happened, last_happened, raised) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        )
        .bind(row.id.as_str())
        .bind(row.rule.word())
        .bind(&*label(&row.subject))
        .bind(&*label(&row.title))
        .bind(whole(TABLE, "first_seq", row.first_seq)?)
        .bind(whole(TABLE, "last_seq", row.last_seq)?)
        .bind(whole(TABLE, "events", row.events)?)
        .bind(millis(TABLE, "happened", row.happened)?)
        .bind(millis(TABLE, "last_happened", row.last_happened)?)
        .bind(millis(TABLE, "raised", row.raised)?)
        .execute(self.connection())
        .await?;
        super::inserted(&written)
    }

    /// Somebody has looked at it; false when somebody has before, or there is no such alert.
    pub async fn acknowledge_alert(
        &mut self,
        id: &AlertId,
        by: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = sqlx::query(
            "UPDATE alert SET acknowledged = $2, acknowledged_by = $3, note = $4 WHERE id = $1 AND acknowledged IS NULL",
        )
        .bind(id.as_str())
        .bind(millis(TABLE, "acknowledged", now)?)
        .bind(text(TABLE, "acknowledged_by", by)?)
        .bind(&*label(note))
        .execute(self.connection())
        .await?;
        Ok(changed.rows_affected() == 1)
    }
}

fn read_watch(row: &AnyRow) -> Result<Watching, StoreError> {
    let columns = Columns { table: WATCH, row };
    Ok(Watching { seq: columns.whole("seq")?, quiet_to: columns.whole("quiet_to")? })
}

fn read(row: &AnyRow) -> Result<AlertRow, StoreError> {
    let columns = Columns { table: TABLE, row };
    let word = columns.text("rule")?;
    Ok(AlertRow {
        id: columns.parsed("id")?,
        rule: AlertRule::of(&word).ok_or_else(|| bad(TABLE, format_args!("rule {word:?} is unknown")))?,
        subject: columns.text("subject")?,
        title: columns.text("title")?,
        first_seq: columns.whole("first_seq")?,
        last_seq: columns.whole("last_seq")?,
        events: columns.whole("events")?,
        happened: columns.time("happened")?,
        last_happened: columns.time("last_happened")?,
        raised: columns.time("raised")?,
        acknowledged: columns.time_opt("acknowledged")?,
        acknowledged_by: columns.text_opt("acknowledged_by")?,
        note: columns.text_opt("note")?,
    })
}
