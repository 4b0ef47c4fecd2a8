//! Wire shapes of `/v1/revocations`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::requests::SAID;
use crate::store::RevocationRow;
use crate::time::Timestamp;

/// `POST /v1/revocations`, signed: revoke something. Anything by admins; one's own key, certificate or session by anybody.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "kind": "user", "value": "corp:nobody-here", "reason": "left the company" }]))]
pub struct RevocationRequest {
    /// What is to be revoked.
    pub kind: RevocationKind,
    /// Which one: `provider:subject`; `SHA256:...` or a public key; a key id; a decimal serial; a session's id.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
    /// Why, on one line; it stands in the audit log.
    #[schemars(length(max = 1000), regex(pattern = SAID))]
    pub reason: String,
}

/// What can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationKind {
    /// A person: sign-ins, certificates and sessions.
    User,
    /// A job or service, likewise.
    Workload,
    /// A key, for good.
    Key,
    /// All certificates with this key id.
    KeyId,
    /// One certificate.
    Serial,
    /// A session and its certificate.
    Session,
    /// The key of an authority that is not in use any more.
    Ca,
}

impl RevocationKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Workload => "workload",
            Self::Key => "key",
            Self::KeyId => "key-id",
            Self::Serial => "serial",
            Self::Session => "session",
            Self::Ca => "ca",
        }
    }
}

/// What came of it; nothing but `version` when all of it was revoked before.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RevocationAnswer {
    /// What is revoked now and was not before.
    pub revoked: Vec<Revocation>,
    /// The sign-ins that ended.
    pub sign_ins: Vec<String>,
    /// The version of the list of revocations, decimal.
    #[schemars(regex(pattern = r"^[0-9]{1,20}$"))]
    pub version: String,
}

/// One thing that is revoked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Revocation {
    /// Its id.
    #[schemars(regex(pattern = r"^rev_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub id: String,
    /// `serial`, `key`, `key-id`, `ca` or `session`.
    pub kind: String,
    /// Whose certificates: `user`, `target` or `any`.
    pub authority: String,
    /// Serial, fingerprint, key id or session id.
    pub value: String,
    /// Why.
    pub reason: String,
    /// Who: `provider:subject`, or `admin` for the command on the server.
    pub by: String,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds when it stops to matter; null means never.
    pub until: Option<u64>,
}

impl From<&RevocationRow> for Revocation {
    fn from(row: &RevocationRow) -> Self {
        Self {
            id: row.id.to_string(),
            kind: row.kind.clone(),
            authority: row.authority.clone(),
            value: row.value.clone(),
            reason: row.reason.clone(),
            by: row.by.clone(),
            created: row.created.as_secs(),
            until: row.until.map(Timestamp::as_secs),
        }
    }
}
