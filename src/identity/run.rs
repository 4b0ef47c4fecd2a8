//! One run of a CI job, or one use of a service account, as the proof that it showed tells of it. What a platform's token must
//! look like is `workload`'s matter; which runs may do what is the policy's, which judges the claims kept here at every step again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What issues tokens to jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Forgejo Actions.
    Forgejo,
    /// Buildkite.
    Buildkite,
    /// CircleCI.
    CircleCi,
    /// Service accounts of a Kubernetes cluster.
    Kubernetes,
    /// Any other issuer that speaks OpenID Connect.
    Oidc,
    /// A service account of our own policy: no token, a registered SSH key.
    Service,
}

impl Platform {
    /// Those that issue tokens.
    pub const ISSUERS: [Self; 7] = [
        Self::GitHub,
        Self::GitLab,
        Self::Forgejo,
        Self::Buildkite,
        Self::CircleCi,
        Self::Kubernetes,
        Self::Oidc,
    ];

    /// The word of configuration, wire and store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Forgejo => "forgejo",
            Self::Buildkite => "buildkite",
            Self::CircleCi => "circleci",
            Self::Kubernetes => "kubernetes",
            Self::Oidc => "oidc",
            Self::Service => "service",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the word of a platform that issues tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform {0:?}")]
pub struct UnknownPlatform(String);

impl FromStr for Platform {
    type Err = UnknownPlatform;
    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        let known = Self::ISSUERS.into_iter().find(|platform| platform.as_str() == text);
        known.ok_or_else(|| UnknownPlatform(text.chars().take(64).collect()))
    }
}

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
}

impl Run {
    /// A claim.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).map(String::as_str)
    }
}
