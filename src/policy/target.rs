//! Reads one `[[target]]`: its address, its labels, and how its host key is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use russh::keys::ssh_key::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use super::{HostKey, Target};
use crate::config::{At, Section, is_host_name};
use crate::names::TargetName;

/// Port of a target when the address names none.
const PORT_DEFAULT: u16 = 22;
/// Smallest RSA host key that may be pinned, in bits.
const RSA_BITS_MIN: u32 = 2048;

/// The targets of a file, and what of them is known when some are wrong.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// Those that are right.
    pub(super) read: BTreeMap<TargetName, Target>,
    /// Every name given, also of those that are wrong, so that roles naming them are not blamed as well.
    pub(super) named: BTreeSet<String>,
    /// Some are wrong, so what labels there are is not known.
    pub(super) incomplete: bool,
}

/// Reads the table; `None` when something it cannot do without is wrong (which has been noted).
pub(super) fn read(section: &mut Section<'_>) -> Option<Target> {
    section.require("name", "the name users call it by");
    section.require("address", "HOST or HOST:PORT, where it listens");
    section.require(
        "host_key",
        "{ ca = true } when our host CA certified it, or { pinned = [\"ssh-ed25519 AAAA...\"] }",
    );
    let name = section.parsed::<TargetName>("name").map(|at| at.value);
    let address = section.text("address").and_then(|text| match parse_address(text.value) {
        Ok(address) => Some(address),
        Err(message) => {
            section.problem(text.place, message);
            None
        }
    });
    let labels = labels(section.child("labels"));
    let host_key = host_key(section, name.as_ref());
    let (host, port) = address?;
    Some(Target { name: name?, host, port, labels, host_key: host_key? })
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`. A bare IPv6 address is refused: its end may be a port.
fn parse_address(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is not an address: write HOST, HOST:PORT, [IPV6] or [IPV6]:PORT");
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
        host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
        (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(wrong)?) })
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        // Names inside a network often have an underscore, which DNS host names do not.
        let plain = host.to_ascii_lowercase().replace('_', "-");
        if plain.contains(':') || !is_host_name(&plain) {
            return Err(wrong());
        }
        (host, port)
    };
    let port = match port {
        None => PORT_DEFAULT,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| wrong())?,
        Some(_) => return Err(wrong()),
    };
    if port == 0 { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

/// Reads a map of labels. Keys are words, values short lines of text.
pub(super) fn labels(section: Section<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut wrong = Vec::new();
    let pairs = section.pairs();
    for (key, value) in pairs {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
        if key.value.is_empty() || key.value.len() > 64 || !key.value.bytes().all(word) {
            wrong.push((key.place, format!("{:?} is not a label's name: a-z A-Z 0-9 . _ - /", key.value)));
        }
        if let Some(message) = wrong_label_value(&value) {
            wrong.push((value.place, message));
        }
        labels.insert(key.value.to_owned(), value.value.to_owned());
    }
    for (place, message) in wrong {
        section.problem(place, message);
    }
    labels
}

fn wrong_label_value(value: &At<&str>) -> Option<String> {
    let text = value.value;
    if text.contains('*') {
        return Some(format!("{text:?}: labels know no wildcard; write the value"));
    }
    let bad = text.is_empty() || text.len() > 128 || text.chars().any(char::is_control);
    bad.then(|| "a label's value is 1 to 128 bytes of text on one line".to_owned())
}

fn host_key(section: &mut Section<'_>, name: Option<&TargetName>) -> Option<HostKey> {
    section.place_of("host_key")?;
    let mut table = section.child("host_key");
    let ca = table.flag("ca");
    let principal = table.text("principal");
    let pinned = table.texts("pinned");
    let result = match (ca, pinned) {
        (Some(ca), Some(_)) => {
            table.problem(ca.place, "\"ca\" and \"pinned\" exclude each other: keep one");
            None
        }
        (Some(ca), None) if !ca.value => {
            table.problem(ca.place, "\"ca = false\" says nothing: write { ca = true } or { pinned = [...] }");
            None
        }
        (Some(_), None) => match principal {
            Some(principal) if !is_host_name(principal.value) => {
                table.problem(principal.place, format!("{:?} is not a host name", principal.value));
                None
            }
            Some(principal) => Some(HostKey::Ca { principal: principal.value.to_owned() }),
            None => name.map(|name| HostKey::Ca { principal: name.to_string() }),
        },
        (None, Some(keys)) => {
            if let Some(principal) = principal {
                table
                    .problem(principal.place, "\"principal\" goes with \"ca = true\"; a pinned key has none");
            }
            if keys.value.is_empty() {
                table.problem(keys.place, "\"pinned\" is empty, so no host key could be right");
            }
            pinned_keys(&table, &keys.value).map(HostKey::Pinned)
        }
        (None, None) => {
            if table.place_of("ca").is_none()
                && table.place_of("pinned").is_none()
                && section.holds("host_key", "table")
            {
                table.problem(
                    table.place,
                    "\"host_key\" must be { ca = true } or { pinned = [\"ssh-ed25519 AAAA...\"] }",
                );
            }
            None
        }
    };
    table.finish();
    result
}

fn pinned_keys(section: &Section<'_>, keys: &[At<&str>]) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    for key in keys {
        match pinned_key(key.value) {
            Ok(line) if lines.contains(&line) => section.problem(key.place, "this key is listed twice"),
            Ok(line) => lines.push(line),
            Err(message) => section.problem(key.place, message),
        }
    }
    (lines.len() == keys.len() && !lines.is_empty()).then_some(lines)
}

/// The key as one line without comment.
fn pinned_key(text: &str) -> Result<String, String> {
    if text.split(' ').next().is_some_and(|algorithm| algorithm.contains("-cert-v01@")) {
        return Err("this is a certificate: pin the plain key, or write host_key = { ca = true }".into());
    }
    if text.chars().any(char::is_control) {
        return Err("a pinned key is one line".into());
    }
    let key = PublicKey::from_openssh(text).map_err(|error| {
        format!("not a public key ({error}): paste a line of the target's /etc/ssh/ssh_host_ed25519_key.pub")
    })?;
    match key.key_data() {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) => {}
        KeyData::Rsa(rsa) if rsa.key_size() >= RSA_BITS_MIN => {}
        KeyData::Rsa(_) => return Err(format!("an RSA key under {RSA_BITS_MIN} bits is too weak to pin")),
        // ssh-key's enum is open; DSA, hardware keys and whatever comes are no host keys we check.
        _ => return Err(format!("{} keys cannot be pinned: use Ed25519, ECDSA or RSA", key.algorithm())),
    }
    PublicKey::new(key.key_data().clone(), "")
        .to_openssh()
        .map_err(|error| format!("not a public key ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expect) in [
            ("10.0.0.5:22", Some(("10.0.0.5", 22))),
            ("10.0.0.5", Some(("10.0.0.5", 22))),
            ("Web_1.corp:2222", Some(("Web_1.corp", 2222))),
            ("[::1]:2222", Some(("::1", 2222))),
            ("[fe80::1]", Some(("fe80::1", 22))),
            ("::1", None),
            ("::1:22", None),
            ("[::1", None),
            ("[::1]2222", None),
            ("[10.0.0.5]:22", None),
            ("host:", None),
            ("host:0", None),
            ("host:65536", None),
            ("host:+22", None),
            ("host:22:22", None),
            ("user@host", None),
            ("-oProxyCommand=x", None),
            ("ssh://host", None),
            ("a b", None),
            ("10.0.0.256", None),
            ("", None),
        ] {
            let got = parse_address(text).ok();
            assert_eq!(got.as_ref().map(|(host, port)| (host.as_str(), *port)), expect, "{text:?}");
        }
    }
}
