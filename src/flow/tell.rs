//! Brings notices to their receivers: writes a delivery for each, tries those that are due, waits longer after each
//! failure, and gives up after a day or what is configured, which is in the audit log and an alert. Any number of nodes do
//! this together over one store; each delivery is tried by one of them at a time.
//!
//! What this promises: a notice that was committed reaches each receiver at least once, and twice only when the receiver
//! took it and we could not write that down (it knows the id again); notices of one case reach each receiver in order.

use std::time::Duration;

use crate::alerts::deliver::{Receivers, Undelivered};
use crate::alerts::{lanes, pause, route};
use crate::app::App;
use crate::audit::{AuditEvent, TellingEvent};
use crate::store::{Delivery, StoreError};

/// For how long a delivery belongs to who tries it: longer than any attempt takes.
const LEASE: Duration = Duration::from_secs(90);
/// Notices that are spread at once.
const BATCH: u32 = 100;

/// Everything that notices are delivered with, as configured.
pub fn receivers(app: &App) -> Receivers {
    let bastion = app.config.ssh.host_names.first().map_or("localhost", |name| name.as_str());
    Receivers::of(&app.config.notify, bastion)
}

/// Every lane that this node serves.
pub fn lanes_of(app: &App) -> Vec<String> {
    lanes(&app.config.notify)
}

/// Frees what this node had in hand when it was stopped or killed.
pub async fn release(app: &App) -> Result<(), StoreError> {
    match app.store.release_deliveries(&app.node).await? {
        0 => {}
        count => tracing::info!(count, "deliveries of notices are free again"),
    }
    Ok(())
}

/// Writes the deliveries of new notices, by the configuration of now: a receiver that comes later gets no old ones.
/// Says how many notices there were.
pub async fn spread(app: &App) -> Result<usize, StoreError> {
    let queued = app.store.unspread(BATCH).await?;
    for one in &queued {
        let sinks = route(&app.config.notify, &one.notice);
        app.store.spread(&one.notice.id, &sinks, app.clock.now()).await?;
    }
    Ok(queued.len())
}

/// Takes up to `count` deliveries of a lane that are due.
pub async fn claim(app: &App, lane: &str, count: u32) -> Result<Vec<Delivery>, StoreError> {
    let now = app.clock.now();
    app.store.claim_deliveries(lane, &app.node, (now, now.plus(LEASE)), count).await
}

/// Tries a delivery that was claimed, and writes down what came of it.
pub async fn attempt(app: &App, receivers: &Receivers, delivery: &Delivery) -> Result<(), StoreError> {
    let queued = &delivery.queued;
    let sink = &delivery.sink.name;
    let said = receivers.deliver(sink, &queued.notice, queued.at, app.clock.now()).await;
    let now = app.clock.now();
    let problem = match said {
        Ok(()) => {
            tracing::debug!(notice.id = %queued.notice.id, sink, "delivered");
            return app.store.delivered(delivery, now).await;
        }
        Err(problem) => problem,
    };
    let asked = match &problem {
        Undelivered::Refused { retry_after, .. } => *retry_after,
        Undelivered::Unknown | Undelivered::Forbidden { .. } | Undelivered::Failed(_) => None,
    };
    let attempts = delivery.attempts;
    tracing::warn!(notice.id = %queued.notice.id, sink, attempts, %problem, "a notice was not delivered");
    let due = now.plus(pause(attempts, asked, app.random.u64()));
    app.store.postpone_delivery(delivery, &app.node, due, &problem.to_string()).await
}

/// Ends deliveries that have failed for too long, each with its entry in the audit log (which an alert rule reads); says
/// how many. Those that nobody ever tried, because their receiver is configured nowhere any more, end after twice the time.
pub async fn give_up(app: &App) -> Result<usize, StoreError> {
    let now = app.clock.now();
    let age = app.config.notify.give_up;
    let (before, untried) = (now.minus(age), now.minus(age.saturating_mul(2)));
    let mut count = 0;
    for delivery in app.store.overdue_deliveries((before, untried), now, BATCH).await? {
        let mut tx = app.store.begin().await?;
        if !tx.give_up_delivery(&delivery, now).await? {
            continue;
        }
        let sink = &delivery.sink.name;
        let notice = &delivery.queued.notice;
        tracing::error!(notice.id = %notice.id, sink, "a notice is given up");
        let event = TellingEvent::NoticeGivenUp {
            notice: notice.id.clone(),
            kind: notice.kind.word(),
            case: notice.case.clone(),
            sink: sink.clone(),
            attempts: delivery.attempts,
            problem: delivery.problem,
        };
        tx.commit(now, AuditEvent::Telling(event)).await?;
        count += 1;
    }
    Ok(count)
}

/// Forgets what was delivered (or given up) long ago; says how many rows went.
pub async fn forget(app: &App) -> Result<u64, StoreError> {
    app.store.sweep_notices(app.clock.now().minus(app.config.notify.keep)).await
}
