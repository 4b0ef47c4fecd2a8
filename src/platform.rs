//! The platforms whose jobs come with a token: only what they are called. What their tokens say is `identity::workload`'s matter.

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
