//! Events of requests, grants and locks. Words from people (reasons, notes) stand in them as they were said.

use serde_json::{Value, json};

use crate::access::{Case, Close, Grant, Lock, Party};
use crate::ids::{CaseId, GrantId, LockId};

/// One thing that happened to access.
#[derive(Clone, Debug)]
pub enum AccessEvent {
    /// Somebody asked for access.
    Filed {
        /// The case as it was filed.
        case: Box<Case>,
        /// Number of the automatic condition that held, from 1.
        automatic: Option<usize>,
        /// The client's address.
        from: String,
        /// Digest of the policy it was filed under.
        policy: String,
    },
    /// Somebody said yes; more may be needed.
    Approved {
        /// The case.
        case: CaseId,
        /// Whose case.
        who: Party,
        /// Who said yes.
        by: Party,
        /// The stage, from 0, and its name.
        stage: (usize, String),
        /// What they said.
        note: String,
        /// What is asked for now, as it may be narrower than before.
        narrowed: bool,
        /// Their address.
        from: String,
    },
    /// Its approvers were reminded, or others may approve as well.
    Pressed {
        /// The case.
        case: CaseId,
        /// Whose case.
        who: Party,
        /// `reminded` or `escalated`.
        how: &'static str,
        /// Who may approve now.
        approvers: Vec<String>,
    },
    /// A request is over without access.
    Closed {
        /// The case.
        case: CaseId,
        /// Whose case.
        who: Party,
        /// How.
        close: Close,
        /// Who did it; none when time did.
        by: Option<Party>,
        /// What they said.
        note: String,
    },
    /// Access exists.
    Opened {
        /// The grant.
        grant: Box<Grant>,
        /// `automatic`, `approved` or `break-glass`.
        how: &'static str,
    },
    /// Access is over.
    Ended {
        /// The grant.
        grant: GrantId,
        /// The case behind it.
        case: CaseId,
        /// Whose.
        who: Party,
        /// How.
        close: Close,
        /// Who ended it; none when time or its use did.
        by: Option<Party>,
        /// What they said.
        note: String,
    },
    /// Somebody looked at a break-glass.
    Reviewed {
        /// The case.
        case: CaseId,
        /// Whose case.
        who: Party,
        /// Who looked at it.
        by: Party,
        /// What they found.
        note: String,
    },
    /// A person, a target or a role was locked.
    Locked {
        /// The lock.
        lock: Lock,
    },
    /// A lock was lifted.
    Unlocked {
        /// Which.
        lock: LockId,
        /// `user`, `target` or `role`.
        kind: &'static str,
        /// Whom or what it was on.
        name: String,
        /// Who lifted it.
        by: String,
    },
}

impl AccessEvent {
    /// The stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Filed { .. } => "case_filed",
            Self::Approved { .. } => "case_approved",
            Self::Pressed { .. } => "case_pressed",
            Self::Closed { .. } => "case_closed",
            Self::Opened { .. } => "grant_opened",
            Self::Ended { .. } => "grant_ended",
            Self::Reviewed { .. } => "break_glass_reviewed",
            Self::Locked { .. } => "locked",
            Self::Unlocked { .. } => "unlocked",
        }
    }

    /// The fields.
    pub fn fields(&self) -> Value {
        match self {
            Self::Filed { case, automatic, from, policy } => filed(case, *automatic, from, policy),
            Self::Approved { case, who, by, stage: (stage, name), note, narrowed, from } => with(
                who,
                json!({
                    "case": case.as_str(), "by": by.reference, "by_display": by.display, "stage": stage,
                    "stage_name": name, "note": note, "narrowed": narrowed, "from": from,
                }),
            ),
            Self::Pressed { case, who, how, approvers } => {
                with(who, json!({ "case": case.as_str(), "how": how, "approvers": approvers }))
            }
            Self::Closed { case, who, close, by, note } => with(
                who,
                json!({ "case": case.as_str(), "close": close.as_str(), "by": reference(by.as_ref()), "note": note }),
            ),
            Self::Opened { grant, how } => with(
                &grant.who,
                json!({
                    "grant": grant.id.as_str(), "case": grant.case.as_str(), "how": how,
                    "role": grant.scope.role.as_str(), "targets": texts(&grant.scope.targets),
                    "logins": texts(&grant.scope.logins), "commands": grant.scope.commands,
                    "once": grant.scope.once.map(crate::access::Once::as_str),
                    "starts": grant.starts.as_secs(), "until": grant.until.as_secs(),
                    "break_glass": grant.break_glass,
                }),
            ),
            Self::Ended { grant, case, who, close, by, note } => with(
                who,
                json!({
                    "grant": grant.as_str(), "case": case.as_str(), "close": close.as_str(),
                    "by": reference(by.as_ref()), "note": note,
                }),
            ),
            Self::Reviewed { case, who, by, note } => {
                with(who, json!({ "case": case.as_str(), "by": by.reference, "note": note }))
            }
            Self::Locked { lock } => json!({
                "lock": lock.id.as_str(), "kind": lock.on.kind(), "name": lock.on.name(), "reason": lock.reason,
                "by": lock.by, "until": lock.until.map(crate::time::Timestamp::as_secs),
            }),
            Self::Unlocked { lock, kind, name, by } => {
                json!({ "lock": lock.as_str(), "kind": kind, "name": name, "by": by })
            }
        }
    }
}

fn filed(case: &Case, automatic: Option<usize>, from: &str, policy: &str) -> Value {
    let scope = &case.asked;
    let stages: Vec<Value> = case
        .stages
        .iter()
        .map(|stage| {
            json!({ "name": stage.name, "approvers": stage.approvers.listed(), "needed": stage.needed })
        })
        .collect();
    with(
        &case.who,
        json!({
            "case": case.id.as_str(), "role": scope.role.as_str(), "targets": texts(&scope.targets),
            "logins": texts(&scope.logins), "commands": scope.commands, "length_secs": scope.length.as_secs(),
            "once": scope.once.map(crate::access::Once::as_str),
            "start": case.start.map(crate::time::Timestamp::as_secs), "reason": case.reason,
            "ticket": case.ticket, "break_glass": case.break_glass, "automatic": automatic, "stages": stages,
            "from": from, "policy": policy,
        }),
    )
}

fn texts<T: ToString>(all: impl IntoIterator<Item = T>) -> Vec<String> {
    all.into_iter().map(|one| one.to_string()).collect()
}

fn reference(by: Option<&Party>) -> Option<&str> {
    by.map(|by| by.reference.as_str())
}

/// `fields` and whose access it is, in the words of the other events.
fn with(who: &Party, mut fields: Value) -> Value {
    if let Value::Object(all) = &mut fields {
        all.insert("who".into(), who.reference.as_str().into());
        all.insert("issuer".into(), who.issuer.as_str().into());
        all.insert("subject".into(), who.subject.as_str().into());
        all.insert("display".into(), who.display.as_str().into());
    }
    fields
}
