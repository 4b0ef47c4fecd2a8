//! Wire shapes of `/v1/alerts`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::requests::SAID;

/// `GET /v1/alerts`, signed by an auditor.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct AlertQuery {
    /// Only alerts that nobody has acknowledged.
    #[serde(default)]
    pub open: bool,
}

/// Something in the audit log that somebody should look at. Times are Unix seconds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AlertAnswer {
    /// The alert.
    #[schemars(regex(pattern = r"^alr_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub id: String,
    /// The rule that found it, as its table is called in the configuration.
    pub rule: String,
    /// Whom or what it is about.
    pub subject: String,
    /// In one line.
    pub title: String,
    /// How many events it stands for.
    pub events: u64,
    /// The first audit entry that counts.
    pub first_seq: u64,
    /// The last one so far.
    pub last_seq: u64,
    /// When the entry was written that made it an alert.
    pub happened: u64,
    /// When the last one was.
    pub last_happened: u64,
    /// When it was raised.
    pub raised: u64,
    /// When somebody acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<u64>,
    /// Who: `provider:subject`, or `admin` for the command on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `POST /v1/alerts/{id}/ack`, signed by an auditor.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "note": "a new laptop; asked Ann" }]))]
pub struct AckRequest {
    /// What you found, or what you do, on one line; it stands in the audit log.
    #[schemars(length(max = 1000), regex(pattern = SAID))]
    pub note: String,
}
