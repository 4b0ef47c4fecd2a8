//! Wire shapes of `/v1/requests`, `/v1/inbox` and `/v1/eligible`. Times are Unix seconds, lengths seconds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name of a target, or a label as `key=value`.
const TARGET: &str = r"^([a-z0-9]([_-]*([.][_-]+)*[.]?[a-z0-9])*|[^=\u0000-\u001f\u007f-\u009f]+=[^\u0000-\u001f\u007f-\u009f]+)$";
const LOGIN: &str = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$";
const ROLE: &str = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";
/// One line without control characters; it may say nothing.
const LINE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// One line that says something.
pub(super) const SAID: &str =
    r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u001f\u007f-\u009f\s][^\u0000-\u001f\u007f-\u009f]*$";
/// One line without blanks at its ends.
const COMMAND: &str =
    r"^[^\u0000-\u001f\u007f-\u009f\s]([^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u001f\u007f-\u009f\s])?$";

/// `POST /v1/requests`: ask for access.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [
    { "targets": ["web1"], "logins": ["deploy"], "seconds": 1800, "reason": "OPS-123 rotate the certificate" },
    { "targets": ["env=prod"], "role": "on-call", "reason": "checkout is down", "break_glass": true, "dry_run": true },
]))]
pub struct AskRequest {
    /// Targets by name, or all that the role opens and that have a label: `env=prod`.
    #[schemars(length(min = 1, max = 50), inner(length(max = 253), regex(pattern = TARGET)))]
    pub targets: Vec<String>,
    /// Logins there. None: all that the role opens.
    #[schemars(length(max = 50), inner(regex(pattern = LOGIN)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<String>,
    /// Under which role; needed where several open it.
    #[schemars(regex(pattern = ROLE))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Only these command lines, byte for byte as they will be sent: no shell, no files, no forwards.
    #[schemars(length(max = 20), inner(length(min = 1, max = 1000), regex(pattern = COMMAND)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// For how long; 30 minutes, or what the role allows, unless told.
    #[schemars(range(min = 1, max = 31_536_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// From when, at most 30 days ahead; from the approval unless told.
    #[schemars(range(min = 0, max = 4_102_444_800_u64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// For one use: over when the first session is closed, or when the first command is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<OnceWord>,
    /// Why, on one line. What it must be like is the role's matter.
    #[schemars(length(max = 1000), regex(pattern = LINE))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A ticket.
    #[schemars(length(max = 1000), regex(pattern = LINE))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ticket: String,
    /// An emergency: at once where the role knows that; everybody named hears of it, and somebody else must review it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// File nothing; answer what would become of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// For one use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnceWord {
    /// Until the first session is closed.
    Session,
    /// Until the first command is done.
    Exec,
}

/// Answer to `POST /v1/requests`: the request, or with `dry_run` the plan for it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AskAnswer {
    /// The request as it was filed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestAnswer>,
    /// What would become of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanAnswer>,
    /// It had been filed before, under the same idempotency key.
    pub again: bool,
}

/// What would become of a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PlanAnswer {
    /// What would be asked for.
    pub scope: ScopeAnswer,
    /// From when; null: from the approval.
    pub start: Option<u64>,
    /// Number, from 1, of the automatic condition of the role that holds: nobody would be asked.
    pub automatic: Option<u64>,
    /// It would open at once as an emergency; who would hear of it and review it.
    pub break_glass: Option<Vec<String>>,
    /// Who would be asked, one stage after the other.
    pub stages: Vec<StageAnswer>,
    /// Seconds that it may wait.
    pub pending: u64,
}

/// What access reaches: all of it must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScopeAnswer {
    /// The role whose terms hold.
    pub role: String,
    /// Targets.
    pub targets: Vec<String>,
    /// Logins.
    pub logins: Vec<String>,
    /// Only these command lines; none: whatever the role opens.
    pub commands: Vec<String>,
    /// For how long.
    pub seconds: u64,
    /// For one use.
    pub once: Option<OnceWord>,
}

/// One stage: people who must approve.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StageAnswer {
    /// Its name.
    pub name: String,
    /// Who may approve: groups and people, `provider:name`.
    pub approvers: Vec<String>,
    /// How many different people must.
    pub needed: u64,
    /// Who did.
    pub approvals: Vec<ApprovalAnswer>,
    /// How far it is.
    pub state: StageState,
    /// Seconds after which they are reminded.
    pub remind_after: Option<u64>,
    /// Seconds after which others may approve as well.
    pub escalate_after: Option<u64>,
    /// Those others.
    pub escalate_to: Vec<String>,
    /// Seconds after which the request is void.
    pub give_up_after: Option<u64>,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageState {
    /// Everybody who must has approved.
    Done,
    /// Its people are asked now.
    Now,
    /// It comes later, or never came.
    Next,
}

/// A yes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalAnswer {
    /// Whose.
    pub by: PersonAnswer,
    /// When.
    pub at: u64,
    /// What they said. Text from people.
    pub note: String,
}

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PersonAnswer {
    /// `provider:subject`.
    pub who: String,
    /// A label. Text from the provider.
    pub display: String,
}

/// A request with all that happened to it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RequestAnswer {
    /// Its id.
    #[schemars(regex(pattern = r"^req_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub id: String,
    /// Whose.
    pub by: PersonAnswer,
    /// `waiting`; `granted`; or how it was closed: `denied`, `expired`, `cancelled`, `outdated` without having opened
    /// anything, `lapsed`, `released`, `revoked`, `used`, `finished` after.
    #[schemars(extend("enum" = [
        "waiting", "granted", "denied", "expired", "cancelled", "outdated", "lapsed", "released", "revoked", "used", "finished",
    ]))]
    pub state: String,
    /// What was asked for.
    pub asked: ScopeAnswer,
    /// What of it is or would be granted: the same, or less, after an approver took something away.
    pub scope: ScopeAnswer,
    /// An approver took something away.
    pub narrowed: bool,
    /// The start of the window that was asked for.
    pub start: Option<u64>,
    /// Why. Text from people.
    pub reason: String,
    /// The ticket. Text from people.
    pub ticket: Option<String>,
    /// It was an emergency.
    pub break_glass: bool,
    /// When it was filed.
    pub filed: u64,
    /// When it is void unless approved.
    pub expires: u64,
    /// Who must approve and who did, one stage after the other.
    pub stages: Vec<StageAnswer>,
    /// Who can approve now; none when nothing is waited for.
    pub approvers: Vec<String>,
    /// How many more people must in this stage.
    pub missing: u64,
    /// What whoever asks may do to it now: `approve`, `deny`, `cancel`, `release`, `revoke`, `review`.
    pub may: Vec<String>,
    /// What it opened.
    pub grant: Option<GrantAnswer>,
    /// How it was closed.
    pub closed: Option<ClosedAnswer>,
    /// What is to be looked at afterwards; null where nothing is.
    pub review: Option<ReviewAnswer>,
}

/// Access that exists, or did.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GrantAnswer {
    /// Its id.
    #[schemars(regex(pattern = r"^grt_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub id: String,
    /// From when.
    pub starts: u64,
    /// The first moment at which it is over.
    pub until: u64,
    /// When it was ended, or found to be over.
    pub ended: Option<u64>,
    /// It opens something now.
    pub live: bool,
    /// How many sessions began under it.
    pub uses: u64,
}

/// An end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClosedAnswer {
    /// When.
    pub at: u64,
    /// By whom; null when time, its use or a change of the policy did it.
    pub by: Option<PersonAnswer>,
    /// What they said. Text from people.
    pub note: String,
}

/// The review of an emergency.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReviewAnswer {
    /// Somebody still has to.
    pub due: bool,
    /// Who may, beside admins.
    pub reviewers: Vec<String>,
    /// Who did.
    pub by: Option<PersonAnswer>,
    /// When.
    pub at: Option<u64>,
    /// What they found. Text from people.
    pub note: String,
}

/// `POST /v1/requests/{id}/approve`: yes. What is given here takes away from what was asked for; it cannot add.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "seconds": 600, "logins": ["deploy"], "note": "ten minutes will do" }, {}]))]
pub struct ApproveRequest {
    /// At most so long.
    #[schemars(range(min = 1, max = 31_536_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Only these logins.
    #[schemars(length(min = 1, max = 50), inner(regex(pattern = LOGIN)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logins: Option<Vec<String>>,
    /// Only these command lines.
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 1000), regex(pattern = COMMAND)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands: Option<Vec<String>>,
    /// Something to say, on one line.
    #[schemars(length(max = 1000), regex(pattern = LINE))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// `POST /v1/requests/{id}/deny` and `.../revoke`: why.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "reason": "not during the freeze" }]))]
pub struct ReasonRequest {
    /// Why, on one line.
    #[schemars(length(max = 1000), regex(pattern = SAID))]
    pub reason: String,
}

/// `POST /v1/requests/{id}/review`: closes the review of an emergency.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "note": "restarted nginx, nothing else; the recording shows it" }]))]
pub struct ReviewRequest {
    /// What was found, on one line.
    #[schemars(length(max = 1000), regex(pattern = SAID))]
    pub note: String,
}

/// The query of `GET /v1/requests`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct RequestsQuery {
    /// `own` (the default), or `all` for auditors.
    #[schemars(extend("enum" = ["own", "all"]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Only those in this state.
    #[schemars(extend("enum" = [
        "waiting", "granted", "denied", "expired", "cancelled", "outdated", "lapsed", "released", "revoked", "used", "finished",
    ]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A role of whoever asks: what they may ask for, or have without asking.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EligibleAnswer {
    /// The role.
    pub role: String,
    /// The first hundred targets that it opens.
    pub targets: Vec<String>,
    /// How many it opens.
    pub target_count: u64,
    /// Logins.
    pub logins: Vec<String>,
    /// Kinds of channel.
    pub channels: Vec<String>,
    /// How to ask for it; null: nobody needs to.
    pub asking: Option<AskingAnswer>,
}

/// How to ask for a role.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AskingAnswer {
    /// Longest access, in seconds.
    pub max: u64,
    /// What the reason must be like.
    pub reason: WordsAnswer,
    /// What the ticket must be like.
    pub ticket: WordsAnswer,
    /// A connection asks by itself.
    pub connect: bool,
    /// There are conditions under which nobody is asked.
    pub automatic: bool,
    /// The names of the stages of approval.
    pub stages: Vec<String>,
    /// It knows emergencies.
    pub break_glass: bool,
}

/// What a text must be like.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WordsAnswer {
    /// It must be there.
    pub required: bool,
    /// Fewest characters.
    pub min: u64,
    /// A regular expression for the whole of it.
    pub pattern: Option<String>,
}
