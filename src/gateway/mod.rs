//! The SSH door, and the only home of russh (but for the targets of the demo).
//!
//! `connection` is one TCP client's; `outer` answers it, `inner` the second handshake inside a jump, both through `door`; `desk` collects what
//! is asked for on session channels; `session` runs one, which `wait`s for access where it may; `forward` is everything that is forwarded; `upstream` is the way to the
//! target; `relay` moves bytes, those of sftp through `file_guard`; `client_end` takes the client's;
//! `backlog` and `pressure` keep them bounded; `wire` and `limits` say how we speak and how much.

mod assist;
mod backlog;
mod client_end;
mod connection;
mod desk;
mod door;
mod file_guard;
mod forward;
mod hold;
mod inner;
mod jump;
mod limits;
mod outer;
mod overheard;
mod places;
mod pressure;
mod relay;
mod session;
mod shared;
mod shares;
mod upstream;
mod wait;
mod warn;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::PrivateKey;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use shared::Shared;

/// How often the store is asked which sign-ins have ended, while sessions are open.
const ENDED_POLL: Duration = Duration::from_millis(500);
/// How long it may take to answer.
const ENDED_PATIENCE: Duration = Duration::from_secs(10);
/// How long sessions go on while it does not say so.
const ENDED_UNSEEN_MAX: Duration = Duration::from_secs(30);

/// Serves SSH on `listener` until `stop` is cancelled; then tells the sessions, gives them `limits::DRAIN`, and joins.
pub async fn serve(app: App, host_key: PrivateKey, listener: TcpListener, stop: CancellationToken) {
    overheard::install();
    let drain = CancellationToken::new();
    let connections_end = CancellationToken::new();
    let shared = Arc::new(Shared::new(app, host_key, drain.clone()));
    let tasks = TaskTracker::new();
    let watcher = tasks.spawn(watch_sign_ins(Arc::clone(&shared), stop.clone()));
    let open = Arc::new(Semaphore::new(shared.app.config.ssh.connections_max));
    let unauthenticated = Arc::new(places::Places::new(shared.app.config.ssh.unauthenticated_max));
    let (mut refused, mut logged) = (0, None::<Instant>);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to come back.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let kill = connections_end.child_token();
        let (Ok(place), Some(waiting)) =
            (Arc::clone(&open).try_acquire_owned(), unauthenticated.take(peer.ip(), &kill))
        else {
            refused += 1;
            if logged.is_none_or(|at| at.elapsed() >= limits::REFUSALS_LOGGED) {
                tracing::warn!(from = %peer, connections = refused, "connections refused: too many are open");
                (refused, logged) = (0_u64, Some(Instant::now()));
            }
            continue;
        };
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            connection::serve(shared, stream, peer, waiting, kill).await;
            drop(place);
        });
    }
    drop(listener);
    drain.cancel();
    shared.sessions.close();
    if timeout(limits::DRAIN, shared.sessions.wait()).await.is_err() {
        tracing::warn!(sessions = shared.sessions.len(), "some sessions did not end in time");
    }
    connections_end.cancel();
    tasks.close();
    if timeout(limits::DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "some connections did not end in time");
    }
    watcher.abort();
}

/// Closes the sessions of sign-ins that have ended, whoever ended them: this process, another one, or the command line.
/// When that cannot be seen for [`ENDED_UNSEEN_MAX`], all of them: unknown means no.
async fn watch_sign_ins(shared: Arc<Shared>, stop: CancellationToken) {
    let app = &shared.app;
    let mut ended_here = app.desk.ended();
    let mut polls = tokio::time::interval(ENDED_POLL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // What this process ends is known at once. A receiver that lagged asks the store, like the clock.
            ended = ended_here.recv() => if let Ok(id) = ended {
                shared.sign_in_ended(&id);
                continue;
            },
            _ = polls.tick() => {}
        }
        let held = shared.live_sign_ins();
        let asked = Instant::now();
        match timeout(ENDED_PATIENCE, app.store.sign_ins_not_ended(&held)).await {
            Ok(Ok(live)) => {
                seen = asked;
                held.iter().filter(|id| !live.contains(id)).for_each(|id| shared.sign_in_ended(id));
            }
            Ok(Err(error)) => tracing::error!(%error, "cannot see which sign-ins have ended"),
            Err(_) => tracing::error!("cannot see which sign-ins have ended: the store does not answer"),
        }
        if seen.elapsed() >= ENDED_UNSEEN_MAX {
            tracing::error!(
                sign_ins = held.len(),
                "which sign-ins have ended cannot be seen; closing all sessions"
            );
            held.iter().for_each(|id| shared.sign_in_ended(id));
        }
    }
}
