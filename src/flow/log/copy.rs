//! Keeping copies of the audit log: which entries a sink gets next, what is written down when it has them, when it has lost
//! some, and when it has been behind for too long. How entries get there is `audit::sink`'s.
//!
//! One node at a time writes to a sink; a file is each node's own, so there each has a place of its own in the log.

use std::time::Duration;

use super::{hash_of, lines};
use crate::app::App;
use crate::audit::chain::Head;
use crate::audit::export::Line;
use crate::audit::sink::{Sink, SinkError};
use crate::audit::{AuditEvent, LogEvent};
use crate::config::{AuditSink, SinkTo};
use crate::plain;
use crate::store::{SinkPlace, StoreError};

/// For how long one node writes alone; another takes over when it has been silent for so long. Longer than one attempt.
const LEASE: Duration = Duration::from_secs(90);
/// The lease is taken again when this much of it is left.
const LEASE_LEFT: Duration = Duration::from_secs(45);
/// Entries sent at once.
const BATCH: u32 = 500;
/// Bytes of fields sent at once, but for one entry alone.
const BATCH_BYTES: usize = 512 * 1024;

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another node writes there.
    Elsewhere,
    /// There was nothing to send.
    Idle,
    /// Entries were sent.
    Sent,
    /// It failed; the next attempt should wait.
    Failed,
}

/// One sink, and where this node stands with it.
pub struct Copying {
    config: AuditSink,
    /// Its row in the store.
    row: String,
    /// The way to it; none when it must be begun anew.
    sink: Option<Sink>,
    /// The last entry that was sent, with its hash.
    sent: Head,
    /// Until when this node writes alone.
    held_until: Option<crate::time::Timestamp>,
    place: SinkPlace,
    /// What the last attempt came to.
    problem: Option<String>,
    /// Whether it was said that it is behind.
    told: bool,
}

impl Copying {
    /// Of one sink of the configuration.
    pub fn new(app: &App, config: &AuditSink) -> Self {
        let row = match config.to {
            SinkTo::File(_) => format!("{}@{}", config.name, app.node),
            SinkTo::Syslog(_) | SinkTo::Http(_) => config.name.clone(),
        };
        Self {
            config: config.clone(),
            row,
            sink: None,
            sent: Head::none(),
            held_until: None,
            place: SinkPlace { started: 0, seq: 0, acknowledged: app.clock.now() },
            problem: None,
            told: false,
        }
    }

    /// The name of its row in the store.
    pub fn row(&self) -> &str {
        &self.row
    }

    /// Sends what is due, up to a batch, and writes down what the sink has.
    pub async fn turn(&mut self, app: &App) -> Result<Turn, StoreError> {
        if !self.hold(app).await? {
            self.sink = None;
            return Ok(Turn::Elsewhere);
        }
        let turn = match self.attempt(app).await {
            Ok(turn) => {
                self.problem = None;
                turn
            }
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Sink(error)) => {
                let problem = error.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        sink = self.config.name,
                        problem,
                        "entries of the audit log do not get there"
                    );
                }
                self.problem = Some(problem);
                self.sink = None;
                Turn::Failed
            }
        };
        self.judge(app).await?;
        Ok(turn)
    }

    /// Whether this node writes there.
    async fn hold(&mut self, app: &App) -> Result<bool, StoreError> {
        let now = app.clock.now();
        if self.held_until.is_some_and(|until| until > now.plus(LEASE_LEFT)) {
            return Ok(true);
        }
        let until = now.plus(LEASE);
        let held =
            app.store.hold_sink(&self.row, &app.node, (now, until), self.config.from_beginning).await?;
        self.held_until = held.map(|_| until);
        if let Some(place) = held {
            // Another node may have written there since.
            if place.seq != self.place.seq {
                self.sink = None;
            }
            self.place = place;
        }
        Ok(held.is_some())
    }

    async fn attempt(&mut self, app: &App) -> Result<Turn, Failure> {
        let mut sink = match self.sink.take() {
            Some(sink) => sink,
            None => self.begin(app).await?,
        };
        let due = self.due(app).await?;
        let turn = match due.last() {
            None => Turn::Idle,
            Some(last) => {
                let head = Head { seq: last.seq, hash: last.hash.clone().unwrap_or_default() };
                sink.send(&due, app.clock.now()).await?;
                self.sent = head;
                Turn::Sent
            }
        };
        if let Some(seq) = sink.acknowledged().await?
            && seq > self.place.seq
        {
            let now = app.clock.now();
            if !app.store.move_sink(&self.row, &app.node, seq, now).await? {
                self.held_until = None;
                return Ok(Turn::Elsewhere);
            }
            self.place = SinkPlace { seq, acknowledged: now, ..self.place };
        }
        self.sink = Some(sink);
        Ok(turn)
    }

    /// Opens the way, and finds where to go on.
    async fn begin(&mut self, app: &App) -> Result<Sink, Failure> {
        let mut sink = Sink::of(&self.config, &app.node);
        let had = self.place.seq;
        let Some(has) = sink.has().await? else {
            self.sent = Head { seq: had, hash: hash_of(&app.store, had).await? };
            return Ok(sink);
        };
        let is_ours = has.seq == 0
            || (has.seq <= app.store.audit_end().await? && hash_of(&app.store, has.seq).await? == has.hash);
        if !is_ours {
            let why = format!(
                "its last entry, {}, is not that of this log: move the copy away, and a new one is begun",
                has.seq
            );
            return Err(SinkError::Foreign(why).into());
        }
        let begun = if has.seq == 0 { self.place.started } else { has.seq };
        if begun < had {
            let why = format!("it ends with entry {}, and it had entry {had}", has.seq);
            tracing::error!(sink = self.config.name, "a copy of the audit log was cut or replaced: {why}");
            let event = LogEvent::SinkGap { sink: self.row.clone(), has: has.seq, had, why };
            app.store.note(app.clock.now(), AuditEvent::Log(event)).await?;
        }
        if begun != had {
            let now = app.clock.now();
            app.store.move_sink(&self.row, &app.node, begun, now).await?;
            self.place = SinkPlace { seq: begun, acknowledged: now, ..self.place };
        }
        self.sent = Head { seq: begun, hash: hash_of(&app.store, begun).await? };
        Ok(sink)
    }

    /// What comes next.
    async fn due(&self, app: &App) -> Result<Vec<Line>, StoreError> {
        let mut due = lines(&app.store, self.sent.seq, Some(self.sent.hash.clone()), BATCH).await?;
        let mut bytes = 0;
        let fits = due.iter().take_while(|line| {
            bytes += line.json.len();
            bytes <= BATCH_BYTES
        });
        let fits = fits.count().max(1);
        due.truncate(fits);
        Ok(due)
    }

    /// Says when the sink has been behind for too long, and when it has caught up.
    async fn judge(&mut self, app: &App) -> Result<(), StoreError> {
        let next = app.store.audit(self.place.seq, 1).await?.into_iter().next();
        let now = app.clock.now();
        let Some(next) = next else {
            if std::mem::take(&mut self.told) {
                let event = LogEvent::SinkCaughtUp { sink: self.row.clone(), seq: self.place.seq };
                app.store.note(now, AuditEvent::Log(event)).await?;
            }
            return Ok(());
        };
        let since = next.at.max(self.place.acknowledged);
        let late = self.config.behind_max + Sink::settles_in(&self.config);
        if self.told || now.since(since) <= late {
            return Ok(());
        }
        let problem = self.problem.clone().unwrap_or_else(|| "it is slower than the log".into());
        let event = LogEvent::SinkBehind {
            sink: self.row.clone(),
            seq: self.place.seq,
            end: app.store.audit_end().await?,
            since,
            problem: plain::line(&problem, 300),
        };
        app.store.note(now, AuditEvent::Log(event)).await?;
        self.told = true;
        Ok(())
    }
}

enum Failure {
    Store(StoreError),
    Sink(SinkError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// Lets other nodes write, at the end of this one.
pub async fn leave(app: &App) -> Result<(), StoreError> {
    app.store.release_sinks(&app.node).await
}
