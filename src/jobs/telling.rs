//! Brings notices to their receivers, in the background. Each lane has its own loop and its own budget of attempts, so a
//! receiver that hangs holds up nobody in another lane.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alerts::deliver::Receivers;
use crate::app::App;
use crate::flow::tell;
use crate::store::Delivery;

/// How often the outbox is looked into.
const LOOK: Duration = Duration::from_millis(500);
/// How often what failed for too long is ended.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Attempts of one lane at the same time.
const ATTEMPTS_MAX: usize = 8;
/// How long attempts may go on after `stop`.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs until `stop`, and a little longer for attempts that are under way.
pub(super) async fn run(app: &App, stop: &CancellationToken) {
    if let Err(error) = tell::release(app).await {
        tracing::error!(%error, "deliveries in hand cannot be freed; they wait until their time is over");
    }
    let receivers = Arc::new(tell::receivers(app));
    let mut lanes = JoinSet::new();
    for name in tell::lanes_of(app) {
        lanes.spawn(lane(app.clone(), Arc::clone(&receivers), name, stop.clone()));
    }
    tokio::join!(spreading(app, stop), giving_up(app, stop));
    while lanes.join_next().await.is_some() {}
    if let Err(error) = tell::release(app).await {
        tracing::warn!(%error, "deliveries in hand cannot be freed");
    }
}

async fn spreading(app: &App, stop: &CancellationToken) {
    while pause(LOOK, stop).await {
        if let Err(error) = tell::spread(app).await {
            tracing::error!(%error, "new notices cannot be read");
        }
    }
}

async fn giving_up(app: &App, stop: &CancellationToken) {
    while pause(GIVE_UP, stop).await {
        if let Err(error) = tell::give_up(app).await {
            tracing::error!(%error, "notices that failed for too long cannot be ended");
        }
    }
}

/// False when `stop` came first.
async fn pause(span: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(span) => true,
    }
}

async fn lane(app: App, receivers: Arc<Receivers>, name: String, stop: CancellationToken) {
    let mut running = JoinSet::new();
    while !stop.is_cancelled() {
        let free = u32::try_from(ATTEMPTS_MAX.saturating_sub(running.len())).unwrap_or_default();
        if free > 0 {
            match tell::claim(&app, &name, free).await {
                Ok(claimed) => {
                    for delivery in claimed {
                        running.spawn(attempt(app.clone(), Arc::clone(&receivers), delivery));
                    }
                }
                Err(error) => tracing::error!(%error, lane = name, "the outbox cannot be read"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Some(ended) = running.join_next(), if !running.is_empty() => log(ended),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let draining = async {
        while let Some(ended) = running.join_next().await {
            log(ended);
        }
    };
    if tokio::time::timeout(DRAIN, draining).await.is_err() {
        tracing::debug!(lane = name, "attempts were cut short; the next node takes them up");
    }
    running.shutdown().await;
}

fn log(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an attempt to deliver a notice broke");
    }
}

async fn attempt(app: App, receivers: Arc<Receivers>, delivery: Delivery) {
    if let Err(error) = tell::attempt(&app, &receivers, &delivery).await {
        tracing::error!(%error, "what came of a delivery cannot be written down");
    }
}
