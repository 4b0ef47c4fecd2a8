//! Looks after the audit log, about as soon as something is written there. Which node does is decided in `flow::alert`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::alert::{self, Watch};

/// How often the log is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs until `stop`.
pub(super) async fn run(app: &App, stop: &CancellationToken) {
    let mut watch = Watch::default();
    loop {
        let read = match alert::look(app, &mut watch).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "rules for alerts cannot read the audit log");
                0
            }
        };
        // While there is more there is no rest.
        let rest = if read == 0 { LOOK } else { Duration::from_millis(10) };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(rest) => {}
        }
    }
    if let Err(error) = alert::leave(app).await {
        tracing::warn!(%error, "another node reads the audit log later than it could");
    }
}
