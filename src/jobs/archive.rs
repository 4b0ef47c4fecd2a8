//! Brings recordings to the archive and takes away those whose time is over, in the background.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::archive::Archiving;
use crate::store::StoreError;
use crate::time::Timestamp;

/// How often it is looked what there is to do.
const LOOK: Duration = Duration::from_secs(1);
/// How far back is looked for sessions that were closed: longer than any transaction takes. At start for all.
const BACK: Duration = Duration::from_secs(3600);

/// Runs until `stop`. An attempt under way is cut short then: the next start goes on with it.
pub(super) async fn run(app: &App, stop: &CancellationToken) {
    let archiving = match Archiving::of(app) {
        Ok(Some(archiving)) => archiving,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, "there is no archive: recordings stay here, and none is deleted");
            return;
        }
    };
    let working = async {
        if let Err(error) = archiving.start().await {
            tracing::error!(%error, "what waits for the archive cannot be read");
        }
        let mut since = Timestamp::from_secs(0);
        loop {
            let now = app.clock.now();
            match look(&archiving, since).await {
                Ok(true) => continue,
                Ok(false) => since = now.minus(BACK),
                Err(error) => tracing::error!(%error, "what there is to do for the archive cannot be read"),
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = working => {}
    }
}

/// Whether there may be more to do at once.
async fn look(archiving: &Archiving, since: Timestamp) -> Result<bool, StoreError> {
    let taken_up = archiving.take_up(since).await?;
    let uploaded = archiving.upload().await?;
    archiving.upload_parts().await?;
    // First: a copy that cannot be removed here must not put off for ever what is to go altogether.
    let deleted = archiving.delete_ended().await?;
    let removed = archiving.remove_local().await?;
    Ok(taken_up + uploaded + removed + deleted > 0)
}
