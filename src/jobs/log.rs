//! Signs the audit log, every so often, and keeps its copies elsewhere. Each sink has its own loop, so one that hangs holds up no other.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::AuditSink;
use crate::flow::log::checkpoint::Keeper;
use crate::flow::log::copy::{self, Copying, Turn};

/// How often a sink that has everything looks for more.
const LOOK: Duration = Duration::from_millis(500);
/// How often another node's sink is looked after.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// The first wait after a failure; each is twice the one before.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// Runs until `stop`. The last checkpoint is the server's matter: doors and jobs write up to their end.
pub(super) async fn run(app: &App, stop: &CancellationToken) {
    let mut sinks = JoinSet::new();
    for sink in &app.config.audit.sinks {
        sinks.spawn(keep_copy(app.clone(), sink.clone(), stop.clone()));
    }
    sign(app, stop).await;
    while sinks.join_next().await.is_some() {}
    if let Err(error) = copy::leave(app).await {
        tracing::warn!(%error, "another node copies the audit log later than it could");
    }
}

async fn sign(app: &App, stop: &CancellationToken) {
    let mut keeper = Keeper::default();
    loop {
        if let Err(error) = keeper.keep(app).await {
            tracing::error!(%error, "the audit log cannot be signed");
        }
        if !pause(app.config.audit.checkpoint_every, stop).await {
            return;
        }
    }
}

async fn keep_copy(app: App, sink: AuditSink, stop: CancellationToken) {
    let mut copying = Copying::new(&app, &sink);
    let mut again = AGAIN;
    loop {
        // An attempt is cut short at the end: what it sent and nobody wrote down is sent again.
        let turn = tokio::select! {
            () = stop.cancelled() => return,
            turn = copying.turn(&app) => turn,
        };
        let turn = turn.unwrap_or_else(|error| {
            tracing::error!(%error, sink = sink.name, "the audit log cannot be copied");
            Turn::Failed
        });
        let rest = match turn {
            Turn::Sent => Duration::ZERO,
            Turn::Idle => LOOK,
            Turn::Elsewhere => ELSEWHERE,
            Turn::Failed => again,
        };
        again = if turn == Turn::Failed { (again * 2).min(AGAIN_MAX) } else { AGAIN };
        if !pause(rest, &stop).await {
            return;
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
