//! Wire shapes of `/v1/sessions`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::requests::SAID;
use crate::store::SessionRow;

/// `POST /v1/sessions/{id}/kill`: end a live session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "reason": "wrong machine" }]))]
pub struct KillRequest {
    /// Why, on one line; the user is shown it, and it stands in the audit log.
    #[schemars(length(max = 1000), regex(pattern = SAID))]
    pub reason: String,
}

/// The session that was ordered to end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KilledSession {
    /// Its id.
    #[schemars(regex(pattern = r"^ses_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub session: String,
    /// Whose it is: `provider:subject`.
    pub who: String,
    /// Its target.
    pub target: String,
    /// Its login there.
    pub login: String,
    /// The bastion that holds it.
    pub node: String,
}

impl From<&SessionRow> for KilledSession {
    fn from(row: &SessionRow) -> Self {
        Self {
            session: row.id.to_string(),
            who: row.who.clone(),
            target: row.target.clone(),
            login: row.login.clone(),
            node: row.node.clone(),
        }
    }
}
