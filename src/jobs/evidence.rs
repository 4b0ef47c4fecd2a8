//! How far recordings have come is told every few seconds, and the disk is looked at.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::evidence::{self, Untold};

/// How often checkpoints are told of.
const CHECKPOINTS: Duration = Duration::from_secs(5);
/// How often the disk is looked at.
const DISK: Duration = Duration::from_secs(2);

pub(super) async fn run(app: &App, stop: &CancellationToken) {
    tokio::join!(checkpoints(app, stop), disk(app, stop));
}

async fn checkpoints(app: &App, stop: &CancellationToken) {
    let mut untold = Untold::default();
    while super::pause(stop, CHECKPOINTS).await {
        if let Err(error) = evidence::checkpoint(app, &mut untold).await {
            tracing::error!(%error, "checkpoints of recordings cannot be told to the audit log yet");
        }
    }
}

async fn disk(app: &App, stop: &CancellationToken) {
    let mut full = false;
    while super::pause(stop, DISK).await {
        match evidence::look_at_disk(app, full).await {
            Ok(now) => full = now,
            Err(error) => tracing::error!(%error, "a full disk cannot be written down"),
        }
    }
}
