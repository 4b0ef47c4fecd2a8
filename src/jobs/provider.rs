//! Has the providers asked again, by the clock, about everybody who is signed in.

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::recheck;

/// Runs until `stop`.
pub(super) async fn watch(app: App, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = recheck::describe(&app) => {}
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(recheck::wait(&app.config.checks)) => {}
        }
        // A question that was asked is not broken off: its answer may hold the only token for the next one.
        match recheck::all_due(&app).await {
            Ok(0) => {}
            Ok(asked) => tracing::debug!(asked, "providers were asked about sign-ins"),
            Err(error) => tracing::error!(%error, "providers could not be asked about sign-ins"),
        }
    }
}
