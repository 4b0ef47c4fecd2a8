//! How a case and the scope of a grant are written down: shapes of the store alone, converted by hand, so that the subjects stay
//! free. What does not parse is a [`StoreError::BadRow`](super::super::StoreError).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::{Approval, Approvers, Case, Close, Once, Party, Review, Scope, Stage, State};
use crate::names::GroupName;
use crate::store::StoreError;
use crate::store::column::bad;
use crate::time::Timestamp;

const TABLE: &str = "access_case";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseJson {
    who: PartyJson,
    asked: ScopeJson,
    scope: ScopeJson,
    start: Option<u64>,
    reason: String,
    ticket: Option<String>,
    break_glass: bool,
    filed: u64,
    expires: u64,
    stages: Vec<StageJson>,
    approvals: Vec<ApprovalJson>,
    state: StateJson,
    review: ReviewJson,
    reviewers: PeopleJson,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyJson {
    issuer: String,
    subject: String,
    reference: String,
    display: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeopleJson {
    groups: Vec<String>,
    subjects: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeJson {
    role: String,
    targets: Vec<String>,
    logins: Vec<String>,
    commands: BTreeSet<String>,
    length_ms: u64,
    once: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageJson {
    name: String,
    approvers: PeopleJson,
    needed: usize,
    remind_after_ms: Option<u64>,
    escalate_after_ms: Option<u64>,
    escalate_to: Option<PeopleJson>,
    give_up_after_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalJson {
    stage: usize,
    by: PartyJson,
    at: u64,
    note: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
enum StateJson {
    Waiting { stage: usize, since: u64, reminded: bool, escalated: bool },
    Granted { grant: String, starts: u64, until: u64 },
    Closed { close: String, at: u64, by: Option<PartyJson>, note: String },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
enum ReviewJson {
    NotNeeded,
    Due,
    Done { by: PartyJson, at: u64, note: String },
}

/// The text of a case.
pub(super) fn case_text(case: &Case) -> Result<String, StoreError> {
    let json = CaseJson {
        who: party(&case.who),
        asked: scope(&case.asked),
        scope: scope(&case.scope),
        start: case.start.map(Timestamp::as_millis),
        reason: clean(&case.reason),
        ticket: case.ticket.as_deref().map(clean),
        break_glass: case.break_glass,
        filed: case.filed.as_millis(),
        expires: case.expires.as_millis(),
        stages: case.stages.iter().map(stage).collect(),
        approvals: case
            .approvals
            .iter()
            .map(|one| ApprovalJson {
                stage: one.stage,
                by: party(&one.by),
                at: one.at.as_millis(),
                note: clean(&one.note),
            })
            .collect(),
        state: match &case.state {
            State::Waiting { stage, since, reminded, escalated } => StateJson::Waiting {
                stage: *stage,
                since: since.as_millis(),
                reminded: *reminded,
                escalated: *escalated,
            },
            State::Granted { grant, starts, until } => StateJson::Granted {
                grant: grant.to_string(),
                starts: starts.as_millis(),
                until: until.as_millis(),
            },
            State::Closed { close, at, by, note } => StateJson::Closed {
                close: close.as_str().to_owned(),
                at: at.as_millis(),
                by: by.as_ref().map(party),
                note: clean(note),
            },
        },
        review: match &case.review {
            Review::NotNeeded => ReviewJson::NotNeeded,
            Review::Due => ReviewJson::Due,
            Review::Done { by, at, note } => {
                ReviewJson::Done { by: party(by), at: at.as_millis(), note: clean(note) }
            }
        },
        reviewers: people(&case.reviewers),
    };
    serde_json::to_string(&json).map_err(|error| bad(TABLE, format_args!("json: {error}")))
}

/// The case `id` of a text.
pub(super) fn read_case(id: &str, text: &str) -> Result<Case, StoreError> {
    let json: CaseJson =
        serde_json::from_str(text).map_err(|error| bad(TABLE, format_args!("{id}: json: {error}")))?;
    let time = Timestamp::from_millis;
    Ok(Case {
        id: parsed(id)?,
        who: read_party(json.who),
        asked: read_scope(json.asked)?,
        scope: read_scope(json.scope)?,
        start: json.start.map(time),
        reason: json.reason,
        ticket: json.ticket,
        break_glass: json.break_glass,
        filed: time(json.filed),
        expires: time(json.expires),
        stages: json.stages.into_iter().map(read_stage).collect::<Result<_, _>>()?,
        approvals: json
            .approvals
            .into_iter()
            .map(|one| Approval {
                stage: one.stage,
                by: read_party(one.by),
                at: time(one.at),
                note: one.note,
            })
            .collect(),
        state: match json.state {
            StateJson::Waiting { stage, since, reminded, escalated } => {
                State::Waiting { stage, since: time(since), reminded, escalated }
            }
            StateJson::Granted { grant, starts, until } => {
                State::Granted { grant: parsed(&grant)?, starts: time(starts), until: time(until) }
            }
            StateJson::Closed { close, at, by, note } => State::Closed {
                close: Close::ALL
                    .into_iter()
                    .find(|known| known.as_str() == close)
                    .ok_or_else(|| bad(TABLE, format_args!("{id}: close {close:?} is unknown")))?,
                at: time(at),
                by: by.map(read_party),
                note,
            },
        },
        review: match json.review {
            ReviewJson::NotNeeded => Review::NotNeeded,
            ReviewJson::Due => Review::Due,
            ReviewJson::Done { by, at, note } => Review::Done { by: read_party(by), at: time(at), note },
        },
        reviewers: read_people(json.reviewers)?,
    })
}

/// The text of a scope.
pub(super) fn scope_text(value: &Scope) -> Result<String, StoreError> {
    serde_json::to_string(&scope(value)).map_err(|error| bad("access_grant", format_args!("scope: {error}")))
}

/// The scope of a text.
pub(super) fn read_scope_text(text: &str) -> Result<Scope, StoreError> {
    let json = serde_json::from_str(text)
        .map_err(|error| bad("access_grant", format_args!("scope_json: {error}")))?;
    read_scope(json)
}

/// Neither database takes NUL, and a word with one must not keep a case from being written.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn party(who: &Party) -> PartyJson {
    PartyJson {
        issuer: clean(&who.issuer),
        subject: clean(&who.subject),
        reference: clean(&who.reference),
        display: clean(&who.display),
    }
}

fn read_party(json: PartyJson) -> Party {
    let PartyJson { issuer, subject, reference, display } = json;
    Party { issuer, subject, reference, display }
}

fn people(people: &Approvers) -> PeopleJson {
    PeopleJson {
        groups: people.groups.iter().map(ToString::to_string).collect(),
        subjects: people.subjects.clone(),
    }
}

fn read_people(json: PeopleJson) -> Result<Approvers, StoreError> {
    let groups = json.groups.iter().map(|group| parsed::<GroupName>(group)).collect::<Result<_, _>>()?;
    Ok(Approvers { groups, subjects: json.subjects })
}

fn scope(scope: &Scope) -> ScopeJson {
    ScopeJson {
        role: scope.role.to_string(),
        targets: scope.targets.iter().map(ToString::to_string).collect(),
        logins: scope.logins.iter().map(ToString::to_string).collect(),
        commands: scope.commands.clone(),
        length_ms: millis(scope.length),
        once: scope.once.map(|once| once.as_str().to_owned()),
    }
}

fn read_scope(json: ScopeJson) -> Result<Scope, StoreError> {
    let once = json.once.map(|word| {
        Once::ALL
            .into_iter()
            .find(|once| once.as_str() == word)
            .ok_or_else(|| bad(TABLE, format_args!("once {word:?} is unknown")))
    });
    Ok(Scope {
        role: parsed(&json.role)?,
        targets: json.targets.iter().map(|name| parsed(name)).collect::<Result<_, _>>()?,
        logins: json.logins.iter().map(|name| parsed(name)).collect::<Result<_, _>>()?,
        commands: json.commands,
        length: Duration::from_millis(json.length_ms),
        once: once.transpose()?,
    })
}

fn stage(stage: &Stage) -> StageJson {
    StageJson {
        name: clean(&stage.name),
        approvers: people(&stage.approvers),
        needed: stage.needed,
        remind_after_ms: stage.remind_after.map(millis),
        escalate_after_ms: stage.escalate.as_ref().map(|(after, _)| millis(*after)),
        escalate_to: stage.escalate.as_ref().map(|(_, to)| people(to)),
        give_up_after_ms: stage.give_up_after.map(millis),
    }
}

fn read_stage(json: StageJson) -> Result<Stage, StoreError> {
    let span = Duration::from_millis;
    let escalate = match (json.escalate_after_ms, json.escalate_to) {
        (Some(after), Some(to)) => Some((span(after), read_people(to)?)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(bad(TABLE, "half an escalation")),
    };
    Ok(Stage {
        name: json.name,
        approvers: read_people(json.approvers)?,
        needed: json.needed,
        remind_after: json.remind_after_ms.map(span),
        escalate,
        give_up_after: json.give_up_after_ms.map(span),
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| bad(TABLE, error))
}
