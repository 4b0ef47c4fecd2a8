//! Which forwards a role opens. Pure: rules, what was asked for, and what a name resolves to go in; a yes with what the
//! target is to be asked for, or a no with its reason, comes out. Looking names up is `flow::authorize`'s.
//!
//! Everything is off until a rule says otherwise, and some addresses stay off under wide rules: the bastion itself,
//! loopback, link-local, metadata addresses and the like are open only to a rule that names them (`special`).
//!
//! What is judged is what is sent: a name is looked up here, every address of it is judged, and the target is asked for
//! an address. Two names are sent as names: `localhost`, which means the target's own, and a name that a rule spells out
//! and that does not resolve here; there the author of the policy trusts the target's view.
//!
//! `host` reads what a client asks for, `rule` one rule for addresses, `socket` one for paths, `special` knows addresses
//! that are never opened by accident, `read` reads the role's table.

mod described;
mod host;
mod read;
mod rule;
mod socket;
mod special;

use std::net::IpAddr;

pub(super) use read::read;
pub(crate) use special::why_special;

pub use host::Host;
use rule::Rule;
use socket::PathPattern;

/// Most addresses of one name that are judged and tried.
pub const ADDRESSES_MAX: usize = 8;

/// Ports that a target may choose from when asked for any (Linux's default range).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// The forwards of one role: what every layer allows. Without layers nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardRules {
    layers: Vec<Layer>,
}

/// What one table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layer {
    local: Vec<Rule>,
    remote: Vec<Rule>,
    local_sockets: Vec<PathPattern>,
    remote_sockets: Vec<PathPattern>,
    agent: bool,
    x11: bool,
}

/// Why a forward is refused. `Display` is for the user and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No rule opens it.
    #[error("no role of yours opens {0}: ask an administrator for a role that does")]
    NoRule(String),
    /// It is spelled in a way that programs read differently.
    #[error("{0} is no usual spelling of a host: write the name or the address in full")]
    Spelling(String),
    /// A name without an address.
    #[error("{0} does not resolve on the bastion: name the address, or have the policy name this host")]
    Unresolved(String),
    /// Open to rules that name it only.
    #[error("{0} is {1}, which only a rule that names it opens: ask an administrator")]
    Special(String, &'static str),
    /// A path that is not plain.
    #[error("{0} is no plain absolute path: write it without . and .. and doubled slashes")]
    Path(String),
}

impl ForwardRules {
    /// What both allow: the rules of a role that narrows another.
    #[must_use]
    pub fn narrow(&self, other: &Self) -> Self {
        if self.layers.is_empty() || other.layers.is_empty() {
            return Self::default();
        }
        Self { layers: self.layers.iter().chain(&other.layers).cloned().collect() }
    }

    /// Whether anything at all could be allowed.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty() || self.layers.iter().any(|layer| *layer == Layer::default())
    }

    /// Whether a name's addresses matter to this ask, so that it is worth looking them up.
    pub fn wants_addresses(&self, host: &Host, port: u16) -> bool {
        let Host::Name(name) = host else { return false };
        name != host::LOCALHOST
            && self.all(|layer| layer.local.iter().any(|rule| rule.covers_port(port) && rule.may_hold(name)))
    }

    /// Judges a connection from the target to `host`. `found` is what the name resolves to on the bastion, nothing when it
    /// does not; `own` are the bastion's own addresses. The answer is what to ask the target for, one after the other until
    /// one answers.
    pub fn local(
        &self,
        host: &Host,
        port: u16,
        found: &[IpAddr],
        own: &[IpAddr],
    ) -> Result<Vec<String>, Denied> {
        let what = || host.with_port(port);
        let (name, addresses): (Option<&str>, Vec<Option<IpAddr>>) = match host {
            Host::Address(address) => (None, vec![Some(*address)]),
            Host::Name(name) if name == host::LOCALHOST => (Some(name), vec![None]),
            Host::Name(name) if found.is_empty() => (Some(name), vec![None]),
            Host::Name(name) => {
                (Some(name), found.iter().take(ADDRESSES_MAX).map(|a| Some(a.to_canonical())).collect())
            }
        };
        for address in &addresses {
            if self.all(|layer| layer.allows(name, *address, port, own)) {
                continue;
            }
            return Err(match address {
                None if self.wants_addresses(host, port) => Denied::Unresolved(what()),
                None => Denied::NoRule(what()),
                Some(address) => match special::special(*address, own) {
                    Some(special) if self.opens_usual(name, *address, port) => Denied::Special(
                        name.map_or_else(what, |name| format!("{name} ({address})")),
                        special.word,
                    ),
                    Some(_) | None => Denied::NoRule(what()),
                },
            });
        }
        let shown = |address: &Option<IpAddr>| match (address, name) {
            (Some(address), _) => address.to_string(),
            (None, name) => name.unwrap_or_default().to_owned(),
        };
        Ok(addresses.iter().map(shown).collect())
    }

    /// Judges listening at the target. `address` is as in RFC 4254 section 7.1; port 0 lets the target choose, and is
    /// allowed only where a rule covers every port it may choose. The port it chose is to be judged again.
    pub fn listen(&self, address: &str, port: u16) -> Result<(), Denied> {
        let shown = match address {
            "" | "*" => format!("listening on every address, port {port},"),
            address => format!("listening on {}, port {port},", address.escape_default()),
        };
        let hosts = match address {
            // Every address of one kind at least; a rule has to name one of the two.
            "" | "*" => vec![Host::parse("0.0.0.0")?, Host::parse("::")?],
            address => vec![Host::parse(address)?],
        };
        let opens = |layer: &Layer| {
            hosts.iter().any(|host| {
                let (name, address) = match host {
                    Host::Address(address) => (None, Some(*address)),
                    Host::Name(name) => (Some(name.as_str()), None),
                };
                layer.remote.iter().any(|rule| {
                    let ports = if port == 0 { rule.covers_ports(EPHEMERAL) } else { rule.covers_port(port) };
                    ports && rule.opens(name, address, &[])
                })
            })
        };
        if self.all(opens) { Ok(()) } else { Err(Denied::NoRule(shown)) }
    }

    /// Judges a connection from the target to a Unix socket there.
    pub fn local_socket(&self, path: &str) -> Result<(), Denied> {
        self.socket(path, |layer| &layer.local_sockets)
    }

    /// Judges listening on a Unix socket at the target.
    pub fn remote_socket(&self, path: &str) -> Result<(), Denied> {
        self.socket(path, |layer| &layer.remote_sockets)
    }

    fn socket(&self, path: &str, patterns: impl Fn(&Layer) -> &Vec<PathPattern>) -> Result<(), Denied> {
        let shown = || path.chars().take(128).collect::<String>().escape_debug().to_string();
        let parts = socket::parts(path).ok_or_else(|| Denied::Path(shown()))?;
        if self.all(|layer| patterns(layer).iter().any(|pattern| pattern.matches(&parts))) {
            Ok(())
        } else {
            Err(Denied::NoRule(format!("the socket {}", shown())))
        }
    }

    /// Whether the client's agent may be used from the target.
    pub fn agent(&self) -> bool {
        self.all(|layer| layer.agent)
    }

    /// Whether the client's X display may be used from the target.
    pub fn x11(&self) -> bool {
        self.all(|layer| layer.x11)
    }

    /// What an author may not have meant: rules that open nearly everything. One sentence each.
    pub fn lints(&self) -> Vec<String> {
        let mut lints = Vec::new();
        for layer in &self.layers {
            for (key, rules) in [("local", &layer.local), ("remote", &layer.remote)] {
                for rule in rules.iter().filter(|rule| rule.is_all()) {
                    lints.push(format!("forwards.{key}: \"{rule}\" opens every address of its kind"));
                }
            }
            for (key, patterns) in
                [("local_sockets", &layer.local_sockets), ("remote_sockets", &layer.remote_sockets)]
            {
                for pattern in patterns.iter().filter(|pattern| pattern.is_all()) {
                    lints.push(format!("forwards.{key}: \"{pattern}\" opens every socket"));
                }
            }
        }
        lints
    }

    fn all(&self, allows: impl Fn(&Layer) -> bool) -> bool {
        !self.layers.is_empty() && self.layers.iter().all(allows)
    }

    /// Whether it would be open were the address not special: for the reason of a refusal.
    fn opens_usual(&self, name: Option<&str>, address: IpAddr, port: u16) -> bool {
        self.all(|layer| {
            layer.local.iter().any(|rule| rule.covers_port(port) && rule.opens_usual(name, Some(address)))
        })
    }
}

impl Layer {
    fn allows(&self, name: Option<&str>, address: Option<IpAddr>, port: u16, own: &[IpAddr]) -> bool {
        self.local.iter().any(|rule| rule.covers_port(port) && rule.opens(name, address, own))
    }
}

#[cfg(test)]
mod tests;
