//! Where a client is: the peer of the connection, or what a trusted reverse proxy says. Nothing else is believed.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::app::App;

/// The peer of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// The client's address.
#[derive(Clone, Copy, Debug)]
pub(super) struct From(pub(super) IpAddr);

impl FromRequestParts<App> for From {
    type Rejection = axum::http::StatusCode;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        // Each connection gets its peer when it is accepted; without one nobody is served.
        let Peer(peer) =
            parts.extensions.get().copied().ok_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR)?;
        let forwarded = forwarded(&parts.headers);
        Ok(Self(client(peer, &forwarded, &app.config.web.trusted_proxies)))
    }
}

fn forwarded(headers: &HeaderMap) -> Vec<&str> {
    // A hop that is no text is no address: it ends the walk like any other nonsense, and hides nothing beside it.
    let hops =
        headers.get_all("x-forwarded-for").iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    hops.map(|hop| std::str::from_utf8(hop).map_or("", str::trim)).collect()
}

/// Walks from the peer back through the hops as far as each is a trusted proxy. The first address that is not one is
/// the client; what stands before it was written by the client and is not believed.
fn client(peer: IpAddr, forwarded: &[&str], trusted: &[IpAddr]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|proxy| proxy.to_canonical() == *ip);
    let mut here = peer.to_canonical();
    for hop in forwarded.iter().rev() {
        if !is_trusted(&here) {
            break;
        }
        match hop.parse::<IpAddr>() {
            Ok(before) => here = before.to_canonical(),
            Err(_) => break,
        }
    }
    here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let trusted = [ip("10.0.0.1"), ip("10.0.0.2")];
        let rows: [(&str, &[&str], &str); 8] = [
            ("192.0.2.9", &["198.51.100.1"], "192.0.2.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["127.0.0.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.5", "10.0.0.2"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5", "192.0.2.1", "10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ];
        for (peer, hops, expect) in rows {
            assert_eq!(client(ip(peer), hops, &trusted), ip(expect), "{peer} {hops:?}");
        }
        assert_eq!(client(ip("10.0.0.1"), &["198.51.100.1"], &[]), ip("10.0.0.1"));
    }
}
