//! The clock's door: what happens because time has passed, or because somebody changed a file meanwhile.

mod access;
mod alerts;
mod archive;
mod evidence;
mod finding;
mod log;
mod policy;
mod provider;
mod telling;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::sweep;

/// How often void rows are swept away.
const SWEEP: Duration = Duration::from_secs(60);

/// Runs until `stop`. `seen` is where the audit log ended before the doors opened (`change::end_of_log`).
pub async fn run(app: App, seen: u64, stop: CancellationToken) {
    tokio::join!(
        sweeping(&app, &stop),
        policy::watch(app.clone(), stop.clone()),
        access::watch(app.clone(), seen, stop.clone()),
        provider::watch(app.clone(), stop.clone()),
        telling::run(&app, &stop),
        alerts::run(&app, &stop),
        archive::run(&app, &stop),
        evidence::run(&app, &stop),
        finding::run(&app, &stop),
        log::run(&app, &stop)
    );
}

async fn sweeping(app: &App, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(SWEEP) => {}
        }
        match sweep::sweep(app).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "swept void rows"),
            Err(error) => tracing::error!(%error, "sweeping failed"),
        }
    }
    if let Err(error) = sweep::last(app).await {
        tracing::error!(%error, "the last sweep failed");
    }
}

/// False when it is time to stop.
async fn pause(stop: &CancellationToken, pause: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}
