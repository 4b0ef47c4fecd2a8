//! Who somebody is: identities, and how the tokens of providers and platforms become one. Pure, except `oidc`.

pub mod claims;
pub mod logout;
pub mod oidc;
pub mod proof;
pub mod run;
pub mod statement;
pub mod token;
pub mod workload;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::names::{GroupName, ProviderName};

pub use run::Run;

/// What an identity is the identity of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A human being, signed in through a browser.
    Person,
    /// A CI job or service, known by its workload token.
    Workload,
}

/// Who: always the pair (issuer, subject). Display name and groups are labels said by the provider at sign-in.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Person or workload.
    pub kind: Kind,
    /// The configured provider that vouched.
    pub provider: ProviderName,
    /// `iss`, byte for byte.
    pub issuer: String,
    /// The subject claim, byte for byte.
    pub subject: String,
    /// A label for people to read (name or e-mail); never a key. No control characters, at most 128 bytes.
    pub display: String,
    /// Groups said by this provider; empty when the claim is missing.
    pub groups: BTreeSet<GroupName>,
    /// The run, for a workload; none for a person.
    pub run: Option<Arc<Run>>,
}

impl Identity {
    /// `provider:subject`, the form members of roles are written in and audit entries show.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.provider, self.subject)
    }

    /// Whether both are the same person, or the same one run.
    pub fn is_same_holder(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.provider == other.provider && self.holder() == other.holder()
    }

    /// The subject under which it asks for access and holds it: a person's own. A job's is that of its one run, so that
    /// another run of the same repository finds nothing open.
    pub fn holder(&self) -> String {
        match self.run.as_ref().and_then(|run| run.sign_in.as_deref()) {
            Some(sign_in) => format!("{} {sign_in}", self.subject),
            None => self.subject.clone(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reference(), self.display)
    }
}
