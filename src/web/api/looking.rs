//! Wire shapes of `/v1/access` and `/v1/reports`. Times are Unix seconds. What stands in `reason`, `ticket`, `note`, `display`
//! and `command` is text from people. How they are made of what `flow::look` found stands in `v1::looking`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const TARGET: &str = r"^[a-z0-9]([_-]*([.][_-]+)*[.]?[a-z0-9])*$";
const USER: &str = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}:[^\u0000-\u001f\u007f-\u009f]+$";

/// The query of `GET /v1/access`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct AccessQuery {
    /// Only this person: `provider:subject`. Others than yourself are for auditors.
    #[schemars(length(max = 400), regex(pattern = USER))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only what reaches this target.
    #[schemars(length(max = 253), regex(pattern = TARGET))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// The query of `GET /v1/access/history`, beside that of every list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct HistoryQuery {
    /// Only this person: `provider:subject`. Others than yourself are for auditors.
    #[schemars(length(max = 400), regex(pattern = USER))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only what reached this target.
    #[schemars(length(max = 253), regex(pattern = TARGET))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only what ended at this moment or later; 30 days back unless told.
    #[schemars(range(min = 0, max = 4_102_444_800_u64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// The query of `GET /v1/reports/unused`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct UnusedQuery {
    /// Not used for so many days; 90 unless told.
    #[schemars(range(min = 1, max = 3650))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// Who has access at this moment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccessAnswer {
    /// When it was looked.
    pub at: u64,
    /// Everybody was looked at; else you only.
    pub everybody: bool,
    /// A list had more than 500 rows and was cut: ask about one user or target.
    pub cut: bool,
    /// Access by request that exists, newest first.
    pub grants: Vec<AccessGrant>,
    /// Open sessions that hang on no request, but on standing roles; newest first.
    pub sessions: Vec<AccessSession>,
    /// Who could get there: roles that lead to the target, or are the user's. Empty where neither was named.
    pub roles: Vec<AccessRole>,
    /// What is known of the user, where one was named.
    pub person: Option<AccessPerson>,
}

/// Access that somebody got by a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccessGrant {
    /// Its id.
    #[schemars(regex(pattern = r"^grt_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub id: String,
    /// The request behind it.
    #[schemars(regex(pattern = r"^req_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub request: String,
    /// Whose: `provider:subject`.
    pub who: String,
    /// What they are called.
    pub display: String,
    /// The role whose terms hold.
    pub role: String,
    /// Targets.
    pub targets: Vec<String>,
    /// Logins.
    pub logins: Vec<String>,
    /// Only these command lines; none: whatever the role opens.
    pub commands: Vec<String>,
    /// For one use: `session` or `exec`.
    pub once: Option<String>,
    /// `open`; `scheduled`: it starts later; `locked`: a lock is on the person, the role or the targets; `void`: the policy
    /// has no such role any more; `used`: its one use is taken. Past: how it ended: `lapsed`, `released`, `revoked`, `used`,
    /// `finished`.
    #[schemars(extend("enum" = [
        "open", "scheduled", "locked", "void", "used", "lapsed", "released", "revoked", "finished",
    ]))]
    pub state: String,
    /// When it was opened.
    pub opened: u64,
    /// From when it holds.
    pub starts: u64,
    /// The first moment at which it is over.
    pub until: u64,
    /// When it was over, where it is.
    pub ended: Option<u64>,
    /// Who ended it; null where time or its use did, or it has not ended.
    pub ended_by: Option<String>,
    /// What they said.
    pub note: String,
    /// Why.
    pub reason: String,
    /// The ticket.
    pub ticket: Option<String>,
    /// It was an emergency.
    pub break_glass: bool,
    /// Who approved it: `provider:subject`. Nobody: conditions of the role did, or it was an emergency.
    pub approved_by: Vec<String>,
    /// How many sessions were opened under it.
    pub uses: u64,
    /// Sessions under it, newest first: of live access the first 50 open ones, of past access the last ten.
    pub sessions: Vec<AccessSession>,
}

/// A session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccessSession {
    /// Its id.
    #[schemars(regex(pattern = r"^ses_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub id: String,
    /// Whose: `provider:subject`.
    pub who: String,
    /// What they are called.
    pub display: String,
    /// Target.
    pub target: String,
    /// Login.
    pub login: String,
    /// `shell`, `exec`, `sftp` or `forward`.
    pub kind: String,
    /// The first 200 characters of the command line.
    pub command: String,
    /// Their address.
    pub from: String,
    /// When it was opened.
    pub opened: u64,
    /// When it was closed; null while it is open.
    pub closed: Option<u64>,
    /// Why it was closed.
    pub close_reason: Option<String>,
    /// The standing roles by which it was opened; empty where the access was by request, or not kept yet.
    pub roles: Vec<String>,
}

/// A role that leads to a target.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccessRole {
    /// The role.
    pub role: String,
    /// Whom it is for: somebody in every one of these. Who is no auditor sees what is about themselves.
    pub members: Vec<AccessMembers>,
    /// The targets that were asked about and it opens; the first hundred.
    pub targets: Vec<String>,
    /// How many it opens.
    pub target_count: u64,
    /// Logins.
    pub logins: Vec<String>,
    /// Kinds of channel.
    pub channels: Vec<String>,
    /// How members get it; null: they have it without asking.
    pub request: Option<AccessRules>,
    /// A lock is on the role, the target or the person: nobody gets in by it now.
    pub locked: bool,
}

/// People by group or by name, jobs by the rules that their runs must fit, service accounts: any of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessMembers {
    /// Groups: `provider:group`.
    pub groups: Vec<String>,
    /// People: `provider:subject`.
    pub subjects: Vec<String>,
    /// Rules of the policy about runs of jobs.
    #[serde(default)]
    pub workloads: Vec<String>,
    /// Service accounts.
    #[serde(default)]
    pub services: Vec<String>,
}

/// How people get a role that is by request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccessRules {
    /// The longest access, in seconds.
    pub max: u64,
    /// There are conditions under which nobody is asked.
    pub automatic: bool,
    /// Who approves, one stage after the other.
    pub stages: Vec<AccessStage>,
    /// In an emergency it opens at once, and these are told; null where it does not.
    pub break_glass: Option<Vec<String>>,
}

/// A stage of approval.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccessStage {
    /// Its name.
    pub name: String,
    /// How many different people must say yes.
    pub needed: u64,
    /// Who may: groups and people.
    pub approvers: Vec<String>,
    /// The owners of the target may as well, whom this label of it names.
    pub owner_label: Option<String>,
    /// Those owners, where one target was asked about.
    pub owners: Vec<String>,
    /// Who may as well after a while.
    pub escalate_to: Vec<String>,
}

/// What is known of a person.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccessPerson {
    /// `provider:subject`.
    pub who: String,
    /// What they are called.
    pub display: String,
    /// Their groups, as the provider said them last.
    pub groups: Vec<String>,
    /// Their last sign-in; null: never, and which groups they are in is not known.
    pub signed_in: Option<u64>,
    /// A lock is on them.
    pub locked: bool,
}

/// What nobody used. Nothing is taken away by this report.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnusedAnswer {
    /// From when on it was looked.
    pub since: u64,
    /// Everybody was looked at; else you only.
    pub everybody: bool,
    /// A list was cut.
    pub cut: bool,
    /// Until then uses of roles were not counted, by an older bastion: a role may have been used unseen. Null: all were.
    pub uncounted_until: Option<u64>,
    /// Roles that nobody used.
    pub roles: Vec<UnusedRole>,
    /// People who have a role, or may ask for it, and did not use it; groups from which nobody signed in.
    pub members: Vec<UnusedMember>,
    /// Access that was opened by request, and ended without a single session; newest first.
    pub grants: Vec<AccessGrant>,
    /// People who did not sign in, or are gone at their provider.
    pub people: Vec<UnusedPerson>,
    /// Workloads that did not sign in.
    pub workloads: Vec<UnusedPerson>,
}

/// A role that nobody used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnusedRole {
    /// The role.
    pub role: String,
    /// Members have it without asking.
    pub standing: bool,
    /// Its last use before that; null: never since uses are counted.
    pub last: Option<u64>,
}

/// A member who did not use a role.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnusedMember {
    /// The role.
    pub role: String,
    /// `provider:subject`, or `provider:group`.
    pub member: String,
    /// What that is.
    #[schemars(extend("enum" = ["person", "workload", "group"]))]
    pub kind: String,
    /// What they are called.
    pub display: String,
    /// They signed in some time; of a group: somebody did.
    pub known: bool,
    /// Their last use before that; null: never since uses are counted.
    pub last: Option<u64>,
}

/// Somebody who does not sign in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UnusedPerson {
    /// `provider:subject`.
    pub who: String,
    /// What they are called.
    pub display: String,
    /// Their last sign-in.
    pub last: u64,
    /// Why the provider ended it: they are gone there. Null where it did not.
    pub gone: Option<String>,
    /// The roles that they have, by their groups at that sign-in.
    pub roles: Vec<String>,
}
