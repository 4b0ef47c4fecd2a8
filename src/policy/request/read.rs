//! Reads `[role.request]`. Rules by which nothing could ever be approved do not load.

use std::collections::BTreeSet;
use std::time::Duration;

use regex_lite::RegexBuilder;

use super::{Automatic, Pattern, RequestRules, StageRule, Words};
use crate::access::Approvers;
use crate::config::{Bounds, REQUEST_MAX, REQUEST_PENDING, REQUEST_REASON_MIN, REQUEST_SPAN, Section, hint};
use crate::names::{ProviderName, RoleName};
use crate::policy::{conditions, role, target};

/// Largest compiled pattern, in bytes, and longest text of one.
const PATTERN_BYTES_MAX: usize = 1 << 16;
const PATTERN_MAX: usize = 300;
/// Most people of one stage.
const NEEDED: Bounds<u64> = Bounds { default: 1, min: 1, max: 20 };
const LETTERS: Bounds<u64> = Bounds { default: 0, min: 0, max: 200 };

/// Reads the table.
pub(in crate::policy) fn read(mut table: Section<'_>, providers: Option<&[ProviderName]>) -> RequestRules {
    let span = |table: &mut Section<'_>, key, bounds: &Bounds<Duration>| {
        table.duration(key, bounds).map_or(bounds.default, |at| at.value)
    };
    let max = span(&mut table, "max", &REQUEST_MAX);
    let pending_max = span(&mut table, "pending_max", &REQUEST_PENDING);
    let required = Words { required: true, min: REQUEST_REASON_MIN, pattern: None };
    let reason = words(&mut table, "reason", required);
    let ticket = words(&mut table, "ticket", Words { required: false, min: 0, pattern: None });
    let connect = table.flag("connect").is_some_and(|at| at.value);
    if let Some(place) = table.place_of("connect").filter(|_| connect)
        && ticket.required
    {
        table.problem(place, "a connection cannot name a ticket: leave out \"connect\" or the ticket");
    }
    let automatic = table.children("automatic").into_iter().map(automatic).collect();
    let stages: Vec<StageRule> = table
        .children("stage")
        .into_iter()
        .enumerate()
        .map(|(at, stage)| self::stage(stage, at, providers))
        .collect();
    let break_glass = table.place_of("break_glass").map(|_| {
        let mut people = table.child("break_glass");
        let who = approvers(&mut people, providers);
        if who.is_empty() {
            people.problem(
                people.place,
                "nobody would hear of it: give the \"groups\" or \"subjects\" who are told and review it",
            );
        }
        people.finish();
        who
    });
    let nobody = |key: &str| table.place_of(key).is_none() || table.is_empty_array(key);
    if nobody("stage") && nobody("automatic") && break_glass.is_none() {
        table.problem(
            table.place,
            "nobody could ever approve a request: give [[role.request.stage]], or \"automatic\" conditions",
        );
    }
    table.finish();
    RequestRules { max, pending_max, reason, ticket, connect, automatic, stages, break_glass }
}

fn words(table: &mut Section<'_>, key: &'static str, default: Words) -> Words {
    if table.place_of(key).is_none() {
        return default;
    }
    let mut words = table.child(key);
    let required = words.flag("required").map_or(default.required || key == "ticket", |at| at.value);
    let min = words.number("min", &LETTERS).and_then(|at| usize::try_from(at.value).ok());
    let pattern = words.text("pattern").and_then(|text| {
        let whole = format!("^(?:{})$", text.value);
        let built = RegexBuilder::new(&whole).size_limit(PATTERN_BYTES_MAX).build();
        match built {
            Ok(whole) if text.value.len() <= PATTERN_MAX => {
                Some(Pattern { text: text.value.to_owned(), whole })
            }
            Ok(_) => {
                words.problem(text.place, format!("a pattern has at most {PATTERN_MAX} bytes"));
                None
            }
            Err(error) => {
                words.problem(text.place, format!("{:?} is not a regular expression: {error}", text.value));
                None
            }
        }
    });
    words.finish();
    Words { required, min: min.unwrap_or(default.min), pattern }
}

fn automatic(mut table: Section<'_>) -> Automatic {
    let mut labels = Vec::new();
    for map in table.children("labels") {
        let place = map.place;
        let wanted = target::labels(map);
        if wanted.is_empty() {
            table.problem(place, "labels without a label would match every target: name at least one");
        }
        labels.push(wanted);
    }
    let roles = table.names::<RoleName>("roles").map(|at| at.value).unwrap_or_default();
    let roles: BTreeSet<RoleName> = roles.into_iter().map(|at| at.value).collect();
    let hours = conditions::hours(&mut table);
    let approved_within = table.duration("approved_within", &REQUEST_SPAN).map(|at| at.value);
    let max = table.duration("max", &REQUEST_MAX).map(|at| at.value);
    let always = table.flag("always").is_some_and(|at| at.value);
    let nothing = labels.is_empty()
        && roles.is_empty()
        && hours.is_none()
        && approved_within.is_none()
        && max.is_none();
    if nothing && !always {
        table.problem(
            table.place,
            "a condition that says nothing would always hold: give one, or say \"always = true\"",
        );
    }
    if !nothing && always {
        table.problem(table.place, "\"always\" stands alone: leave it out, or the other conditions");
    }
    table.finish();
    Automatic { labels, roles, hours, approved_within, max }
}

fn stage(mut table: Section<'_>, at: usize, providers: Option<&[ProviderName]>) -> StageRule {
    let name = table.text("name").map_or_else(|| format!("stage {}", at + 1), |text| text.value.to_owned());
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        let place = table.place_of("name").unwrap_or(table.place);
        table.problem(place, "a stage's name has 1 to 100 bytes without control characters");
    }
    let approvers = approvers(&mut table, providers);
    let owner_label = table.text("owner_label").map(|text| text.value.to_owned());
    if approvers.is_empty() && owner_label.is_none() {
        table.problem(
            table.place,
            "nobody can approve here: give \"groups\", \"subjects\" or an \"owner_label\"",
        );
    }
    let needed = table.number("approvals", &NEEDED).and_then(|at| usize::try_from(at.value).ok());
    let needed = needed.unwrap_or(1);
    let people = approvers.subjects.len();
    if approvers.groups.is_empty() && owner_label.is_none() && needed > people && people > 0 {
        let place = table.place_of("approvals").unwrap_or(table.place);
        table.problem(place, format!("{needed} people must approve, and only {people} may"));
    }
    let remind_after = table.duration("remind_after", &REQUEST_SPAN).map(|at| at.value);
    let escalate_after = table.duration("escalate_after", &REQUEST_SPAN);
    let to = table.place_of("escalate_to").map(|_| {
        let mut people = table.child("escalate_to");
        let who = self::approvers(&mut people, providers);
        people.finish();
        who
    });
    let escalate = match (escalate_after, to) {
        (Some(after), Some(to)) => Some((after.value, to)),
        (None, None) => None,
        (Some(after), None) => {
            table.problem(after.place, "\"escalate_after\" goes with \"escalate_to\"; give both or neither");
            None
        }
        (None, Some(_)) => {
            let place = table.place_of("escalate_to").unwrap_or(table.place);
            table.problem(place, "\"escalate_to\" goes with \"escalate_after\"; give both or neither");
            None
        }
    };
    let give_up_after = table.duration("give_up_after", &REQUEST_SPAN).map(|at| at.value);
    table.finish();
    StageRule { name, approvers, owner_label, needed, remind_after, escalate, give_up_after }
}

/// `groups` and `subjects` of a table, as members of a role are written.
fn approvers(table: &mut Section<'_>, providers: Option<&[ProviderName]>) -> Approvers {
    let (groups, subjects) = role::people(table, providers);
    Approvers { groups, subjects }
}

/// What a role must say when it says neither.
pub(in crate::policy) const MISSING: &str = "nobody could get this role: say how people ask for it in [role.request] \
     (who approves), or, if its members shall have it without asking, \"standing = true\"";

/// The hint for a role that conditions name and nobody wrote.
pub(in crate::policy) fn unknown_role(name: &RoleName, known: &[&str]) -> String {
    format!("there is no role \"{name}\"{}", hint(name.as_str(), known))
}
