//! One TCP client's connection as a whole: its deadlines, its places, and what is written down when it is over.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use russh::{MethodKind, server};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::outer::{Outer, Pairing};
use super::overheard::Overheard;
use super::places::Place;
use super::pressure::{Brake, Paced, Pressure};
use super::shared::Shared;
use super::{inner, limits, wire};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::flow::end_sign_in;

/// One TCP client, from the first byte to the last.
pub(super) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    waiting: Place,
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
        Arc::clone(&overheard),
        kill.clone(),
        authenticated.clone(),
        Arc::clone(&pairing),
    );
    let first = grace.min(limits::FIRST_REQUEST);
    let started = timeout(first, server::run_stream(config, paced, Door::Outer(Box::new(outer)))).await;
    let running = match started {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return tracing::debug!(%from, %error, "not an SSH client"),
        Err(_) => return tracing::debug!(%from, "an SSH client said nothing"),
    };
    tokio::pin!(running);
    let login = async {
        tokio::select! {
            () = inner::grace(&pairing.asked, first) => {}
            () = inner::grace(&authenticated, grace) => {
                if pairing.begun.load(Ordering::Relaxed) {
                    inner::grace(&authenticated, limits::PAIRING_MAX).await;
                }
            }
        }
    };
    let mut waiting = Some(waiting);
    let signed_out = signed_out(&shared, &authenticated, &pairing);
    tokio::pin!(login, signed_out);
    let result = loop {
        tokio::select! {
            result = &mut running => break result,
            () = authenticated.cancelled(), if waiting.is_some() => drop(waiting.take()),
            () = &mut login => {
                tracing::info!(%from, "nobody logged in within the grace time");
                kill.cancel();
                break (&mut running).await;
            }
            () = &mut signed_out => {
                kill.cancel();
                break (&mut running).await;
            }
        }
    };
    aftermath(&shared.app, result, authenticated.is_cancelled(), &overheard, &pairing, from).await;
}

/// Ready when the sign-in of whoever is recognised has ended, and the sessions have had time to say so.
async fn signed_out(shared: &Shared, authenticated: &CancellationToken, pairing: &Pairing) {
    authenticated.cancelled().await;
    let Some((id, expires)) = pairing.who.get() else { return };
    let watch = shared.watch_sign_in(id);
    tokio::select! {
        () = watch.ended.cancelled() => {}
        () = sleep(expires.since(shared.app.clock.now())) => {}
    }
    sleep(limits::SIGN_IN_FAREWELL).await;
}

/// What is left to write down when a connection is over: refusals that only the log told of, and the end of a sign-in
/// that was made for this connection.
async fn aftermath(
    app: &App,
    result: Result<(), russh::Error>,
    recognised: bool,
    overheard: &Overheard,
    pairing: &Pairing,
    from: IpAddr,
) {
    let mut refused: Vec<(&str, String)> =
        overheard.take().into_iter().map(|refusal| (refusal.code, refusal.reason.to_owned())).collect();
    if let Err(error) = result {
        tracing::debug!(%from, %error, "a connection ended with an error");
        if !recognised && matches!(error, russh::Error::SshKey(_) | russh::Error::SshEncoding(_)) {
            refused.push(("malformed", format!("the credential cannot be read: {error}")));
        }
    }
    for (code, reason) in refused {
        note_refused(app, code, reason, from).await;
    }
    if let Some(id) = pairing.sign_in.get()
        && let Err(error) = end_sign_in::end(app, id, "bastion", "its connection ended").await
    {
        tracing::error!(%error, sign_in = %id, "the sign-in of a connection could not be ended");
    }
}

/// Audits a credential that russh refused before we saw it.
async fn note_refused(app: &App, code: &'static str, reason: String, from: IpAddr) {
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
