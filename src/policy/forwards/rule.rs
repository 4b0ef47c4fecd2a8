//! One rule for addresses: `HOST:PORTS` or `CIDR:PORTS`.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::host::{self, Host, LOCALHOST};
use super::special;
use crate::net::Cidr;

/// The rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    host: HostRule,
    ports: Vec<RangeInclusive<u16>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostRule {
    /// Exactly this name.
    Name(String),
    /// Every name below this one: `*.svc.internal`.
    Below(String),
    /// Every address of a range.
    Range(Cidr),
}

/// What is wrong with a rule's text. `Display` says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRule {
    #[error(
        "{0:?} is not HOST:PORTS: write a name, *.name, an address or CIDR range (IPv6 in brackets), then :PORTS"
    )]
    Form(String),
    #[error("{0:?}: ports are numbers from 1 to 65535, ranges, lists or *, such as 443, 8000-8999, 80,443")]
    Ports(String),
    #[error("{0:?}: * for every host is too short a word for so much: write 0.0.0.0/0 or [::]/0")]
    Everything(String),
    #[error("{0:?} is not a host: a name has letters, digits, - and _ and may begin with *.")]
    Host(String),
    #[error("{0:?} is not a range: write ADDRESS/BITS, and no bits of the address beyond them")]
    Range(String),
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let form = || BadRule::Form(text.into());
        let (host, ports) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or_else(form)?;
                let (bits, ports) = rest.split_once(':').ok_or_else(form)?;
                let is_v6 = address.contains(':') && (bits.is_empty() || bits.starts_with('/'));
                let range = is_v6.then(|| Cidr::parse(&format!("{address}{bits}"))).ok_or_else(form)?;
                (HostRule::Range(range.ok_or_else(|| BadRule::Range(text.into()))?), ports)
            }
            None => {
                let (host, ports) = text.split_once(':').ok_or_else(form)?;
                if ports.contains(':') {
                    return Err(form());
                }
                (host_rule(host, text)?, ports)
            }
        };
        Ok(Self { host, ports: parse_ports(ports).ok_or_else(|| BadRule::Ports(text.into()))? })
    }
}

fn host_rule(host: &str, text: &str) -> Result<HostRule, BadRule> {
    if host == "*" {
        return Err(BadRule::Everything(text.into()));
    }
    if host.contains('/') {
        return Cidr::parse(host).map(HostRule::Range).ok_or_else(|| BadRule::Range(text.into()));
    }
    if let Some(suffix) = host.strip_prefix("*.") {
        let suffix = suffix.to_ascii_lowercase();
        // One label would be a whole top-level domain; inside networks such names exist, so it is allowed.
        return if host::is_name(&suffix) {
            Ok(HostRule::Below(format!(".{suffix}")))
        } else {
            Err(BadRule::Host(text.into()))
        };
    }
    match Host::parse(host) {
        Ok(Host::Address(address)) => Ok(HostRule::Range(Cidr::exactly(address))),
        Ok(Host::Name(name)) => Ok(HostRule::Name(name)),
        Err(_) => Err(BadRule::Host(text.into())),
    }
}

fn parse_ports(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let number = |digits: &str| {
        let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|port| plain && *port > 0)
    };
    if text == "*" {
        return Some(vec![1..=u16::MAX]);
    }
    text.split(',')
        .map(|part| match part.split_once('-') {
            None => number(part).map(|port| port..=port),
            Some((from, to)) => {
                let (from, to) = (number(from)?, number(to)?);
                (from <= to).then_some(from..=to)
            }
        })
        .collect()
}

impl Rule {
    pub(super) fn covers_port(&self, port: u16) -> bool {
        self.ports.iter().any(|ports| ports.contains(&port))
    }

    /// Whether one part of the rule covers all of these.
    pub(super) fn covers_ports(&self, wanted: RangeInclusive<u16>) -> bool {
        self.ports.iter().any(|ports| ports.contains(wanted.start()) && ports.contains(wanted.end()))
    }

    /// Whether the rule opens a host: by its exact name; or by an address, which is judged with what is special about it,
    /// reached by a name below the rule's or by lying in its range.
    pub(super) fn opens(&self, name: Option<&str>, address: Option<IpAddr>, own: &[IpAddr]) -> bool {
        match (&self.host, name, address) {
            (HostRule::Name(rule), Some(name), _) if rule == name => true,
            (HostRule::Name(rule), None, Some(address)) => rule == LOCALHOST && is_loopback(address),
            (HostRule::Range(range), Some(LOCALHOST), None) => names_loopback(range),
            (HostRule::Range(range), _, Some(address)) => {
                range.contains(address)
                    && special::special(address, own).is_none_or(|special| special.is_named_by(range))
            }
            (HostRule::Below(_), Some(_), Some(address)) => {
                self.opens_usual(name, Some(address)) && special::special(address, own).is_none()
            }
            (HostRule::Name(_) | HostRule::Below(_) | HostRule::Range(_), _, _) => false,
        }
    }

    /// The same, were no address special.
    pub(super) fn opens_usual(&self, name: Option<&str>, address: Option<IpAddr>) -> bool {
        match &self.host {
            HostRule::Name(rule) => name == Some(rule),
            HostRule::Below(suffix) => {
                name.is_some_and(|name| name.len() > suffix.len() && name.ends_with(suffix.as_str()))
            }
            HostRule::Range(range) => address.is_some_and(|address| range.contains(address)),
        }
    }

    /// Whether this name could be opened by the rule, if it resolves to the right address.
    pub(super) fn may_hold(&self, name: &str) -> bool {
        matches!(self.host, HostRule::Range(_)) || self.opens_usual(Some(name), None)
    }

    /// Whether it opens every address of a kind.
    pub(super) fn is_all(&self) -> bool {
        matches!(self.host, HostRule::Range(range) if range.is_all())
    }
}

/// The two addresses that `localhost` means.
fn is_loopback(address: IpAddr) -> bool {
    matches!(address.to_string().as_str(), "127.0.0.1" | "::1")
}

/// Whether a range is about loopback and holds one of the two addresses that `localhost` means.
fn names_loopback(range: &Cidr) -> bool {
    ["127.0.0.0/8", "::1/128"]
        .iter()
        .filter_map(|text| Cidr::parse(text))
        .any(|loopback| range.is_within(&loopback))
        && ["127.0.0.1", "::1"]
            .iter()
            .filter_map(|text| text.parse().ok())
            .any(|address| range.contains(address))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostRule::Name(name) => f.write_str(name)?,
            HostRule::Below(suffix) => write!(f, "*{suffix}")?,
            HostRule::Range(range) => write!(f, "{range}")?,
        }
        for (index, ports) in self.ports.iter().enumerate() {
            let mark = if index == 0 { ":" } else { "," };
            match (*ports.start(), *ports.end()) {
                (1, u16::MAX) => write!(f, "{mark}*")?,
                (from, to) if from == to => write!(f, "{mark}{from}")?,
                (from, to) => write!(f, "{mark}{from}-{to}")?,
            }
        }
        Ok(())
    }
}
