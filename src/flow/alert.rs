//! Reads the audit log behind everybody else and raises alerts; and acknowledging them. One node reads at a time, and
//! moves on in the log in the same transaction in which it writes what it found, so nothing is told twice or missed.
//! What is worth an alert is judged by `alerts::rules`, whom it reaches by `tell`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::permission::Auditor;
use super::recognise::begin_once;
use crate::alerts::rules::{self, Entry, Finding, Memory, Whose};
use crate::alerts::{Notice, NoticeKind};
use crate::app::App;
use crate::audit::{AuditEvent, Raised, TellingEvent};
use crate::ids::{AlertId, NoticeId};
use crate::store::{AlertRow, AuditRow, MoreEvents, Store, StoreError, Tx, WatchStep};
use crate::time::Timestamp;

/// The name of this set of rules in the store.
const RULES: &str = "audit";
/// For how long one node reads alone; another takes over when it has been silent for so long.
const LEASE: Duration = Duration::from_secs(20);
/// Entries read at once.
const BATCH: u32 = 500;
/// Longest note of somebody who acknowledges.
const NOTE_MAX: usize = 1000;

/// What the node that reads remembers between two looks.
#[derive(Debug, Default)]
pub struct Watch {
    memory: Memory,
    /// Where in the log the memory stands; none before the first look, and after somebody else has read.
    at: Option<u64>,
}

/// Reads on in the log, up to a batch; says how many entries that were. Nothing while another node reads.
pub async fn look(app: &App, watch: &mut Watch) -> Result<usize, StoreError> {
    let now = app.clock.now();
    let held = app.store.hold_watch(RULES, &app.node, (now, now.plus(LEASE))).await?;
    let Some(held) = held else {
        watch.at = None;
        return Ok(0);
    };
    if watch.at != Some(held.seq) {
        watch.memory = Memory::default();
        warm_up(app, &mut watch.memory, held.seq).await?;
        watch.at = Some(held.seq);
    }
    let rows = app.store.audit(held.seq, BATCH).await?;
    let Some(to) = rows.last().map(|row| row.seq) else { return Ok(0) };
    // Whatever goes wrong from here on, the memory has gone further than the store.
    watch.at = None;
    let findings = judge(app, &mut watch.memory, &rows, held.quiet_to).await?;
    let plan = plan(app, findings, now).await?;
    let step = WatchStep {
        rules: RULES,
        node: &app.node,
        from: held.seq,
        to,
        learned: watch.memory.take_learned(),
        more: plan.more,
    };
    if write(app, &step, plan.raise, now).await? {
        watch.at = Some(to);
    }
    Ok(rows.len())
}

/// Lets another node read, at the end of this one.
pub async fn leave(app: &App) -> Result<(), StoreError> {
    app.store.release_watch(&app.node).await
}

/// Makes the windows again from the entries before `seq`, as far back as any window reaches.
async fn warm_up(app: &App, memory: &mut Memory, seq: u64) -> Result<(), StoreError> {
    let Some(here) = app.store.audit_time(seq).await? else { return Ok(()) };
    let since = here.minus(app.config.alerts.window_max());
    // Times rise with the numbers, but for what clocks of nodes differ; so halving finds the place.
    let (mut before, mut after) = (0, seq);
    while before + 1 < after {
        let middle = u64::midpoint(before, after);
        match app.store.audit_time(middle).await? {
            Some(at) if at >= since => after = middle,
            Some(_) | None => before = middle,
        }
    }
    let mut read = before;
    while read < seq {
        let rows = app.store.audit(read, BATCH).await?;
        let Some(last) = rows.last().map(|row| row.seq) else { break };
        let known: Vec<AuditRow> = rows.into_iter().filter(|row| row.seq <= seq).collect();
        judge(app, memory, &known, u64::MAX).await?;
        // All of it was written down when it was read for the first time.
        memory.take_learned();
        read = last;
    }
    Ok(())
}

async fn judge(
    app: &App,
    memory: &mut Memory,
    rows: &[AuditRow],
    quiet_to: u64,
) -> Result<Vec<Finding>, StoreError> {
    let config = &app.config.alerts;
    let mut sessions = BTreeMap::new();
    let mut findings = Vec::new();
    for row in rows {
        let Ok(fields) = serde_json::from_str(&row.json) else {
            tracing::error!(audit.seq = row.seq, "an audit entry is not JSON; rules pass over it");
            continue;
        };
        let entry = Entry { seq: row.seq, at: row.at, kind: row.kind.clone(), fields };
        for seen in rules::wants(&entry, config) {
            if !memory.knows(&seen) && app.store.has_seen(&seen).await? {
                memory.recall(seen);
            }
        }
        let whose = match rules::session_of(&entry) {
            Some(session) => whose(app, session, &mut sessions).await?,
            None => None,
        };
        findings.extend(rules::judge(&entry, whose.as_ref(), config, memory, row.seq <= quiet_to));
    }
    Ok(findings)
}

async fn whose(
    app: &App,
    session: &str,
    known: &mut BTreeMap<String, Option<Whose>>,
) -> Result<Option<Whose>, StoreError> {
    if let Some(whose) = known.get(session) {
        return Ok(whose.clone());
    }
    let row = match session.parse() {
        Ok(id) => app.store.session(&id).await?,
        Err(_) => None,
    };
    let whose = row.map(|row| Whose { who: row.who, target: row.target, node: row.node });
    known.insert(session.to_owned(), whose.clone());
    Ok(whose)
}

#[derive(Default)]
struct Plan {
    raise: Vec<(AlertRow, Vec<(&'static str, String)>)>,
    more: Vec<MoreEvents>,
}

/// Which findings are new alerts, and which belong to one that was raised: of the same rule and subject, within the
/// rule's window.
async fn plan(app: &App, findings: Vec<Finding>, now: Timestamp) -> Result<Plan, StoreError> {
    let mut plan = Plan::default();
    for finding in findings {
        let window = app.config.alerts.setting(finding.rule).window;
        let since = finding.at.minus(window);
        let of_it = |row: &AlertRow| {
            row.rule == finding.rule && row.subject == finding.subject && row.happened > since
        };
        if let Some((row, _)) = plan.raise.iter_mut().find(|(row, _)| of_it(row)) {
            row.events = row.events.saturating_add(finding.events);
            row.last_seq = finding.seq;
            row.last_happened = finding.at;
            continue;
        }
        let known = match window.is_zero() {
            true => None,
            false => app.store.alert_since(finding.rule, &finding.subject, since).await?,
        };
        match known {
            Some(known) => plan.more.push(MoreEvents {
                id: known.id,
                events: finding.events,
                seq: finding.seq,
                at: finding.at,
            }),
            None => plan.raise.push((row_of(app, &finding, now), finding.fields)),
        }
    }
    Ok(plan)
}

fn row_of(app: &App, finding: &Finding, now: Timestamp) -> AlertRow {
    AlertRow {
        id: AlertId::random(&app.random),
        rule: finding.rule,
        subject: finding.subject.clone(),
        title: finding.title.clone(),
        first_seq: finding.first_seq,
        last_seq: finding.seq,
        events: finding.in_window,
        happened: finding.at,
        last_happened: finding.at,
        raised: now,
        acknowledged: None,
        acknowledged_by: None,
        note: None,
    }
}

/// Writes the step with everything it brought; false when another node was faster.
async fn write(
    app: &App,
    step: &WatchStep<'_>,
    raise: Vec<(AlertRow, Vec<(&'static str, String)>)>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if raise.is_empty() {
        return app.store.advance_watch(step).await;
    }
    let mut tx = app.store.begin().await?;
    if !tx.advance_watch(step).await? {
        return Ok(false);
    }
    let mut alerts = Vec::new();
    for (row, fields) in raise {
        tx.insert_alert(&row).await?;
        tx.enqueue(&notice_of(NoticeId::random(&app.random), &row, fields), now).await?;
        tracing::warn!(alert.id = %row.id, rule = row.rule.word(), "an alert is raised");
        alerts.push(Raised { alert: row.id, rule: row.rule.word(), subject: row.subject });
    }
    tx.commit(now, AuditEvent::Telling(TellingEvent::AlertsRaised { alerts })).await?;
    Ok(true)
}

fn notice_of(id: NoticeId, row: &AlertRow, fields: Vec<(&'static str, String)>) -> Notice {
    let mut notice = Notice::new(id, NoticeKind::AlertRaised, row.title.clone())
        .with("alert", row.id.as_str())
        .with("rule", row.rule.word())
        .with("subject", row.subject.clone())
        .with("happened", row.happened.to_string())
        .with("events", row.events.to_string());
    for (name, value) in fields {
        notice = notice.with(name, value);
    }
    notice
        .with("audit", format!("{} to {}", row.first_seq, row.last_seq))
        .with("acknowledge", format!("caponier alerts ack {} --note TEXT", row.id))
}

/// Why an alert is not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AckRefused {
    /// There is none with this id.
    #[error("there is no such alert; `caponier alerts --all` lists them")]
    NotFound,
    /// Somebody was faster.
    #[error("{by} acknowledged it at {at} already")]
    Already {
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// The note is no note.
    #[error("say on one line, in 1 to {NOTE_MAX} characters, what you found or will do")]
    Note,
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `by` has looked at an alert and says what it was. Whether they may is decided by who calls this.
pub async fn acknowledge(
    store: &Store,
    id: &AlertId,
    by: &str,
    note: &str,
    now: Timestamp,
) -> Result<AlertRow, AckRefused> {
    let note = noted(note)?;
    let tx = store.begin().await?;
    write_acknowledged(store, tx, id, (by, note), now).await
}

/// The same, asked for by a signed request.
pub async fn acknowledge_signed(
    app: &App,
    by: &Auditor,
    id: &AlertId,
    note: &str,
) -> Result<AlertRow, AckRefused> {
    let note = noted(note)?;
    let person = by.person();
    let tx = begin_once(app, person.signed()).await?.ok_or(AckRefused::Replay)?;
    let who = person.caller().identity().reference();
    write_acknowledged(&app.store, tx, id, (&who, note), app.clock.now()).await
}

fn noted(note: &str) -> Result<&str, AckRefused> {
    let note = note.trim();
    let is_said = !note.is_empty() && note.chars().count() <= NOTE_MAX && !note.contains(char::is_control);
    if is_said { Ok(note) } else { Err(AckRefused::Note) }
}

async fn write_acknowledged(
    store: &Store,
    mut tx: Tx,
    id: &AlertId,
    (by, note): (&str, &str),
    now: Timestamp,
) -> Result<AlertRow, AckRefused> {
    if !tx.acknowledge_alert(id, by, note, now).await? {
        tx.leave().await?;
        let row = store.alert(id).await?.ok_or(AckRefused::NotFound)?;
        let (Some(by), Some(at)) = (row.acknowledged_by, row.acknowledged) else {
            return Err(AckRefused::NotFound);
        };
        return Err(AckRefused::Already { by, at });
    }
    let event =
        TellingEvent::AlertAcknowledged { alert: id.clone(), by: by.to_owned(), note: note.to_owned() };
    tx.commit(now, AuditEvent::Telling(event)).await?;
    store.alert(id).await?.ok_or(AckRefused::NotFound)
}

/// How fast things go, over some alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// Alerts looked at.
    pub alerts: usize,
    /// Those that nobody has acknowledged.
    pub open: usize,
    /// From the event to the alert, on average.
    pub to_detect: Option<Duration>,
    /// From the alert to somebody who acknowledges it, on average over those that were.
    pub to_acknowledge: Option<Duration>,
}

/// Mean times over these alerts.
pub fn means(rows: &[AlertRow]) -> Means {
    let mean = |spans: Vec<Duration>| {
        let count = u32::try_from(spans.len()).ok().filter(|count| *count > 0)?;
        Some(spans.iter().sum::<Duration>() / count)
    };
    let acknowledged = rows.iter().filter_map(|row| Some(row.acknowledged?.since(row.raised)));
    Means {
        alerts: rows.len(),
        open: rows.iter().filter(|row| row.acknowledged.is_none()).count(),
        to_detect: mean(rows.iter().map(|row| row.raised.since(row.happened)).collect()),
        to_acknowledge: mean(acknowledged.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AlertRule;
    use crate::random::Random;

    #[test]
    fn means_are_over_what_there_is() {
        assert_eq!(means(&[]), Means { alerts: 0, open: 0, to_detect: None, to_acknowledge: None });
        let at = Timestamp::from_secs;
        let row = |happened: u64, raised: u64, acknowledged: Option<u64>| AlertRow {
            id: AlertId::random(&Random::System),
            rule: AlertRule::HostKey,
            subject: "web1".into(),
            title: "x".into(),
            first_seq: 1,
            last_seq: 1,
            events: 1,
            happened: at(happened),
            last_happened: at(happened),
            raised: at(raised),
            acknowledged: acknowledged.map(at),
            acknowledged_by: None,
            note: None,
        };
        let rows = [row(100, 101, Some(161)), row(200, 203, Some(223)), row(300, 302, None)];
        let secs = Duration::from_secs;
        let expect = Means { alerts: 3, open: 1, to_detect: Some(secs(2)), to_acknowledge: Some(secs(40)) };
        assert_eq!(means(&rows), expect);
    }
}
