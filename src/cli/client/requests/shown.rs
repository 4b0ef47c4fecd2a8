//! How requests look: as text for people, as rows of tables and of CSV. What people wrote is made harmless first.

use std::time::Duration;

use crate::cli::table::csv;
use crate::cli::table::{printable, table};
use crate::cli::terminal::plain;
use crate::config::show_duration;
use crate::time::Timestamp;
use crate::web::api::requests::{
    OnceWord, PersonAnswer, RequestAnswer, ScopeAnswer, StageAnswer, StageState,
};

/// Longest text that is shown as it is.
const SHOWN_MAX: usize = 4000;
/// Widest reason in a table.
const REASON_MAX: usize = 60;

/// Everything about one.
pub(super) fn text(one: &RequestAnswer) -> String {
    let mut text = format!("{}  {}\n", safe(&one.id), state(one));
    let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<9} {value}\n"));
    row("who", person(&one.by));
    row("asks for", scope(&one.asked));
    if one.narrowed {
        row("gets", format!("{} (an approver took the rest away)", scope(&one.scope)));
    }
    row("filed", at(one.filed));
    if let Some(start) = one.start {
        row("from", at(start));
    }
    row("reason", safe(&one.reason));
    if let Some(ticket) = &one.ticket {
        row("ticket", safe(ticket));
    }
    if one.break_glass {
        row("emergency", "opened at once, to be reviewed".to_owned());
    }
    for (number, stage) in (1..).zip(&one.stages) {
        row(if number == 1 { "approval" } else { "" }, stage_line(number, stage));
    }
    if one.state == "waiting" {
        row("missing", format!("{} more of: {}", one.missing, list(&one.approvers)));
        row("void", format!("{} unless approved", at(one.expires)));
    }
    if let Some(grant) = &one.grant {
        let ended = grant.ended.map(|ended| format!(", ended {}", at(ended))).unwrap_or_default();
        let live = if grant.live { ", live" } else { "" };
        let window = format!("{} to {}", at(grant.starts), at(grant.until));
        row("access", format!("{}: {window}{live}{ended}, used {} times", safe(&grant.id), grant.uses));
    }
    if let Some(closed) = &one.closed {
        let by = closed.by.as_ref().map(|by| format!(" by {}", person(by))).unwrap_or_default();
        let note = said(&closed.note);
        row("closed", format!("{} {}{by}{note}", safe(&one.state), at(closed.at)));
    }
    if let Some(review) = &one.review {
        let done = review.by.as_ref().map(|by| format!("by {}{}", person(by), said(&review.note)));
        row("review", done.unwrap_or_else(|| format!("still to be done by {}", list(&review.reviewers))));
    }
    if !one.may.is_empty() {
        row("you may", safe(&one.may.join(", ")));
    }
    text
}

/// A stage on one line.
pub(super) fn stage_line(number: u64, stage: &StageAnswer) -> String {
    let approvals: Vec<String> = stage
        .approvals
        .iter()
        .map(|one| format!("{} {}{}", person(&one.by), at(one.at), said(&one.note)))
        .collect();
    let state = match stage.state {
        StageState::Done => "done",
        StageState::Now => "now",
        StageState::Next => "later",
    };
    let by = if approvals.is_empty() { String::new() } else { format!(": {}", approvals.join(", ")) };
    let mut after = String::new();
    let span = |secs| show_duration(Duration::from_secs(secs));
    if let Some(secs) = stage.escalate_after {
        after.push_str(&format!("; after {} also {}", span(secs), list(&stage.escalate_to)));
    }
    if let Some(secs) = stage.give_up_after {
        after.push_str(&format!("; given up after {}", span(secs)));
    }
    format!(
        "{number}. {} ({state}): {} of {}{by}{after}",
        safe(&stage.name),
        stage.needed,
        list(&stage.approvers)
    )
}

/// What access reaches, on one line.
pub(super) fn scope(scope: &ScopeAnswer) -> String {
    let once = match scope.once {
        None => "",
        Some(OnceWord::Session) => ", one session only",
        Some(OnceWord::Exec) => ", one command only",
    };
    let commands = if scope.commands.is_empty() {
        String::new()
    } else {
        format!(", only: {}", safe(&scope.commands.join("; ")))
    };
    format!(
        "{} as {} under role {} for {}{once}{commands}",
        list(&scope.targets),
        list(&scope.logins),
        safe(&scope.role),
        show_duration(Duration::from_secs(scope.seconds))
    )
}

fn state(one: &RequestAnswer) -> String {
    match &one.grant {
        Some(grant) if one.state == "granted" && grant.live => format!("granted until {}", at(grant.until)),
        Some(grant) if one.state == "granted" => format!("granted from {} on", at(grant.starts)),
        Some(_) | None => safe(&one.state),
    }
}

/// A table, for people.
pub(super) fn as_table(rows: &[RequestAnswer]) -> String {
    let line = |one: &RequestAnswer| {
        [
            safe(&one.id),
            safe(&one.state),
            at(one.filed),
            printable(&one.by.who),
            list(&one.scope.targets),
            list(&one.scope.logins),
            show_duration(Duration::from_secs(one.scope.seconds)),
            plain(&one.reason, REASON_MAX),
        ]
    };
    let head = ["ID", "STATE", "FILED", "WHO", "WHERE", "AS", "FOR", "WHY"];
    table(head, rows.iter().map(line))
}

/// CSV, for spreadsheets.
pub(super) fn as_csv(rows: &[RequestAnswer]) -> String {
    let time = |secs: Option<u64>| secs.map(at).unwrap_or_default();
    let line = |one: &RequestAnswer| {
        let (grant, closed) = (one.grant.as_ref(), one.closed.as_ref());
        [
            one.id.clone(),
            one.state.clone(),
            at(one.filed),
            one.by.who.clone(),
            one.by.display.clone(),
            one.scope.role.clone(),
            one.scope.targets.join(" "),
            one.scope.logins.join(" "),
            one.scope.commands.join("; "),
            one.scope.seconds.to_string(),
            one.reason.clone(),
            one.ticket.clone().unwrap_or_default(),
            one.break_glass.to_string(),
            one.missing.to_string(),
            one.approvers.join(" "),
            grant.map(|grant| grant.id.clone()).unwrap_or_default(),
            time(grant.map(|grant| grant.starts)),
            time(grant.map(|grant| grant.until)),
            time(closed.map(|closed| closed.at)),
            closed.and_then(|closed| closed.by.as_ref()).map(|by| by.who.clone()).unwrap_or_default(),
            closed.map(|closed| closed.note.clone()).unwrap_or_default(),
        ]
        .map(|cell| printable(&cell))
    };
    let head = [
        "id",
        "state",
        "filed",
        "who",
        "display",
        "role",
        "targets",
        "logins",
        "commands",
        "seconds",
        "reason",
        "ticket",
        "break_glass",
        "missing",
        "approvers",
        "grant",
        "starts",
        "until",
        "closed",
        "closed_by",
        "note",
    ];
    csv(head, rows.iter().map(line))
}

/// Somebody, for people.
pub(super) fn person(who: &PersonAnswer) -> String {
    format!("{} ({})", safe(&who.who), safe(&who.display))
}

/// A moment.
pub(super) fn at(secs: u64) -> String {
    Timestamp::from_secs(secs).to_string()
}

/// Names in a row.
pub(super) fn list(names: &[String]) -> String {
    safe(&names.join(", "))
}

/// Text from elsewhere.
pub(super) fn safe(text: &str) -> String {
    plain(text, SHOWN_MAX)
}

fn said(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!(", saying: {}", safe(note)) }
}
