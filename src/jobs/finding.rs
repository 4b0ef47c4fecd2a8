//! Reads recordings for searching soon after their sessions are closed, one after the other. What that means is `flow::find`'s.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::find;

/// How often it is looked for closed sessions.
const LOOK: Duration = Duration::from_secs(2);

/// Runs until `stop`.
pub(super) async fn run(app: &App, stop: &CancellationToken) {
    loop {
        let more = match stop.run_until_cancelled(find::read_some(app)).await {
            None => return,
            Some(Ok(more)) => more,
            Some(Err(error)) => {
                tracing::error!(%error, "what recordings can be searched for cannot be written");
                false
            }
        };
        if more {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
