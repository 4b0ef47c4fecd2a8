//! Wire shapes of `/v1/locks`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::requests::SAID;
use crate::access::{Lock, LockOn};

/// `POST /v1/locks`: nobody in, nothing out, whatever roles and grants say.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [
    { "on": "target", "name": "web1", "reason": "incident 42", "seconds": 7200 },
]))]
pub struct LockRequest {
    /// What is locked.
    pub on: LockKind,
    /// Whom or what: `provider:subject` of a person, or the name of a target or a role.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Why, on one line; it stands in the audit log.
    #[schemars(length(max = 1000), regex(pattern = SAID))]
    pub reason: String,
    /// For how long; without, until it is lifted.
    #[schemars(range(min = 1, max = 31_536_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// What can be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LockKind {
    /// A person or a workload.
    User,
    /// A target.
    Target,
    /// A role.
    Role,
}

/// A lock.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LockAnswer {
    /// Its id.
    #[schemars(regex(pattern = r"^lck_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub id: String,
    /// What is locked.
    pub on: LockKind,
    /// Whom or what.
    pub name: String,
    /// Why. Text from an administrator.
    pub reason: String,
    /// Who set it: `provider:subject`, or `admin` for the command on the server.
    pub by: String,
    /// When, in Unix seconds.
    pub created: u64,
    /// When it opens by itself, in Unix seconds; null: when it is lifted.
    pub until: Option<u64>,
    /// What whoever sets it should know, such as that nobody of this name ever signed in; null when there is nothing, and in
    /// lists.
    pub warning: Option<String>,
}

impl From<&Lock> for LockAnswer {
    fn from(lock: &Lock) -> Self {
        Self {
            id: lock.id.to_string(),
            on: match &lock.on {
                LockOn::User(_) => LockKind::User,
                LockOn::Target(_) => LockKind::Target,
                LockOn::Role(_) => LockKind::Role,
            },
            name: lock.on.name().to_owned(),
            reason: lock.reason.clone(),
            by: lock.by.clone(),
            created: lock.created.as_secs(),
            until: lock.until.map(crate::time::Timestamp::as_secs),
            warning: None,
        }
    }
}
