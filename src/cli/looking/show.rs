//! Access and what nobody uses as tables for people and as CSV. Text that people chose is made harmless in both; what is in a
//! table is a part of what is in the CSV, and JSON has everything.

use crate::cli::table::{csv, printable, table};
use crate::config::show_duration;
use crate::time::Timestamp;
use crate::web::api::looking::{
    AccessAnswer, AccessGrant, AccessMembers, AccessRole, AccessSession, AccessStage, UnusedAnswer,
};
use std::time::Duration;

/// Longest reason and command in a table, in characters.
const SHORT: usize = 40;

/// `access now`; `asked`: one target or person was asked about.
pub(super) fn now_text(answer: &AccessAnswer, asked: bool) -> String {
    let mut out = format!("At {}{}\n\n", at(answer.at), if answer.everybody { "" } else { ", you only" });
    if let Some(person) = &answer.person {
        let name = printable(&format!("{} ({})", person.who, person.display));
        let known = match person.signed_in {
            Some(last) => format!(
                "{name}: last signed in {}, groups {}",
                at(last),
                if person.groups.is_empty() {
                    "none".to_owned()
                } else {
                    printable(&person.groups.join(", "))
                }
            ),
            None => format!(
                "{}: never signed in here, so groups are not known; roles that name them are shown",
                printable(&person.who)
            ),
        };
        out.push_str(&format!("{known}{}\n\n", if person.locked { "; LOCKED" } else { "" }));
    }
    if answer.grants.is_empty() {
        out.push_str("Nobody has access by request.\n");
    } else {
        out.push_str("Access by request:\n");
        let head =
            ["WHO", "WHERE", "ROLE", "STATE", "UNTIL", "WHY", "APPROVED BY", "USES", "OPEN", "REQUEST"];
        out.push_str(&table(head, answer.grants.iter().map(grant_line)));
    }
    if answer.sessions.is_empty() {
        out.push_str("\nNo sessions are open by standing roles.\n");
    } else {
        out.push_str("\nOpen sessions by standing roles:\n");
        let head = ["WHO", "WHERE", "WHAT", "ROLE", "SINCE", "FROM", "SESSION"];
        out.push_str(&table(head, answer.sessions.iter().map(session_line)));
    }
    if asked && answer.roles.is_empty() {
        out.push_str("\nNo role leads there.\n");
    } else if asked {
        out.push_str("\nWho could get there:\n");
        let head = ["ROLE", "FOR", "TARGETS", "LOGINS", "HOW"];
        out.push_str(&table(head, answer.roles.iter().map(role_line)));
    }
    out
}

/// The same as CSV: one line for each grant, session and role, told apart by the first column.
pub(super) fn now_csv(answer: &AccessAnswer) -> String {
    let head = [
        "kind",
        "who",
        "display",
        "targets",
        "logins",
        "role",
        "state",
        "what",
        "from",
        "until",
        "reason",
        "ticket",
        "approved_by",
        "break_glass",
        "uses",
        "open_sessions",
        "id",
    ];
    let grants = answer.grants.iter().map(|one| {
        [
            "grant".to_owned(),
            one.who.clone(),
            one.display.clone(),
            one.targets.join(" "),
            one.logins.join(" "),
            one.role.clone(),
            one.state.clone(),
            one.commands.join("; "),
            at(one.starts),
            at(one.until),
            one.reason.clone(),
            one.ticket.clone().unwrap_or_default(),
            one.approved_by.join(" "),
            one.break_glass.to_string(),
            one.uses.to_string(),
            one.sessions.len().to_string(),
            one.id.clone(),
        ]
    });
    let sessions = answer.sessions.iter().map(|one| {
        let mut line: [String; 17] = Default::default();
        let [kind, who, display, targets, logins, role, state, what, from, .., id] = &mut line;
        *kind = "session".to_owned();
        (*who, *display) = (one.who.clone(), one.display.clone());
        (*targets, *logins) = (one.target.clone(), one.login.clone());
        (*role, *state) = (one.roles.join(" "), "open".to_owned());
        (*what, *from, *id) = (what_of(one, usize::MAX), at(one.opened), one.id.clone());
        line
    });
    let roles = answer.roles.iter().map(|one| {
        let mut line: [String; 17] = Default::default();
        let [kind, who, _, targets, logins, role, state, what, _, _, _, _, approved_by, ..] = &mut line;
        *kind = "role".to_owned();
        (*who, *targets, *logins) = (members(&one.members), one.targets.join(" "), one.logins.join(" "));
        (*role, *what) = (one.role.clone(), one.channels.join(" "));
        *state = if one.locked {
            "locked".to_owned()
        } else if one.request.is_some() {
            "by-request".to_owned()
        } else {
            "standing".to_owned()
        };
        *approved_by = stages(one);
        line
    });
    csv(head, grants.chain(sessions).chain(roles))
}

/// `access history`: each grant, and under it its sessions.
pub(super) fn history_text(past: &[AccessGrant]) -> String {
    if past.is_empty() {
        return "no past access\n".to_owned();
    }
    let head = ["FROM", "ENDED", "HOW", "WHO", "WHERE", "ROLE", "WHY", "APPROVED BY", "USES", "REQUEST"];
    let line = |one: &AccessGrant| {
        let by = one.ended_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
        [
            at(one.starts),
            one.ended.map(at).unwrap_or_default(),
            printable(&format!("{}{by}", one.state)),
            printable(&format!("{} ({})", one.who, one.display)),
            place(one),
            one.role.clone(),
            printable(&short(&one.reason)),
            approved(one),
            one.uses.to_string(),
            one.request.clone(),
        ]
    };
    let whole = table(head, past.iter().map(line));
    let mut lines = whole.lines();
    let mut out = lines.next().map(|head| format!("{head}\n")).unwrap_or_default();
    for (line, one) in lines.zip(past) {
        out.push_str(&format!("{line}\n"));
        for session in &one.sessions {
            let end = session.close_reason.as_deref().unwrap_or("open");
            let what = printable(&what_of(session, SHORT));
            let place = printable(&format!("{}@{}", session.login, session.target));
            out.push_str(&format!("    {} {} {place} {what}: {end}\n", session.id, at(session.opened)));
        }
        let more = one.uses.saturating_sub(one.sessions.len() as u64);
        if more > 0 {
            out.push_str(&format!("    and {more} more sessions: caponier sessions, on the bastion\n"));
        }
    }
    out
}

/// The same as CSV: one line for each grant.
pub(super) fn history_csv(past: &[AccessGrant]) -> String {
    let head = [
        "id",
        "request",
        "who",
        "display",
        "targets",
        "logins",
        "role",
        "commands",
        "opened",
        "starts",
        "until",
        "ended",
        "how",
        "ended_by",
        "note",
        "reason",
        "ticket",
        "approved_by",
        "break_glass",
        "uses",
        "sessions",
    ];
    let line = |one: &AccessGrant| {
        let sessions: Vec<&str> = one.sessions.iter().map(|session| session.id.as_str()).collect();
        [
            one.id.clone(),
            one.request.clone(),
            one.who.clone(),
            one.display.clone(),
            one.targets.join(" "),
            one.logins.join(" "),
            one.role.clone(),
            one.commands.join("; "),
            at(one.opened),
            at(one.starts),
            at(one.until),
            one.ended.map(at).unwrap_or_default(),
            one.state.clone(),
            one.ended_by.clone().unwrap_or_default(),
            one.note.clone(),
            one.reason.clone(),
            one.ticket.clone().unwrap_or_default(),
            one.approved_by.join(" "),
            one.break_glass.to_string(),
            one.uses.to_string(),
            sessions.join(" "),
        ]
    };
    csv(head, past.iter().map(line))
}

/// `report unused`.
pub(super) fn unused_text(answer: &UnusedAnswer) -> String {
    let mut out =
        format!("Not used since {}{}\n", at(answer.since), if answer.everybody { "" } else { ", by you" });
    let mut section = |title: &str, none: &str, lines: Vec<[String; 4]>, head: [&str; 4]| {
        if lines.is_empty() {
            out.push_str(&format!("\n{none}\n"));
        } else {
            out.push_str(&format!("\n{title}:\n{}", table(head, lines)));
        }
    };
    let last = |at_secs: Option<u64>| at_secs.map_or_else(|| "never".to_owned(), at);
    let roles = answer.roles.iter().map(|one| {
        let how = if one.standing { "standing" } else { "by request" };
        [one.role.clone(), how.to_owned(), last(one.last), String::new()]
    });
    section("Roles", "Every role was used.", roles.collect(), ["ROLE", "HOW", "LAST USED", ""]);
    let members = answer.members.iter().map(|one| {
        let note = match (one.kind.as_str(), one.known) {
            ("group", _) => "nobody of this group signed in".to_owned(),
            (_, false) => "never signed in".to_owned(),
            (_, true) => printable(&one.display),
        };
        [one.role.clone(), printable(&one.member), last(one.last), note]
    });
    section(
        "Members",
        "Every member used their roles.",
        members.collect(),
        ["ROLE", "MEMBER", "LAST USED", ""],
    );
    let grants = answer.grants.iter().map(|one| {
        let who = printable(&format!("{} ({})", one.who, one.display));
        [one.request.clone(), who, at(one.opened), format!("{} {}", place(one), one.state)]
    });
    section(
        "Access that was opened and not used",
        "No access was opened in vain.",
        grants.collect(),
        ["REQUEST", "WHO", "OPENED", "WHERE"],
    );
    let person = |one: &crate::web::api::looking::UnusedPerson| {
        let gone =
            one.gone.as_deref().map(|why| format!("gone at the provider: {why}; ")).unwrap_or_default();
        let roles = if one.roles.is_empty() { "no role".to_owned() } else { one.roles.join(" ") };
        let name = printable(&one.display);
        [printable(&one.who), name, at(one.last), printable(&format!("{gone}{roles}"))]
    };
    let head = ["WHO", "NAME", "LAST SIGN-IN", "ROLES"];
    section(
        "People",
        "Everybody known signed in, and nobody is gone at their provider.",
        answer.people.iter().map(person).collect(),
        head,
    );
    section("Workloads", "No workload is idle.", answer.workloads.iter().map(person).collect(), head);
    out
}

/// The same as CSV: one line for each thing, told apart by the first column.
pub(super) fn unused_csv(answer: &UnusedAnswer) -> String {
    let head = ["kind", "role", "who", "display", "last", "detail"];
    let last = |at_secs: Option<u64>| at_secs.map(at).unwrap_or_default();
    let mut lines = Vec::new();
    for one in &answer.roles {
        let how = if one.standing { "standing" } else { "by-request" };
        let nobody = String::new;
        lines.push(["role".to_owned(), one.role.clone(), nobody(), nobody(), last(one.last), how.to_owned()]);
    }
    for one in &answer.members {
        let known = if one.known { "signed-in-before" } else { "never-signed-in" };
        lines.push([
            format!("member-{}", one.kind),
            one.role.clone(),
            one.member.clone(),
            one.display.clone(),
            last(one.last),
            known.to_owned(),
        ]);
    }
    for one in &answer.grants {
        lines.push([
            "grant".to_owned(),
            one.role.clone(),
            one.who.clone(),
            one.display.clone(),
            at(one.opened),
            format!("{} {} {} {}", one.id, one.targets.join(" "), one.state, one.reason),
        ]);
    }
    for (kind, list) in [("person", &answer.people), ("workload", &answer.workloads)] {
        for one in list {
            lines.push([
                kind.to_owned(),
                one.roles.join(" "),
                one.who.clone(),
                one.display.clone(),
                at(one.last),
                one.gone.as_deref().map(|why| format!("gone: {why}")).unwrap_or_default(),
            ]);
        }
    }
    csv(head, lines)
}

fn grant_line(one: &AccessGrant) -> [String; 10] {
    let state = if one.break_glass { format!("{} BREAK-GLASS", one.state) } else { one.state.clone() };
    let state = if one.state == "scheduled" { format!("{state} {}", at(one.starts)) } else { state };
    [
        printable(&format!("{} ({})", one.who, one.display)),
        place(one),
        one.role.clone(),
        state,
        at(one.until),
        printable(&short(&one.reason)),
        approved(one),
        one.uses.to_string(),
        one.sessions.len().to_string(),
        one.request.clone(),
    ]
}

fn session_line(one: &AccessSession) -> [String; 7] {
    [
        printable(&format!("{} ({})", one.who, one.display)),
        printable(&format!("{}@{}", one.login, one.target)),
        printable(&what_of(one, SHORT)),
        if one.roles.is_empty() { "unknown".to_owned() } else { one.roles.join(", ") },
        at(one.opened),
        printable(&one.from),
        one.id.clone(),
    ]
}

fn role_line(one: &AccessRole) -> [String; 5] {
    let how = match &one.request {
        None => "standing".to_owned(),
        Some(rules) => {
            let emergency = if rules.break_glass.is_some() { "; break-glass" } else { "" };
            let max = show_duration(Duration::from_secs(rules.max));
            format!("by request, at most {max}: {}{emergency}", stages(one))
        }
    };
    let how = if one.locked { format!("LOCKED; {how}") } else { how };
    let shown: Vec<&str> = one.targets.iter().take(3).map(String::as_str).collect();
    let more = one.target_count.saturating_sub(shown.len() as u64);
    let targets = shown.join(",") + &if more > 0 { format!(" and {more} more") } else { String::new() };
    [one.role.clone(), printable(&members(&one.members)), targets, one.logins.join(","), printable(&how)]
}

/// Who approves, in one line.
fn stages(one: &AccessRole) -> String {
    let Some(rules) = &one.request else { return String::new() };
    let stage = |stage: &AccessStage| {
        let owner = stage.owner_label.as_deref().filter(|_| stage.owners.is_empty());
        let mut who = stage.approvers.clone();
        who.extend(stage.owners.iter().cloned());
        who.extend(owner.map(|label| format!("the owner by the label {label}")));
        format!("{} of {}", stage.needed, who.join(" | "))
    };
    let mut all: Vec<String> = rules.stages.iter().map(stage).collect();
    if rules.automatic {
        all.insert(0, "nobody under conditions".to_owned());
    }
    all.join(", then ")
}

fn members(layers: &[AccessMembers]) -> String {
    let layer = |one: &AccessMembers| {
        let people = one.groups.iter().chain(&one.subjects).cloned();
        let jobs = one.workloads.iter().map(|name| format!("workload {name}"));
        let services = one.services.iter().map(|name| format!("service {name}"));
        people.chain(jobs).chain(services).collect::<Vec<_>>().join(" | ")
    };
    layers.iter().map(layer).collect::<Vec<_>>().join(" and ")
}

fn place(one: &AccessGrant) -> String {
    printable(&format!("{}@{}", one.logins.join(","), one.targets.join(",")))
}

fn approved(one: &AccessGrant) -> String {
    match (one.approved_by.is_empty(), one.break_glass) {
        (false, _) => printable(&one.approved_by.join(", ")),
        (true, true) => "nobody: emergency".to_owned(),
        (true, false) => "automatic".to_owned(),
    }
}

fn what_of(one: &AccessSession, max: usize) -> String {
    if one.command.is_empty() {
        return one.kind.clone();
    }
    let cut: String = one.command.chars().take(max).collect();
    format!("{}: {cut}{}", one.kind, if cut.len() < one.command.len() { "..." } else { "" })
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(SHORT).collect();
    if cut.len() < text.len() { cut + "..." } else { cut }
}

fn at(secs: u64) -> String {
    Timestamp::from_secs(secs).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> AccessGrant {
        AccessGrant {
            id: "grt_0".into(),
            request: "req_0".into(),
            who: "corp:eve".into(),
            display: "=HYPERLINK(\"http://evil\")".into(),
            role: "ops".into(),
            targets: vec!["web1".into()],
            logins: vec!["root".into()],
            commands: vec![],
            once: None,
            state: "open".into(),
            opened: 1_900_000_000,
            starts: 1_900_000_000,
            until: 1_900_001_800,
            ended: None,
            ended_by: None,
            note: String::new(),
            reason: "+cmd|' /C calc'!A0\u{1b}[2J".into(),
            ticket: Some("@SUM(1)".into()),
            break_glass: false,
            approved_by: vec!["corp:boss".into()],
            uses: 12,
            sessions: vec![],
        }
    }

    #[test]
    fn no_cell_is_a_formula_and_nothing_steers_the_terminal() {
        let answer = AccessAnswer {
            at: 1_900_000_000,
            everybody: true,
            cut: false,
            grants: vec![grant()],
            sessions: vec![],
            roles: vec![],
            person: None,
        };
        let past = [AccessGrant { state: "lapsed".into(), ended: Some(1_900_001_800), ..grant() }];
        let idle = UnusedAnswer {
            since: 0,
            everybody: true,
            cut: false,
            uncounted_until: None,
            roles: vec![],
            members: vec![],
            grants: past.to_vec(),
            people: vec![],
            workloads: vec![],
        };
        for csv in [now_csv(&answer), history_csv(&past), unused_csv(&idle)] {
            for cell in csv.split("\",\"") {
                let cell = cell.trim_start_matches('"');
                assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell:?} in {csv}");
            }
            assert!(csv.contains("'=HYPERLINK(\"\"http://evil\"\")"), "{csv}");
            assert!(!csv.contains('\u{1b}'), "{csv}");
            assert!(csv.lines().all(
                |line| line.split("\",\"").count() == csv.lines().next().unwrap().split("\",\"").count()
            ));
        }
        for text in [now_text(&answer, true), history_text(&past), unused_text(&idle)] {
            assert!(!text.contains('\u{1b}') && text.contains("corp:eve"), "{text}");
        }
        assert!(now_text(&answer, true).contains("No role leads there."));
        assert!(history_text(&past).contains("and 12 more sessions"));
    }

    #[test]
    fn who_approves_in_one_line() {
        let stage = |owner: Option<&str>, owners: &[&str]| AccessStage {
            name: "team".into(),
            needed: 2,
            approvers: vec!["corp:leads".into()],
            owner_label: owner.map(str::to_owned),
            owners: owners.iter().map(|one| (*one).to_owned()).collect(),
            escalate_to: vec![],
        };
        let role = |stages| AccessRole {
            role: "ops".into(),
            members: vec![AccessMembers {
                groups: vec!["corp:dev".into()],
                subjects: vec!["corp:ann".into()],
                workloads: vec!["deploy".into()],
                services: vec!["backup".into()],
            }],
            targets: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            target_count: 4,
            logins: vec!["root".into()],
            channels: vec!["exec".into()],
            request: Some(crate::web::api::looking::AccessRules {
                max: 3600,
                automatic: false,
                stages,
                break_glass: None,
            }),
            locked: false,
        };
        let line = role_line(&role(vec![stage(None, &[]), stage(Some("owner"), &["corp:team"])]));
        let how = "by request, at most 1h: 2 of corp:leads, then 2 of corp:leads | corp:team";
        assert_eq!(
            line,
            [
                "ops",
                "corp:dev | corp:ann | workload deploy | service backup",
                "a,b,c and 1 more",
                "root",
                how
            ]
        );
        assert!(stages(&role(vec![stage(Some("owner"), &[])])).contains("the owner by the label owner"));
    }
}
