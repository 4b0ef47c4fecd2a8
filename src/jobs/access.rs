//! Requests and grants whose time has come, and what other processes took away: looked at twice a second, each by itself, so
//! that neither waits for the other.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::{answer, change, finish};

/// How often.
const LOOK: Duration = Duration::from_millis(400);
/// How long nobody may know what other processes took away; then all that is open is judged again, and so from then on.
const UNSEEN_MAX: Duration = Duration::from_secs(30);
const UNSEEN_AGAIN: Duration = Duration::from_secs(10);

/// Runs until `stop`. `seen` is where the audit log ended before the doors opened: what was taken away since then may be
/// something that was permitted since then.
pub(super) async fn watch(app: App, seen: u64, stop: CancellationToken) {
    tokio::join!(follow(&app, seen, &stop), elapse(&app, &stop));
}

async fn follow(app: &App, mut seen: u64, stop: &CancellationToken) {
    let mut unseen = Unseen::default();
    loop {
        match change::follow(app, seen).await {
            Ok(now) => {
                seen = now;
                unseen = Unseen::default();
            }
            Err(error) => {
                tracing::error!(%error, "cannot see what other processes took away");
                if unseen.is_too_long(Instant::now()) {
                    change::suspect(app);
                }
            }
        }
        if !super::pause(stop, LOOK).await {
            return;
        }
    }
}

async fn elapse(app: &App, stop: &CancellationToken) {
    loop {
        if let Err(error) = answer::elapse(app).await {
            tracing::error!(%error, "requests cannot be looked at");
        }
        if let Err(error) = finish::settle(app).await {
            tracing::error!(%error, "what runs that are over had open cannot be closed");
        }
        if !super::pause(stop, LOOK).await {
            return;
        }
    }
}

/// Since when nothing was seen, and when something was done about it last.
#[derive(Debug, Default)]
struct Unseen {
    since: Option<Instant>,
    told: Option<Instant>,
}

impl Unseen {
    /// Whether something is to be done about it now; to be asked each time when nothing was seen.
    fn is_too_long(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let told_lately = self.told.is_some_and(|told| now - told < UNSEEN_AGAIN);
        if now - since < UNSEEN_MAX || told_lately {
            return false;
        }
        self.told = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_see_for_long_judges_anew() {
        let mut unseen = Unseen::default();
        let began = Instant::now();
        let rows = [(0, false), (29, false), (30, true), (31, false), (39, false), (40, true), (55, true)];
        for (secs, expect) in rows {
            assert_eq!(unseen.is_too_long(began + Duration::from_secs(secs)), expect, "{secs}");
        }
    }
}
