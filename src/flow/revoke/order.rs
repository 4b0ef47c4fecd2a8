//! What may be ordered to be revoked, read from words. Pure: decides which texts make sense, not who may give the order.

use std::str::FromStr as _;

use russh::keys::ssh_key::{Certificate, Fingerprint, HashAlg, PublicKey};

use crate::ca::krl::KEY_ID_BYTES_MAX;
use crate::identity::Kind;
use crate::ids::SessionId;
use crate::names::SubjectName;
use crate::policy::request::Words;

/// An order that makes no sense. The text says what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadOrder(String);

/// A key by its fingerprint, and itself where it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    fingerprint: String,
    public: Option<PublicKey>,
}

impl KeyName {
    /// From `SHA256:...` or the one line of a public key file.
    pub fn parse(text: &str) -> Result<Self, BadOrder> {
        let text = text.trim();
        let bad =
            |why: &str| BadOrder(format!("{why}: give SHA256:... (ssh-keygen -l shows it) or a public key"));
        if text.contains("PRIVATE KEY") {
            return Err(bad("this is a private key, which should not leave its machine"));
        }
        if let Ok(fingerprint) = Fingerprint::from_str(text) {
            if !fingerprint.is_sha256() {
                return Err(bad("only SHA-256 fingerprints are known"));
            }
            return Ok(Self { fingerprint: fingerprint.to_string(), public: None });
        }
        if Certificate::from_openssh(text).is_ok() {
            return Err(bad("this is a certificate; revoke it by --serial, or its plain key"));
        }
        let mut public = PublicKey::from_openssh(text).map_err(|_| bad("this is no key"))?;
        public.set_comment("");
        Ok(Self { fingerprint: public.fingerprint(HashAlg::Sha256).to_string(), public: Some(public) })
    }

    /// `SHA256:...`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// What is to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A person: sign-ins and certificates. To keep them out for good is a lock's matter.
    User(SubjectName),
    /// A workload, likewise.
    Workload(SubjectName),
    /// A key, for good.
    Key(KeyName),
    /// Certificates with this key id, for good.
    KeyId(String),
    /// One certificate.
    Serial(u64),
    /// A session and its certificate.
    Session(SessionId),
    /// The key of an authority that is not in use any more: all it signed.
    Ca(KeyName),
}

impl What {
    /// From the words of the API: `user`, `workload`, `key`, `key-id`, `serial`, `session` or `ca`, and which one.
    pub fn parse(kind: &str, value: &str) -> Result<Self, BadOrder> {
        let value = value.trim();
        let bad = |e: &dyn std::fmt::Display| BadOrder(e.to_string());
        Ok(match kind {
            "user" => Self::User(value.parse().map_err(|e| bad(&e))?),
            "workload" => Self::Workload(value.parse().map_err(|e| bad(&e))?),
            "key" => Self::Key(KeyName::parse(value)?),
            "ca" => Self::Ca(KeyName::parse(value)?),
            "session" => Self::Session(value.parse().map_err(|e| bad(&e))?),
            "serial" => match value.parse() {
                // sshd takes a list with serial 0 for broken, and refuses everybody.
                Ok(serial @ 1..) if value.bytes().all(|b| b.is_ascii_digit()) => Self::Serial(serial),
                Ok(_) | Err(_) => {
                    return Err(BadOrder(format!("{:?} is no serial: a number from 1 on", cut(value))));
                }
            },
            "key-id" => {
                let is_good = !value.is_empty()
                    && value.len() <= KEY_ID_BYTES_MAX
                    && !value.chars().any(char::is_control);
                if !is_good {
                    return Err(BadOrder("a key id has 1 to 512 bytes, and no control characters".into()));
                }
                Self::KeyId(value.to_owned())
            }
            other => {
                return Err(BadOrder(format!(
                    "{:?} cannot be revoked; what can: user, workload, key, key-id, serial, session, ca",
                    cut(other)
                )));
            }
        })
    }

    /// The word for its kind.
    pub fn word(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Workload(_) => "workload",
            Self::Key(_) => "key",
            Self::KeyId(_) => "key-id",
            Self::Serial(_) => "serial",
            Self::Session(_) => "session",
            Self::Ca(_) => "ca",
        }
    }

    /// Which one, as text.
    pub fn value(&self) -> String {
        match self {
            Self::User(who) | Self::Workload(who) => who.to_string(),
            Self::Key(key) | Self::Ca(key) => key.fingerprint.clone(),
            Self::KeyId(key_id) => key_id.clone(),
            Self::Serial(serial) => serial.to_string(),
            Self::Session(id) => id.to_string(),
        }
    }

    pub(super) fn identity_kind(&self) -> Kind {
        if matches!(self, Self::Workload(_)) { Kind::Workload } else { Kind::Person }
    }

    /// The key itself, `TYPE BASE64`, where it was shown.
    pub(super) fn public_key(&self) -> Option<String> {
        match self {
            Self::Key(key) | Self::Ca(key) => key.public.as_ref().and_then(|public| public.to_openssh().ok()),
            Self::User(_) | Self::Workload(_) | Self::KeyId(_) | Self::Serial(_) | Self::Session(_) => None,
        }
    }
}

/// An order: what, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub(super) what: What,
    pub(super) reason: String,
}

impl Order {
    /// The reason is one line that says something; it stands in the audit log.
    pub fn new(what: What, reason: &str) -> Result<Self, BadOrder> {
        let words = Words { required: true, min: 0, pattern: None };
        words.check("reason", reason).map_err(BadOrder)?;
        Ok(Self { what, reason: reason.trim().to_owned() })
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlHpQzzwRxXkjuRb3vEVSQkBJvyYFy1rR8JCWBTRmPQ";

    #[test]
    fn what_makes_sense() {
        let fingerprint = KeyName::parse(KEY).unwrap().fingerprint().to_owned();
        let session = "ses_00000000000000000000000000";
        let good = [
            ("user", "corp:a:b", "corp:a:b"),
            ("workload", "ci:repo/x", "ci:repo/x"),
            ("key", KEY, &fingerprint),
            ("key", &format!("{KEY} erin@laptop\n"), &fingerprint),
            ("ca", &fingerprint, &fingerprint),
            ("serial", "18446744073709551615", "18446744073709551615"),
            ("session", session, session),
            ("key-id", "corp:erin/sgn_1", "corp:erin/sgn_1"),
        ];
        for (kind, value, expect) in good {
            let what = What::parse(kind, value).unwrap();
            assert_eq!((what.word(), what.value().as_str()), (kind, expect), "{value}");
        }
        let bad = [
            ("user", "erin"),
            ("user", ""),
            ("key", "MD5:aa:bb"),
            ("key", "SHA256:short"),
            (
                "key",
                "SHA512:z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg",
            ),
            ("key", "-----BEGIN OPENSSH PRIVATE KEY-----"),
            ("ca", ""),
            ("serial", "0"),
            ("serial", "-1"),
            ("serial", "+1"),
            ("serial", "0x10"),
            ("serial", "18446744073709551616"),
            ("session", "ses_../../etc/passwd"),
            ("session", "sgn_00000000000000000000000000"),
            ("key-id", ""),
            ("key-id", "a\nb"),
            ("grant", "x"),
            ("", ""),
        ];
        for (kind, value) in bad {
            assert!(What::parse(kind, value).is_err(), "{kind} {value}");
        }
    }

    #[test]
    fn a_reason_is_a_line() {
        let what = || What::Serial(1);
        assert_eq!(Order::new(what(), "  laptop stolen ").unwrap().reason, "laptop stolen");
        for bad in ["", "  ", "a\nb", "\u{1b}[2J", &"x".repeat(5000)] {
            assert!(Order::new(what(), bad).is_err(), "{bad:?}");
        }
    }
}
