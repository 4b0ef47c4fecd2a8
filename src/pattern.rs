//! Host patterns and names that a server may put into people's ssh configuration, and how many. Server and client ask
//! the same functions, so that a server does not load what its own clients would refuse to write down.

/// Most host patterns in one person's ssh configuration.
pub const PATTERNS_MAX: usize = 500;
/// Most logins in one certificate (OpenSSH's `SSHKEY_CERT_MAX_PRINCIPALS`).
pub const LOGINS_MAX: usize = 256;
/// Labels without wildcards that must stand behind one with: `*` matches dots too, and `web*` would catch
/// `webmail.example.com`.
const LITERAL_LABELS_MIN: usize = 2;
/// Longest name or pattern, in bytes.
const BYTES_MAX: usize = 253;

/// Why a text cannot stand as a host pattern in somebody's ssh configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Not of the alphabet.
    #[error("not a host pattern (letters, digits, . - _ and the wildcards * and ?)")]
    Alphabet,
    /// It would match hosts of others.
    #[error(
        "not a host pattern that may be managed: wildcards only in the first label, with at least \
         {LITERAL_LABELS_MIN} whole labels behind, such as *.corp.example"
    )]
    Broad,
}

/// Judges a host pattern. A name without wildcards matches itself only, so any name will do.
pub fn check(text: &str) -> Result<(), BadPattern> {
    let known =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-') || is_wildcard(char::from(b));
    let has_literals = |text: &str| text.bytes().any(|b| b.is_ascii_alphanumeric());
    if text.len() > BYTES_MAX || text.starts_with('-') || !text.bytes().all(known) {
        return Err(BadPattern::Alphabet);
    }
    if !has_wildcard(text) {
        return if has_literals(text) { Ok(()) } else { Err(BadPattern::Alphabet) };
    }
    let mut behind = text.split('.').skip(1);
    let is_narrow = behind.clone().count() >= LITERAL_LABELS_MIN
        && behind.all(|label| has_literals(label) && !has_wildcard(label));
    if is_narrow { Ok(()) } else { Err(BadPattern::Broad) }
}

/// Whether it matches more than itself.
pub fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(is_wildcard)
}

fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '?')
}

/// Whether a client can call its bastion so: one word to ssh's configuration, no pattern and no IPv6 address.
pub fn is_bastion_name(text: &str) -> bool {
    text.len() <= BYTES_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::TargetName;

    #[test]
    fn patterns() {
        for good in ["web1", "a", "1", "*.corp.example", "web*.corp.example", "?.a.b", "db-1_x", "a1"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "*",
            "**",
            "?*",
            "*.*",
            "*.",
            "?",
            "*a",
            "web*",
            "web?",
            "*.example",
            "*.example.",
            "*..example",
            "*.-._",
            "10.0.?.*",
            "10.0.0.*",
            "a.*.corp.example",
            "*.*.corp.example",
            "*.c?rp.example",
        ] {
            assert_eq!(check(bad), Err(BadPattern::Broad), "{bad}");
        }
        for bad in [
            "",
            ".",
            "-oProxyCommand=x",
            "web1\n",
            "web1\nHost evil",
            "web 1",
            "web1,evil",
            "!web1",
            "web\"1",
            "web'1",
            "web$(x)",
            "web%h",
            "web#1",
            "wéb",
            "[web1]:22",
            &"w".repeat(254),
        ] {
            assert_eq!(check(bad), Err(BadPattern::Alphabet), "{bad:?}");
        }
    }

    #[test]
    fn every_target_name_is_one_that_clients_take() {
        for name in ["a", "0", "web1", "db-1.eu.example.com", "10.0.0.5", "a_b", &"w".repeat(253)] {
            assert!(name.parse::<TargetName>().is_ok() && check(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_of_bastions() {
        for good in ["bastion", "b", "b.example", "10.0.0.1"] {
            assert!(is_bastion_name(good), "{good}");
        }
        for bad in ["", "-b", ".", "b\"", "b x", "b\nHost *", "*", "b*", "[::1]", "::1", "b,c", "%h", "$HOME"]
        {
            assert!(!is_bastion_name(bad), "{bad:?}");
        }
    }
}
