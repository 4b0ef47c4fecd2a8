//! One run of a CI job, or one use of a service account, as the proof that it showed tells of it. What a platform's token must
//! look like is `workload`'s matter; which runs may do what is the policy's, which judges the claims kept here at every step again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use crate::platform::{Platform, UnknownPlatform};

/// What makes a run one that strangers may steer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hazard {
    /// It was started by, or for, a pull or merge request. Passes where a rule names that very event.
    PullRequest,
    /// The code is that of a fork. Never passes.
    Fork,
    /// A person restarted the job with a shell on it. Never passes.
    SshRerun,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Whose token it was.
    pub platform: Platform,
    /// The immutable id of what runs, with the word for what it is: `repository/123456`, `project/42`, `account/backup`.
    /// The subject of the identity: locks and revocations name it.
    pub subject: String,
    /// How people call it now: `acme/shop`. A label, never a key.
    pub label: String,
    /// The platform's id of the run: `987654321`; what ends when the platform says that a run is over.
    pub id: Option<String>,
    /// Which attempt of that run.
    pub attempt: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// Where people look at the run: an https URL without blanks.
    pub url: Option<String>,
    /// Who started it, as the platform calls them. A label.
    pub actor: Option<String>,
    /// The claims that rules may speak of, by our names for them; values as text (`true`, `false`, decimal digits).
    pub claims: BTreeMap<String, String>,
    /// Why one might not trust it.
    pub hazards: BTreeSet<Hazard>,
    /// The sign-in that it has here, once it has one: what it asks for is for nobody else, also of the same repository.
    pub sign_in: Option<String>,
}

impl Run {
    /// A claim.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).map(String::as_str)
    }
}
