//! Identifiers that the server makes: a prefix that tells the kind, then 130 random bits in lower-case
//! base 32. They name rows, audit entries and files, so their alphabet is safe in all of these.

use std::fmt;
use std::str::FromStr;

use crate::random::Random;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 26;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} id (they look like {prefix}0123456789abcdefghjkmnpqrs)")]
pub struct BadId {
    kind: &'static str,
    prefix: &'static str,
    text: String,
}

fn draw(random: &Random) -> String {
    let bytes = random.bytes::<LENGTH>();
    bytes.iter().filter_map(|b| ALPHABET.get(usize::from(b & 31))).map(|c| char::from(*c)).collect()
}

fn is_well_formed(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == LENGTH && rest.bytes().all(|b| ALPHABET.contains(&b)))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// What every one begins with.
            pub const PREFIX: &'static str = $prefix;
            /// What it is the id of, for people.
            pub const KIND: &'static str = $kind;

            /// A fresh id.
            pub fn random(random: &Random) -> Self {
                Self(format!("{}{}", $prefix, draw(random)).into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                if is_well_formed(text, $prefix) {
                    Ok(Self(text.into()))
                } else {
                    Err(BadId { kind: $kind, prefix: $prefix, text: text.chars().take(64).collect() })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A sign-in: the binding of an SSH public key (or of one SSH connection) to an identity for some hours.
    SignInId, "sign-in", "sgn_"
);
id!(
    /// A sign-in that has begun and is not finished.
    PendingId, "pending sign-in", "pnd_"
);
id!(
    /// One permitted connection to a target.
    SessionId, "session", "ses_"
);
id!(
    /// One access request with its history.
    CaseId, "request", "req_"
);
id!(
    /// Access that exists: what an approved request opened.
    GrantId, "grant", "grt_"
);
id!(
    /// A lock on a person, a target or a role.
    LockId, "lock", "lck_"
);
id!(
    /// Something revoked: a certificate, a key, a CA.
    RevocationId, "revocation", "rev_"
);
id!(
    /// A message to people or programs, waiting to be delivered or delivered.
    NoticeId, "notice", "ntc_"
);
id!(
    /// Something in the audit log that somebody should look at.
    AlertId, "alert", "alr_"
);

id!(
    /// A legal hold: recordings that nobody may delete.
    HoldId, "hold", "hld_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusal() {
        let random = Random::seeded(7);
        let id = SessionId::random(&random);
        assert_eq!(id.as_str().parse::<SessionId>(), Ok(id.clone()));
        assert_ne!(id, SessionId::random(&random));
        for bad in [
            "",
            "ses_",
            "ses_../../../../etc/passwd0000",
            "sgn_00000000000000000000000000",
            "ses_0000000000000000000000000O",
        ] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        }
    }
}
