//! Requests and access as lines for a terminal. Everything that people wrote is made harmless here. Pure.

use crate::access::{Case, Once, Review, Scope, State, gives_up};
use crate::config::show_duration;
use crate::names::{LoginName, TargetName};
use crate::plain;
use crate::policy::Reach;

/// Characters of what people said that are shown in lists, and in full.
const SHORT: usize = 200;
const LONG: usize = 1200;

/// Lines that a terminal in raw mode shows as such, too.
#[derive(Default)]
pub(super) struct Lines(pub(super) String);

impl Lines {
    pub(super) fn add(&mut self, line: &str) {
        self.0.push_str(&plain::shown(line));
        self.0.push_str("\r\n");
    }
}

fn names<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

/// What is asked for, in one line.
pub(super) fn what(scope: &Scope) -> String {
    let once = match scope.once {
        None => "",
        Some(Once::Session) => ", for one session",
        Some(Once::Exec) => ", for one command",
    };
    let commands = match scope.commands.len() {
        0 => String::new(),
        1 => ", for one command line only".to_owned(),
        more => format!(", for {more} command lines only"),
    };
    format!(
        "role {} on {} as {} for {}{once}{commands}",
        scope.role,
        names(&scope.targets),
        names(&scope.logins),
        show_duration(scope.length)
    )
}

/// How far it is.
fn state(case: &Case) -> String {
    match &case.state {
        State::Waiting { .. } => {
            format!(
                "waiting: {} more of {} must approve, until {}",
                case.missing(),
                plain::line(&case.approvers().to_string(), LONG),
                gives_up(case)
            )
        }
        State::Granted { starts, until, .. } => format!("granted: from {starts} until {until}"),
        State::Closed { close, at, by, note } => {
            let by = by.as_ref().map(|by| format!(" by {}", plain::line(&by.reference, SHORT)));
            let note =
                if note.is_empty() { String::new() } else { format!(": {}", plain::line(note, SHORT)) };
            format!("{close}: at {at}{}{note}", by.unwrap_or_default())
        }
    }
}

fn who(case: &Case) -> String {
    format!("{} ({})", plain::line(&case.who.reference, SHORT), plain::line(&case.who.display, SHORT))
}

/// One of a list.
pub(super) fn brief(lines: &mut Lines, case: &Case) {
    lines.add(&format!("{}  {}: {}", case.id, who(case), what(&case.scope)));
    let urgent = if case.break_glass { " (break-glass)" } else { "" };
    lines.add(&format!("    {}{urgent}", state(case)));
    lines.add(&format!("    reason: {}", plain::line(&case.reason, SHORT)));
}

/// All of one.
pub(super) fn full(lines: &mut Lines, case: &Case) {
    lines.add(&format!("{}  {}", case.id, state(case)));
    let mut row = |name: &str, value: &str| lines.add(&format!("  {name:<9} {value}"));
    row("who", &who(case));
    row("asks for", &what(&case.scope));
    if case.scope != case.asked {
        row("asked for", &what(&case.asked));
    }
    for command in &case.scope.commands {
        row("command", &plain::line(command, LONG));
    }
    row("reason", &plain::line(&case.reason, LONG));
    if let Some(ticket) = &case.ticket {
        row("ticket", &plain::line(ticket, LONG));
    }
    row("filed", &case.filed.to_string());
    if let Some(start) = case.start {
        row("start", &start.to_string());
    }
    for approval in &case.approvals {
        let note = plain::line(&approval.note, LONG);
        let by = plain::line(&approval.by.reference, SHORT);
        row("approved", &format!("by {by} at {} {note}", approval.at));
    }
    match &case.review {
        Review::NotNeeded => {}
        Review::Due => row("review", &format!("due, by {}", plain::line(&case.reviewers.to_string(), LONG))),
        Review::Done { by, at, note } => {
            let by = plain::line(&by.reference, SHORT);
            row("review", &format!("by {by} at {at} {}", plain::line(note, LONG)));
        }
    }
}

/// A target and its logins.
pub(super) fn target<'a>(
    name: &TargetName,
    logins: impl IntoIterator<Item = (&'a LoginName, &'a Reach)>,
) -> String {
    let logins: Vec<String> = logins
        .into_iter()
        .map(|(login, reach)| match reach {
            Reach::Standing => login.to_string(),
            Reach::Granted(until) => format!("{login} (granted until {until})"),
            Reach::ByRequest => format!("{login} (by request)"),
            Reach::Locked => format!("{login} (locked)"),
        })
        .collect();
    format!("  {name}  as {}", logins.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::*;
    use crate::access::{Approvers, Close, Party};
    use crate::ids::CaseId;
    use crate::random::Random;
    use crate::time::Timestamp;

    #[test]
    fn what_people_wrote_cannot_steer_the_terminal_of_who_decides() {
        let hostile = "x\u{1b}]0;owned\u{7}\r\nreq_fake  approved\u{9b}31m\u{202e}";
        let scope = Scope {
            role: "ops".parse().unwrap(),
            targets: ["web1".parse().unwrap()].into(),
            logins: ["root".parse().unwrap()].into(),
            commands: [hostile.to_owned()].into(),
            length: Duration::from_secs(1800),
            once: Some(Once::Exec),
        };
        let party = Party { reference: hostile.into(), display: hostile.into(), ..Party::local("x") };
        let case = Case {
            id: CaseId::random(&Random::seeded(1)),
            who: party.clone(),
            asked: Scope { commands: BTreeSet::new(), ..scope.clone() },
            scope,
            start: Some(Timestamp::from_secs(1)),
            reason: hostile.into(),
            ticket: Some(hostile.into()),
            break_glass: true,
            filed: Timestamp::from_secs(0),
            expires: Timestamp::from_secs(9),
            stages: Vec::new(),
            approvals: vec![crate::access::Approval {
                stage: 0,
                by: party.clone(),
                at: Timestamp::from_secs(1),
                note: hostile.into(),
            }],
            state: State::Closed {
                close: Close::Denied,
                at: Timestamp::from_secs(2),
                by: Some(party.clone()),
                note: hostile.into(),
            },
            review: Review::Done { by: party, at: Timestamp::from_secs(3), note: hostile.into() },
            reviewers: Approvers { subjects: [hostile.to_owned()].into(), ..Approvers::default() },
        };
        let mut lines = Lines::default();
        brief(&mut lines, &case);
        full(&mut lines, &case);
        let shown = lines.0.replace("\r\n", "");
        assert!(!shown.chars().any(plain::is_hidden), "{shown:?}");
        assert!(lines.0.lines().all(|line| !line.starts_with("req_fake")), "{}", lines.0);
        assert!(lines.0.contains("role ops on web1 as root for 30m, for one command"), "{}", lines.0);
    }

    #[test]
    fn each_way_of_reaching_a_login_is_told() {
        let at = Timestamp::from_secs(0);
        let logins: BTreeMap<LoginName, Reach> = [
            ("a", Reach::Standing),
            ("b", Reach::Granted(at)),
            ("c", Reach::ByRequest),
            ("d", Reach::Locked),
        ]
        .map(|(login, reach)| (login.parse().unwrap(), reach))
        .into();
        assert_eq!(
            target(&"web1".parse().unwrap(), &logins),
            "  web1  as a, b (granted until 1970-01-01T00:00:00Z), c (by request), d (locked)"
        );
    }
}
