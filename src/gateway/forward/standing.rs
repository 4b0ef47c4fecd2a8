//! What stands open by a permit that may be taken away: every open forward, listener, agent and display is in one book, so
//! that all can be judged again when the policy changes. Each is also judged again when the hours of its role end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::flow::authorize::{self, Permit};

/// The book of one gateway.
#[derive(Default)]
pub(in crate::gateway) struct Book {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    permits: HashMap<u64, (Permit, CancellationToken)>,
}

impl Book {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters what a permit opens; it is struck out when the answer is dropped.
    pub(in crate::gateway) fn enter(&self, permit: Permit) -> Standing<'_> {
        let revoked = CancellationToken::new();
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.permits.insert(number, (permit.clone(), revoked.clone()));
        Standing { book: self, number, permit, revoked }
    }

    /// Judges everything in the book again, by the policy that holds now, and ends what is not allowed any more. Returns
    /// how many those are. An answer that cannot be had is a no.
    pub(in crate::gateway) async fn judge_again(&self, app: &App) -> usize {
        let all: Vec<(Permit, CancellationToken)> = self.open().permits.values().cloned().collect();
        let mut ended = 0;
        for (permit, revoked) in all {
            if !stands(app, &permit).await {
                revoked.cancel();
                ended += 1;
            }
        }
        ended
    }
}

/// One entry.
pub(in crate::gateway) struct Standing<'b> {
    book: &'b Book,
    number: u64,
    permit: Permit,
    revoked: CancellationToken,
}

impl Standing<'_> {
    /// Cancelled when the policy takes it away.
    pub(in crate::gateway) fn revoked(&self) -> &CancellationToken {
        &self.revoked
    }

    /// Ready when the permit stands no more.
    pub(in crate::gateway) async fn falls(&mut self, app: &App) {
        loop {
            let hours = self.permit.until().map(|until| until.since(app.clock.now()));
            tokio::select! {
                () = self.revoked.cancelled() => return,
                () = after(hours) => match authorize::again(app, &self.permit).await {
                    Ok(Ok(permit)) => self.permit = permit,
                    Ok(Err(_)) => return,
                    Err(error) => {
                        tracing::error!(%error, "a forward cannot be judged again; it ends");
                        return;
                    }
                }
            }
        }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.book.open().permits.remove(&self.number);
    }
}

async fn after(time: Option<std::time::Duration>) {
    match time {
        // Clocks count in milliseconds: a moment more, so that the end has come for the policy as well.
        Some(time) => tokio::time::sleep(time + std::time::Duration::from_millis(5)).await,
        None => std::future::pending().await,
    }
}

async fn stands(app: &App, permit: &Permit) -> bool {
    match authorize::again(app, permit).await {
        Ok(answer) => answer.is_ok(),
        Err(error) => {
            tracing::error!(%error, "a forward cannot be judged again; it ends");
            false
        }
    }
}
