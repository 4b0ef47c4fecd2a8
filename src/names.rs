//! Names that people, policies and protocols choose. Each kind is its own type with a strict alphabet,
//! checked once, when text becomes a name:
//!
//! ```compile_fail
//! use caponier::names::{LoginName, TargetName};
//! let login: LoginName = "web1".parse::<TargetName>().unwrap();
//! ```

use std::fmt;
use std::str::FromStr;

/// A text that is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {kind}: {rule}")]
pub struct BadName {
    kind: &'static str,
    rule: &'static str,
    text: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(BadName { kind: $kind, rule: $rule, text: text.chars().take(64).collect() })
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
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

name!(
    /// The account on a target, and a principal of a certificate. The alphabet keeps it out of every syntax
    /// it travels through: no comma (`authorized_keys` lists), no blank or `#` (`AuthorizedPrincipalsFile`),
    /// no wildcard, no `%` (our `login%target`), no `/` and no leading dash.
    LoginName,
    "login",
    "1 to 32 characters of a-z A-Z 0-9 . _ -, starting with a letter, digit or underscore",
    is_login
);
name!(
    /// A target as policy and users call it; it stands in host certificates, `ssh -J` and file names.
    TargetName,
    "target name",
    "1 to 253 characters of a-z 0-9 . _ -, starting and ending with a letter or digit, no two dots in a row",
    is_host_like
);
name!(
    /// A role of the policy.
    RoleName,
    "role name",
    "1 to 64 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit",
    is_word
);
name!(
    /// A rule of the policy that says which runs of CI jobs are meant.
    WorkloadName,
    "workload name",
    "1 to 64 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit",
    is_word
);
name!(
    /// A service account of the policy.
    ServiceName,
    "service name",
    "1 to 64 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit",
    is_word
);
name!(
    /// An identity provider of the configuration.
    ProviderName,
    "provider name",
    "1 to 64 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit",
    is_word
);

fn is_login(text: &str) -> bool {
    text.len() <= 32
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_host_like(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 253
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && !text.contains("..")
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_word(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A group claim, namespaced by the provider that said it: `corp:ops`. Two providers that both know a group
/// `ops` do not mean the same people.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName {
    provider: ProviderName,
    group: Box<str>,
}

impl GroupName {
    /// The group `group` as said by `provider`. Refuses empty text, control characters and more than 256 bytes.
    pub fn new(provider: ProviderName, group: &str) -> Result<Self, BadName> {
        let bad = group.is_empty() || group.len() > 256 || group.chars().any(char::is_control);
        if bad {
            return Err(BadName {
                kind: "group",
                rule: "PROVIDER:GROUP, the group 1 to 256 bytes without control characters",
                text: group.chars().take(64).collect(),
            });
        }
        Ok(Self { provider, group: group.into() })
    }

    /// The provider that speaks of this group.
    pub fn provider(&self) -> &ProviderName {
        &self.provider
    }
}

impl FromStr for GroupName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let Some((provider, group)) = text.split_once(':') else {
            return Err(BadName {
                kind: "group",
                rule: "PROVIDER:GROUP, the group 1 to 256 bytes without control characters",
                text: text.chars().take(64).collect(),
            });
        };
        Self::new(provider.parse()?, group)
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.group)
    }
}

impl fmt::Debug for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A person or job as one provider calls it: `corp:ann`, the form of `Identity::reference`. It looks like a group and is
/// none: whoever may choose names on one side must not become somebody on the other, so they stand in different lists.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectName {
    provider: ProviderName,
    subject: Box<str>,
}

impl SubjectName {
    /// The provider that speaks of this subject.
    pub fn provider(&self) -> &ProviderName {
        &self.provider
    }

    /// The subject, byte for byte as in the provider's tokens.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl FromStr for SubjectName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let (provider, subject) = text.split_once(':').unwrap_or_default();
        if subject.is_empty() || subject.len() > 256 || subject.chars().any(char::is_control) {
            return Err(BadName {
                kind: "subject",
                rule: "PROVIDER:SUBJECT, the subject 1 to 256 bytes without control characters",
                text: text.chars().take(64).collect(),
            });
        }
        Ok(Self { provider: provider.parse()?, subject: subject.into() })
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.subject)
    }
}

impl fmt::Debug for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabets() {
        for good in ["root", "deploy", "_apt", "a.b-c", "0day"] {
            assert!(good.parse::<LoginName>().is_ok(), "{good}");
        }
        for bad in
            ["", "-oProxyCommand", "a,b", "a b", "*", "a%b", "a#b", "../x", "é", "a\n", &"x".repeat(33)]
        {
            assert!(bad.parse::<LoginName>().is_err(), "{bad:?}");
        }
        for good in ["web1", "db-1.eu.example.com", "10.0.0.5"] {
            assert!(good.parse::<TargetName>().is_ok(), "{good}");
        }
        for bad in ["", "-x", "x-", "a..b", "Web1", "*", "a/b", "..", "a\0b", "[::1]"] {
            assert!(bad.parse::<TargetName>().is_err(), "{bad:?}");
        }
        assert!("ops".parse::<GroupName>().is_err());
        for bad in ["ops", "corp:", ":ann", "corp:a\nb"] {
            assert!(bad.parse::<SubjectName>().is_err(), "{bad:?}");
        }
        assert_eq!("corp:a:b".parse::<SubjectName>().unwrap().subject(), "a:b");
        assert_eq!("corp:team:ops".parse::<GroupName>().unwrap().to_string(), "corp:team:ops");
    }
}
