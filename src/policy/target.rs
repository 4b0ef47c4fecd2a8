//! Reads one `[[target]]`: its address, its labels, and how its host key is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use russh::keys::ssh_key::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use super::{HostKey, Target};
use crate::config::{At, Section, hint, is_host_name};
use crate::inspect::command::Dialect;
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
    let dialect = match section.text("dialect") {
        None => Some(Dialect::Posix),
        Some(text) => match text.value {
            "posix" => Some(Dialect::Posix),
            "none" => Some(Dialect::None),
            other => {
                let message = format!("unknown dialect {other:?}{}", hint(other, &["posix", "none"]));
                section.problem(text.place, message);
                None
            }
        },
    };
    let (host, port) = address?;
    Some(Target { name: name?, host, port, labels, host_key: host_key?, dialect: dialect? })
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
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "ssh-key's enum is open: what it may learn is refused"
    )]
    match key.key_data() {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) => {}
        KeyData::Rsa(rsa) if rsa.key_size() >= RSA_BITS_MIN => {}
        KeyData::Rsa(_) => return Err(format!("an RSA key under {RSA_BITS_MIN} bits is too weak to pin")),
        // DSA, keys of hardware tokens and whatever comes.
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

    #[test]
    fn keys_that_may_be_pinned() {
        for (text, expect) in [
            (
                "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDbVP9Eogsy8X7h2W1iGMJNPEinbdkS3i9mcIg5z+IT+IvUYAxcLb\
             kxB3KHo2Jqw2/xZnfUJaFYpHgplNrZM+DxKQPtAd8nOnyuvINhUL9bmJqkN48fTTkwtvUqCM70Wa1sp7kCYP1OTpd/\
             fHH4XRXr5BFcWupZBLsHCSgchSqeoQ==",
                Err("too weak"),
            ),
            (
                "ssh-dss AAAAB3NzaC1kc3MAAACBAKITcrEqY0HS6v0DPMcJKaJTlPKdHG+e4QCyE9bnPvYgOgpWiy0LxkFxaWEMLE\
             FvJEl+Iw3MXJpMnDsrQ9S1sOqxuogaDfDUfWOrGja9lJ2jHLvdeqhPWLK5SUJPz4JpzwxH0oQiWlBgNQzXvJ/I7Z+a\
             dHDMFjXKoFpwtRWPvAoVAAAAFQCZ+FUSRqx/rFiihDrguu7Su/bRWwAAAIB7nBJLP3QozIU9e3MJgxSwG9J0V/WOLH\
             7xtLgK4FzhxoYIJMBu2Q6BlZmEAhXiHZoKHqIihGRHszRs8WquratY3tT8vxylfdUbH//PPLfmKLely2g2L8TegY0G\
             PrA0eBjcdzPB/znJg3Q1Pru1MHzH/xQKtt7dPnoKsBQqrDulYwAAAIEAimlSmTaYWA75W+Pw5dyQZsoFten2t5DCua\
             SCgabXYaZe+lO9gvjyZikU25H1sfNrB3jvoyDJMeHaO/WYOFxe3yRJ0OqLK7JnT93l0xbulbfTr7sKqWuW1w+8rZMU\
             ZUo6lOqf9X2JrYITNHfnZBlMSGFxrtB/ox19N31YRka3q/s=",
                Err("ssh-dss"),
            ),
            (
                "ecdsa-sha2-nistp256-cert-v01@openssh.com AAAAKGVjZHNhLXNoYTItbmlzdHAyNTYtY2VydC12MDFAb3Blb\
             nNzaC5jb20AAAAgtZKSQyFFVQaZOlh5HgyEbZTVsSiH750kCqVnsFmspYwAAAAIbmlzdHAyNTYAAABBBMcVjK6Vmhz\
             Y7P6EcdjE5dneFFKOLy9h6qcQiIYYBt3RIDN6n6rYU44bqTSGpWfgHzVqjTMIiUVFyUoCMRMU2GIAAAAAAAAAAAAAA\
             AIAAAABeAAAAAgAAAAEd2ViMQAAAAAAAAAA//////////8AAAAAAAAAAAAAAAAAAAAzAAAAC3NzaC1lZDI1NTE5AAA\
             AIHsUf39jRWPiVc2fFwS9sQ/HBsnlkmEsoCEJFoRjmObiAAAAUwAAAAtzc2gtZWQyNTUxOQAAAEDUdRq/z1mcdp7F1\
             Qol8gtKNnkwusrc+chaEocQrKvydubeZ+GWwDPtRG3rHCpWHnAj7rSmYLK7vBSBdVPkRI8O /tmp/tmp.8a8JQYNsF\
             T/e.pub",
                Err("certificate"),
            ),
            (
                "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDGOBlRCD/jOQ0qm+FgCzG7brUeXAO8BCNcwX8yGKCD3G8yAgrgVB\
             YSRiwsn8h6sXfugpgLPOgF5FTwKO2yX5lTHkwvdFtX4FskvfqQEUqLZhkyDo/aH75cDeZLOxs/qbs8wy3eQofzDa+C\
             Pm00/JiXpJxL1Ere+D1tgWoNnlSSHOIlAcczxyxZ5QS1R2EBgAkPBj+6UdmtY0zZVabE+BM3OoWopuFFoWbxgFRKet\
             TCEJ/o+VEJO6QY/CfDl+kfc8sLgNCJ84WOB7a0o9ZooO2r8KhiR4G7kkIPgf1GdyX3cXfkI9h7ilF1jwsZGkX4FhaF\
             84VuCf3TJolTYtMIB0cb",
                Ok(()),
            ),
            (
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMcVjK6VmhzY7P6Ecd\
             jE5dneFFKOLy9h6qcQiIYYBt3RIDN6n6rYU44bqTSGpWfgHzVqjTMIiUVFyUoCMRMU2GI=",
                Ok(()),
            ),
            ("ssh-ed25519 AAAA\nssh-ed25519 AAAA", Err("one line")),
            ("from=\"x\" ssh-ed25519 AAAA", Err("not a public key")),
            ("", Err("not a public key")),
        ] {
            match (pinned_key(&format!("{text} a comment")), expect) {
                (Ok(line), Ok(())) => assert_eq!(line, text),
                (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
