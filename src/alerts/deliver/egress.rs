//! Where notices may be sent: nowhere that only this machine or its cloud should reach. A receiver that is configured by
//! a name is what its name resolves to at the moment, so the addresses are judged, and exactly those are dialled. Loopback is
//! open only to who is configured as loopback.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Undelivered;
use crate::policy::forwards::why_special;

/// Addresses that are tried of a name.
const ADDRESSES_MAX: usize = 4;

/// Why nothing is sent to `address`; `loopback` when the receiver is configured as this machine.
fn why_not(address: IpAddr, loopback: bool) -> Option<&'static str> {
    let address = address.to_canonical();
    if address.is_loopback() { (!loopback).then_some("loopback") } else { why_special(address) }
}

/// Whether the configured host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The addresses of a host that may be dialled.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Undelivered> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await.map_err(|e| Undelivered::failed(&e))?;
    judge(host, found.take(ADDRESSES_MAX).collect())
}

/// All or none: a name that leads to one forbidden address is not trusted with the others.
fn judge(host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Undelivered> {
    let loopback = is_loopback(host);
    for at in &found {
        if let Some(why) = why_not(at.ip(), loopback) {
            return Err(Undelivered::Forbidden { host: host.to_owned(), address: at.ip(), why });
        }
    }
    if found.is_empty() {
        return Err(Undelivered::Failed(format!("{host} has no address")));
    }
    Ok(found)
}

/// The same for the HTTP client, which asks for names only; addresses are judged before ([`resolve`]).
pub(crate) struct Guarded;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is the client's matter.
            let found = resolve(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_sent() {
        for (host, address, expect) in [
            ("hooks.example", "203.0.113.7", None),
            ("hooks.internal", "10.0.0.7", None),
            ("hooks.internal", "fd00::7", None),
            ("hooks.example", "127.0.0.1", Some("loopback")),
            ("hooks.example", "::1", Some("loopback")),
            ("hooks.example", "::ffff:127.0.0.1", Some("loopback")),
            ("localhost.example", "127.0.0.1", Some("loopback")),
            ("localhost", "127.0.0.1", None),
            ("127.0.0.1", "127.0.0.1", None),
            ("[::1]", "::1", None),
            ("localhost", "169.254.169.254", Some("a metadata service")),
            ("hooks.example", "169.254.169.254", Some("a metadata service")),
            ("hooks.example", "::ffff:169.254.169.254", Some("a metadata service")),
            ("hooks.example", "fd00:ec2::254", Some("a metadata service")),
            ("hooks.example", "64:ff9b::a9fe:a9fe", Some("a metadata service")),
            ("hooks.example", "169.254.1.1", Some("link-local")),
            ("hooks.example", "fe80::1", Some("link-local")),
            ("hooks.example", "0.0.0.0", Some("no address of a host")),
            ("hooks.example", "255.255.255.255", Some("broadcast or reserved")),
        ] {
            let said = judge(host, vec![SocketAddr::new(address.parse().unwrap(), 443)]);
            let why = match said {
                Err(Undelivered::Forbidden { why, .. }) => Some(why),
                Ok(_) => None,
                Err(other) => panic!("{other}"),
            };
            assert_eq!(why, expect, "{host} {address}");
        }
        let mixed = ["203.0.113.7:443", "169.254.169.254:443"].map(|at| at.parse().unwrap());
        assert!(judge("rebind.example", mixed.into()).is_err());
        assert!(judge("nowhere.example", Vec::new()).is_err());
    }
}
