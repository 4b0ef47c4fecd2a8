//! Reloads the policy when its files change, or when SIGHUP asks for it.
//!
//! Files are looked at, not subscribed to: that works on every file system, with editors that replace and folders
//! that are swapped. A change counts when two looks in a row see the same, so a file that is just being written is
//! not read half; and even then `flow::reload` takes all of it or nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::reload::{Reloaded, reload};
use crate::policy;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(300);

/// What can be seen of the files without reading them: path, inode, size, time of change.
type Sight = Vec<(PathBuf, u64, u64, i64, i64)>;

/// Runs until `stop`.
pub(super) async fn watch(app: App, stop: CancellationToken) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!(%error, "SIGHUP cannot be heard; the policy is not reloaded"),
    };
    let path = app.config.policy_file.clone();
    // What was read at start may be older than this first look, so it counts as a change; an unchanged file is no news.
    let mut read: Sight = Vec::new();
    let mut before = look(path.clone()).await;
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let now = look(path.clone()).await;
        let settled = now == before && now != read;
        before.clone_from(&now);
        if !asked && !settled {
            continue;
        }
        match reload(&app).await {
            Ok(Reloaded::Unchanged) if asked => tracing::info!("the policy is unchanged"),
            Ok(Reloaded::Unchanged) => {}
            Ok(Reloaded::Changed) => {
                tracing::info!(digest = %app.policy().digest, "another policy is in force")
            }
            Ok(Reloaded::Refused(problems)) => {
                for problem in &problems {
                    tracing::error!(%problem, "the policy is wrong");
                }
                tracing::error!("the policy in force stays; run: caponier policy check");
            }
            Err(error) => {
                // Not taken as read: the next look tries again.
                tracing::error!(%error, "the policy was not reloaded: that could not be written to the audit log");
                continue;
            }
        }
        read = now;
    }
}

/// Nothing where nothing can be seen; reading says why.
async fn look(path: PathBuf) -> Sight {
    let looking = tokio::task::spawn_blocking(move || {
        let files = policy::file::files(&path).unwrap_or_default();
        let seen = files.into_iter().map(|file| match std::fs::metadata(&file) {
            Ok(meta) => (file, meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()),
            Err(_) => (file, 0, 0, 0, 0),
        });
        seen.collect()
    });
    looking.await.unwrap_or_default()
}
