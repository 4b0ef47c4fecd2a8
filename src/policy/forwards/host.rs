//! A host as a client asks for it. One spelling each: what programs read in different ways (`0x7f.1`, `127.1`, decimal
//! integers, zones) is refused, so that nothing means one thing here and another at the target.

use std::fmt;
use std::net::IpAddr;

use super::Denied;

/// The name that means the target's own loopback.
pub(super) const LOCALHOST: &str = "localhost";

/// A host: an address, or a name in lower case without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address; IPv4 inside IPv6 is IPv4.
    Address(IpAddr),
    /// A name.
    Name(String),
}

impl Host {
    /// Reads what a client wrote.
    pub fn parse(text: &str) -> Result<Self, Denied> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if is_name(&name) {
            return Ok(Self::Name(name));
        }
        let shown: String = text.chars().take(64).collect::<String>().escape_debug().collect();
        Err(Denied::Spelling(format!("\"{shown}\"")))
    }

    /// `HOST:PORT`, for people.
    pub fn with_port(&self, port: u16) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            Self::Address(IpAddr::V4(_)) | Self::Name(_) => format!("{self}:{port}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A DNS name in lower case; underscores are allowed, as inside networks. Its last label must not look like a number,
/// because `inet_aton` would read it as one.
pub(super) fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    let is_number = |label: &str| {
        label.bytes().all(|b| b.is_ascii_digit())
            || label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    text.len() <= 253 && text.split('.').all(label) && !text.rsplit('.').next().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_each() {
        for (text, expect) in [
            ("db.internal", Some("db.internal")),
            ("DB.Internal.", Some("db.internal")),
            ("_srv.x_y", Some("_srv.x_y")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("::1", Some("::1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("FD00:0:0::1", Some("fd00::1")),
            ("0x7f.internal", Some("0x7f.internal")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a.b..", None),
            ("127.1", None),
            ("0x7f.1", None),
            ("0x7f000001", None),
            ("0X7F000001", None),
            ("0x", None),
            ("2130706433", None),
            ("017700000001", None),
            ("127.0.0.01", None),
            ("127.0.0.1.", None),
            ("0177.0.0.1", None),
            ("1.2.3.4.5", None),
            ("10.0.0.256", None),
            ("fe80::1%eth0", None),
            ("[::1]", None),
            ("-oX", None),
            ("a b", None),
            ("a\n", None),
            ("a\0", None),
            ("a/b", None),
            ("ⓛocalhost", None),
            ("１２７.0.0.1", None),
            ("*", None),
            ("*.internal", None),
        ] {
            let read = Host::parse(text).ok().map(|host| host.to_string());
            assert_eq!(read.as_deref(), expect, "{text:?}");
        }
        assert!(Host::parse(&"a".repeat(64)).is_err());
        assert!(Host::parse(&"a.".repeat(128)).is_err());
    }
}
