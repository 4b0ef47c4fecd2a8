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

/// Some of a watch of a live session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WatchAnswer {
    /// The watch, for the next question.
    pub watch: String,
    /// Lines of an asciicast v2, each with its newline: in the first answer its header and the screen as it stands, in
    /// others what came since, perhaps nothing. Text from a target.
    pub cast: String,
    /// Where that ends, for the next question.
    pub place: String,
    /// The session is over, and the watch with it.
    pub over: bool,
}

/// The query of `GET /v1/sessions/{id}/watch`: both as the answer before had them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct WatchQuery {
    /// The watch.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
    /// The place.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}
