//! Requests and grants whose time has come, and what other processes took away: looked at twice a second.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::{answer, change, finish};

/// How often.
const LOOK: Duration = Duration::from_millis(400);

/// Runs until `stop`.
pub(super) async fn watch(app: App, stop: CancellationToken) {
    let mut seen = None;
    loop {
        let before = seen;
        seen = match follow(&app, before).await {
            Ok(now) => Some(now),
            Err(error) => {
                tracing::error!(%error, "cannot see what other processes took away");
                before
            }
        };
        if let Err(error) = answer::elapse(&app).await {
            tracing::error!(%error, "requests cannot be looked at");
        }
        if let Err(error) = finish::settle(&app).await {
            tracing::error!(%error, "what runs that are over had open cannot be closed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// From the end of the log on at first; whoever holds access when this begins was judged after that.
async fn follow(app: &App, seen: Option<u64>) -> Result<u64, crate::store::StoreError> {
    match seen {
        Some(seq) => change::follow(app, seq).await,
        None => change::end_of_log(app).await,
    }
}
