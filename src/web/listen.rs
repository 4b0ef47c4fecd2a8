//! Serves connections: TLS when configured, a deadline for every step a client can dawdle in, caps on everything a
//! client can have many of. What is asked and answered is the matter of `pages` and `table`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::address::Peer;
use super::{error, html, logout, pages, table, webhook};
use crate::app::App;
use crate::config;
use crate::place::area;

/// Connections at once.
const CONNECTIONS_MAX: usize = 512;
/// Connections at once of one peer (IPv6: of its /64), unless it is a trusted proxy.
const CONNECTIONS_OF_ONE_MAX: usize = 64;
/// Requests worked on at once, pages and API each.
const REQUESTS_MAX: usize = 64;
/// Largest body of a request, in bytes.
const BODY_MAX: usize = 16 * 1024;
/// The same for what platforms send: they tell everything of a repository with every event.
const WEBHOOK_MAX: usize = 512 * 1024;
/// A body that is too long for every one of our readers.
static TOO_LONG: [u8; WEBHOOK_MAX + 1] = [0; WEBHOOK_MAX + 1];
/// Largest head of a request, in bytes (a cookie, the provider's code, a signature).
const HEAD_MAX: usize = 32 * 1024;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(10);
/// A request's body.
const BODY: Duration = Duration::from_secs(5);
/// A request with its work (which may ask a provider twice) and its answer.
const REQUEST: Duration = Duration::from_secs(45);
/// A connection may ask again and again for so long.
const CONNECTION: Duration = Duration::from_secs(120);
/// How long a connection may finish what it is at when it has to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the door cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A TLS file cannot be used.
    #[error("{file}: {why}")]
    Tls {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
}

/// Serves the HTTP door on `listener` until `stop`; then finishes the requests at hand and returns.
pub async fn serve(app: App, listener: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
    let tls = tls(&app.config.web)?;
    let proxies: Vec<IpAddr> = app.config.web.trusted_proxies.iter().map(IpAddr::to_canonical).collect();
    let router = router(app);
    let slots = Slots::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a web connection's task failed");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, usually: waiting lets others finish, spinning would not.
                tracing::warn!(%error, "cannot accept a web connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let proxy = proxies.contains(&peer.ip().to_canonical());
        let Some(slot) = slots.take(peer.ip(), if proxy { CONNECTIONS_MAX } else { CONNECTIONS_OF_ONE_MAX })
        else {
            tracing::warn!(%peer, "a web connection over the cap was closed");
            continue;
        };
        let connection = connection(stream, peer, tls.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a web connection's task failed");
        }
    }
    Ok(())
}

/// The connections that are open, by area.
#[derive(Clone, Default)]
struct Slots(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One open connection.
struct Slot {
    slots: Slots,
    area: IpAddr,
}

impl Slots {
    /// A slot for `peer`, of whose area there may be `of_one_max`; none when it, or everybody together, has too many.
    fn take(&self, peer: IpAddr, of_one_max: usize) -> Option<Slot> {
        let area = area(peer);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= CONNECTIONS_MAX {
            return None;
        }
        let mine = open.entry(area).or_default();
        if *mine >= of_one_max {
            return None;
        }
        *mine += 1;
        Some(Slot { slots: self.clone(), area })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = open.get_mut(&self.area) {
            *mine = mine.saturating_sub(1);
            if *mine == 0 {
                open.remove(&self.area);
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY");
    }
    match tls {
        None => talk(stream, peer.ip(), router, stop).await,
        Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => talk(stream, peer.ip(), router, stop).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        },
    }
}

async fn talk<S>(stream: S, peer: IpAddr, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router.layer(axum::Extension(Peer(peer))));
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_MAX)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = tokio::time::sleep(CONNECTION) => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            serving.as_mut().graceful_shutdown();
            timeout(LAST_WORDS, serving).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "web connection"),
        Err(_) => tracing::debug!(%peer, "a web connection did not end in time"),
    }
}

/// Everything this door answers.
fn router(app: App) -> Router {
    let gate = || Arc::new(Semaphore::new(REQUESTS_MAX));
    Router::new()
        .merge(pages::router().layer(from_fn_with_state((gate(), PAGES), within)))
        .merge(table::router().layer(from_fn_with_state((gate(), API), within)))
        .merge(logout::router().layer(from_fn_with_state((gate(), API), within)))
        .merge(
            webhook::router()
                .layer(DefaultBodyLimit::max(WEBHOOKS.body_max))
                .layer(from_fn_with_state((gate(), WEBHOOKS), within)),
        )
        .route("/healthz", get(async || "ok\n"))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(map_response(async |mut response: Response| {
            html::guard(response.headers_mut());
            response
        }))
        .with_state(app)
}

/// What is answered when there is too much to do, and when a body does not come.
#[derive(Clone, Copy)]
struct Words {
    /// Longest body that is read, in bytes.
    body_max: usize,
    busy: fn() -> Response,
    slow: fn() -> Response,
}

const PAGES: Words =
    Words { body_max: BODY_MAX, busy: pages::busy, slow: || StatusCode::REQUEST_TIMEOUT.into_response() };
const API: Words = Words { body_max: BODY_MAX, busy: error::busy, slow: error::slow };
const WEBHOOKS: Words = Words { body_max: WEBHOOK_MAX, ..API };

/// One of so many at once, and within the time of a request. The body is read before a turn is taken, so that a client
/// that sends slowly holds up nobody. The work then outlives the connection: a client that hangs up takes no audit entry
/// with it.
async fn within(
    State((gate, words)): State<(Arc<Semaphore>, Words)>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY, to_bytes(body, words.body_max)).await {
        Ok(Ok(body)) => body,
        // Too large, or broken off: the page or the API says so in its own words.
        Ok(Err(_)) => Bytes::from_static(&TOO_LONG),
        Err(_) => return (words.slow)(),
    };
    let request = Request::from_parts(parts, Body::from(body));
    let work = tokio::spawn(timeout(REQUEST, async move {
        let Ok(_turn) = gate.acquire().await else { return (words.busy)() };
        next.run(request).await
    }));
    match work.await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) | Err(_) => (words.busy)(),
    }
}

fn tls(web: &config::Web) -> Result<Option<TlsAcceptor>, ServeError> {
    let (Some(cert), Some(key)) = (&web.tls_cert, &web.tls_key) else { return Ok(None) };
    let at = |file: &std::path::Path, why: &dyn std::fmt::Display| ServeError::Tls {
        file: file.display().to_string(),
        why: why.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| at(cert, &e))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| at(key, &e))?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|e| at(cert, &e))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| at(cert, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_every_connection() {
        let slots = Slots::default();
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut held: Vec<Slot> = (0..3).filter_map(|_| slots.take(a, 3)).collect();
        assert_eq!(held.len(), 3);
        assert!(slots.take(a, 3).is_none() && slots.take(b, 3).is_some());
        held.pop();
        assert!(slots.take(a, 3).is_some());
        held.extend((0..CONNECTIONS_MAX).filter_map(|_| slots.take(b, usize::MAX)));
        assert_eq!(held.len(), CONNECTIONS_MAX);
        assert!(slots.take(a, 3).is_none(), "nor all peers together more than the cap");
        held.clear();
        let six = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
        held.extend((0..10).filter_map(|n| slots.take(six(n), 3)));
        assert_eq!(held.len(), 3, "one /64 is one peer");
        held.clear();
        assert!(slots.0.lock().unwrap().is_empty());
    }
}
