//! The SSH door, and the only home of russh (but for the targets of the demo).
//!
//! `outer` answers TCP clients, `inner` the second handshake inside a jump, both through `door`; `desk` collects what
//! is asked for on session channels; `session` runs one; `upstream` is the way to the target; `relay` moves bytes;
//! `backlog` and `pressure` keep them bounded; `wire` and `limits` say how we speak and how much.

mod assist;
mod backlog;
mod desk;
mod door;
mod inner;
mod jump;
mod limits;
mod outer;
mod overheard;
mod pressure;
mod relay;
mod session;
mod shared;
mod upstream;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::MethodKind;
use russh::keys::ssh_key::PrivateKey;
use russh::server;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::audit::AuditEvent;
use crate::flow::end_sign_in;
use door::Door;
use outer::{Outer, Pairing};
use overheard::Overheard;
use pressure::{Brake, Paced, Pressure};
use shared::Shared;

/// How often the store is asked which sign-ins have ended, while sessions are open.
const ENDED_POLL: Duration = Duration::from_millis(500);

/// Serves SSH on `listener` until `stop` is cancelled; then tells the sessions, gives them [`limits::DRAIN`], and joins.
pub async fn serve(app: App, host_key: PrivateKey, listener: TcpListener, stop: CancellationToken) {
    overheard::install();
    let drain = CancellationToken::new();
    let connections_end = CancellationToken::new();
    let shared = Arc::new(Shared::new(app, host_key, drain.clone()));
    let tasks = TaskTracker::new();
    let watcher = tasks.spawn(watch_sign_ins(Arc::clone(&shared), stop.clone()));
    let open = Arc::new(Semaphore::new(shared.app.config.ssh.connections_max));
    let unauthenticated = Arc::new(Semaphore::new(shared.app.config.ssh.unauthenticated_max));
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
        let permits =
            (Arc::clone(&open).try_acquire_owned(), Arc::clone(&unauthenticated).try_acquire_owned());
        let (Ok(place), Ok(waiting)) = permits else {
            tracing::warn!(from = %peer, "connection refused: too many are open");
            continue;
        };
        let shared = Arc::clone(&shared);
        let kill = connections_end.child_token();
        tasks.spawn(async move {
            connection(shared, stream, peer, waiting, kill).await;
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

/// One TCP client, from the first byte to the last.
async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    waiting: tokio::sync::OwnedSemaphorePermit,
    kill: CancellationToken,
) {
    let _killed_at_end = kill.clone().drop_guard();
    let from = peer.ip().to_canonical();
    let grace = shared.app.config.ssh.login_grace;
    let names = shared.app.config.ssh.host_names.clone();
    let certificate = match shared.host_certificate(&names).await {
        Ok(certificate) => certificate,
        Err(error) => return tracing::error!(%error, "no host certificate for the bastion"),
    };
    let Ok(socket) = wire::Socket::new(stream) else { return };
    let config = wire::server(
        &shared.host_key,
        certificate,
        &[MethodKind::PublicKey, MethodKind::KeyboardInteractive],
    );
    let pressure = Arc::new(Pressure::default());
    let authenticated = CancellationToken::new();
    let pairing = Arc::new(Pairing::default());
    let overheard = Arc::new(Overheard::default());
    let paced = Paced::new(socket, Brake::Client(Arc::clone(&pressure), Arc::clone(&overheard)), &kill);
    let outer = Outer::new(
        Arc::clone(&shared),
        from,
        pressure,
        kill.clone(),
        authenticated.clone(),
        Arc::clone(&pairing),
    );
    let started = timeout(grace, server::run_stream(config, paced, Door::Outer(Box::new(outer)))).await;
    let running = match started {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return tracing::debug!(%from, %error, "not an SSH client"),
        Err(_) => return tracing::debug!(%from, "an SSH client said nothing"),
    };
    tokio::pin!(running);
    let login = async {
        inner::grace(&authenticated, grace).await;
        if pairing.begun.load(Ordering::Relaxed) {
            inner::grace(&authenticated, limits::PAIRING_MAX).await;
        }
    };
    let mut waiting = Some(waiting);
    tokio::pin!(login);
    let result = loop {
        tokio::select! {
            result = &mut running => break result,
            () = authenticated.cancelled(), if waiting.is_some() => drop(waiting.take()),
            () = &mut login => {
                tracing::info!(%from, "nobody logged in within the grace time");
                kill.cancel();
                break (&mut running).await;
            }
        }
    };
    let mut refused: Vec<(&str, String)> =
        overheard.take().into_iter().map(|refusal| (refusal.code, refusal.reason.to_owned())).collect();
    if let Err(error) = result {
        tracing::debug!(%from, %error, "a connection ended with an error");
        if !authenticated.is_cancelled()
            && matches!(error, russh::Error::SshKey(_) | russh::Error::SshEncoding(_))
        {
            refused.push(("malformed", format!("the credential cannot be read: {error}")));
        }
    }
    for (code, reason) in refused {
        note_refused(&shared.app, code, reason, from).await;
    }
    if let Some(id) = pairing.sign_in.get()
        && let Err(error) = end_sign_in::end(&shared.app, id, "bastion", "its connection ended").await
    {
        tracing::error!(%error, sign_in = %id, "the sign-in of a connection could not be ended");
    }
}

/// Audits a credential that russh refused before we saw it.
async fn note_refused(app: &App, code: &'static str, reason: String, from: std::net::IpAddr) {
    let event = AuditEvent::CredentialRefused {
        what: "certificate",
        claimed: "(refused before it was read)".into(),
        code,
        reason,
        from: from.to_string(),
    };
    if let Err(error) = app.store.note(app.clock.now(), event).await {
        tracing::error!(%error, "a refusal could not be audited");
    }
}

/// Closes the sessions of sign-ins that have ended, whoever ended them: this process, another one, or the command line.
async fn watch_sign_ins(shared: Arc<Shared>, stop: CancellationToken) {
    let app = &shared.app;
    let mut since = app.clock.now();
    let mut ended_here = app.desk.ended();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // What this process ends is known at once. A receiver that lagged asks the store, like the clock.
            ended = ended_here.recv() => if let Ok(id) = ended {
                shared.sign_in_ended(&id);
                continue;
            },
            () = tokio::time::sleep(ENDED_POLL) => {}
        }
        let now = app.clock.now();
        if !shared.has_sessions() {
            since = now;
            continue;
        }
        // Asking a little into the past costs nothing and covers clocks that differ between nodes.
        match app.store.sign_ins_ended_since(since.minus(Duration::from_secs(10))).await {
            Ok(ended) => {
                ended.iter().for_each(|id| shared.sign_in_ended(id));
                since = now;
            }
            Err(error) => tracing::error!(%error, "cannot see which sign-ins have ended"),
        }
    }
}
