//! What a forward's verdict needs from the world: what a name resolves to, and which addresses are the bastion's own.
//! Judging them is the policy's (`policy::forwards`); asking is `authorize`'s.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::app::App;
use crate::flow::Caller;
use crate::policy::forwards::ADDRESSES_MAX;
use crate::policy::{Act, Ask, wants_addresses};

/// How long a name may take to resolve.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// How long the bastion's own addresses are kept.
const OWN_LIFE: Duration = Duration::from_secs(60);
/// How long the bastion's own names may take to resolve.
const OWN_LOOKUP_MAX: Duration = Duration::from_secs(1);

/// The ask with what its host resolves to, when the verdict depends on it. What does not resolve stays without.
pub async fn resolved(app: &App, caller: &Caller, mut ask: Ask) -> Ask {
    if wants_addresses(&app.policy(), caller.identity(), &ask)
        && let Act::LocalForward { host, resolved, .. } = &mut ask.act
    {
        *resolved = look_up(host.strip_suffix('.').unwrap_or(host), LOOKUP_MAX).await;
        resolved.truncate(ADDRESSES_MAX);
    }
    ask
}

/// The bastion's own addresses, when the ask is one that they matter to: those of its interfaces, those it listens on, and
/// those its names resolve to (which behind a translation are others).
pub(super) async fn own_addresses(app: &App, ask: &Ask) -> Arc<[IpAddr]> {
    if !matches!(ask.act, Act::LocalForward { .. }) {
        return Arc::default();
    }
    let now = app.clock.now();
    let mut kept = app.desk.own.lock().await;
    if let Some((at, own)) = &*kept
        && now.since(*at) < OWN_LIFE
        && *at <= now
    {
        return Arc::clone(own);
    }
    let mut own = of_interfaces();
    own.extend([app.config.ssh.listen.ip(), app.config.web.listen.ip()]);
    let names =
        app.config.ssh.host_names.iter().map(String::as_str).chain(app.config.web.public_url.host_str());
    for name in names {
        own.extend(look_up(name, OWN_LOOKUP_MAX).await);
    }
    // Loopback and "every address" say nothing about this machine as seen from a target; they are special by themselves.
    own.retain(|address| !address.is_loopback() && !address.is_unspecified());
    own.sort_unstable();
    own.dedup();
    let own: Arc<[IpAddr]> = own.into();
    *kept = Some((now, Arc::clone(&own)));
    own
}

async fn look_up(name: &str, limit: Duration) -> Vec<IpAddr> {
    match timeout(limit, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.map(|found| found.ip().to_canonical()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            addresses
        }
        Ok(Err(error)) => {
            tracing::debug!(name, %error, "a name does not resolve");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(name, "the resolver does not answer in time");
            Vec::new()
        }
    }
}

/// The addresses of this machine, from Linux's tables.
fn of_interfaces() -> Vec<IpAddr> {
    let read = |path: &str| {
        std::fs::read_to_string(path).unwrap_or_else(|error| {
            // Without IPv6 the second table is not there.
            tracing::debug!(path, %error, "own addresses");
            String::new()
        })
    };
    let mut addresses = of_fib_trie(&read("/proc/net/fib_trie"));
    addresses.extend(of_if_inet6(&read("/proc/net/if_inet6")));
    addresses
}

/// `|-- 10.1.0.5` followed by `/32 host LOCAL` is an address of this machine.
fn of_fib_trie(table: &str) -> Vec<IpAddr> {
    let mut last: Option<IpAddr> = None;
    let mut addresses = Vec::new();
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            addresses.extend(last);
        }
    }
    addresses
}

/// Each line begins with an address as 32 hexadecimal digits.
fn of_if_inet6(table: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_linux() {
        let fib = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\nLocal:\n  +-- 0.0.0.0/0 3 0 5\n     \
                   |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 172.17.0.2\n        \
                   /32 host LOCAL\n     |-- 172.17.255.255\n        /32 link BROADCAST\n";
        let shown: Vec<String> = of_fib_trie(fib).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1", "172.17.0.2"]);
        let v6 = "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000005 02 40 00 80     eth0\nxx\n";
        let shown: Vec<String> = of_if_inet6(v6).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["::1", "fd00::5"]);
    }

    #[test]
    fn this_machine_has_addresses() {
        assert!(of_interfaces().iter().any(IpAddr::is_loopback));
    }
}
