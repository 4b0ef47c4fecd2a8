//! Which people hear of what happens to a case. The notices go into the outbox in the transaction of the act; delivering them is
//! `alerts`'. Words of users are passed on as they were said, and made harmless where they are shown.

use crate::access::{Approvers, Case, Close, Effect, Once, Scope, State};
use crate::alerts::{Concerned, Notice, NoticeKind};
use crate::config::show_duration;
use crate::ids::NoticeId;
use crate::random::Random;
use crate::store::{StoreError, Tx};
use crate::time::Timestamp;

/// Characters of what somebody is called that stand in a notice.
const DISPLAY_MAX: usize = 40;

/// Puts the notices about `effects` into the outbox. `filed`: the case is new.
pub(super) async fn about(
    tx: &mut Tx,
    random: &Random,
    case: &Case,
    filed: bool,
    effects: &[Effect],
    now: Timestamp,
) -> Result<(), StoreError> {
    let opened = effects.contains(&Effect::Open);
    let mut kinds: Vec<NoticeKind> = Vec::new();
    if filed && !opened {
        kinds.push(NoticeKind::RequestPending);
    }
    for effect in effects {
        kinds.extend(match effect {
            // The next stage's approvers have not heard of it.
            Effect::NextStage => Some(NoticeKind::RequestPending),
            Effect::AllApproved => Some(NoticeKind::RequestApproved),
            Effect::Remind => Some(NoticeKind::RequestReminded),
            Effect::Escalate => Some(NoticeKind::RequestEscalated),
            Effect::Open if case.break_glass => Some(NoticeKind::BreakGlassOpened),
            Effect::Open => Some(NoticeKind::GrantOpened),
            Effect::Refused(Close::Denied) => Some(NoticeKind::RequestDenied),
            Effect::Refused(Close::Cancelled) => Some(NoticeKind::RequestCancelled),
            Effect::Refused(_) => Some(NoticeKind::RequestExpired),
            Effect::End(_) => Some(NoticeKind::GrantEnded),
            Effect::Reviewed => Some(NoticeKind::BreakGlassReviewed),
            Effect::Approved => None,
        });
    }
    for kind in kinds {
        tx.enqueue(&notice(random, case, kind), now).await?;
    }
    Ok(())
}

fn notice(random: &Random, case: &Case, kind: NoticeKind) -> Notice {
    let what = described(&case.scope);
    // What somebody is called at their provider is often theirs to choose: it stands behind everything that we say.
    let (who, called) = (case.who.reference.as_str(), called(&case.who.display));
    let title = match kind {
        NoticeKind::RequestPending => format!("{who} asks for {what}"),
        NoticeKind::RequestReminded => format!("{who} still waits for {what}"),
        NoticeKind::RequestEscalated => format!("{who} waits for {what}, and now for you"),
        NoticeKind::RequestApproved => format!("approved: {what} for {who}"),
        NoticeKind::RequestDenied => format!("denied: {what} for {who}"),
        NoticeKind::RequestExpired => {
            format!("not decided in time, or not by the rules of now: {what} for {who}")
        }
        NoticeKind::RequestCancelled => format!("no longer wanted: {what} for {who}"),
        NoticeKind::GrantOpened => format!("open: {what} for {who}"),
        NoticeKind::GrantEnded => format!("over: {what} for {who}"),
        NoticeKind::BreakGlassOpened => format!("BREAK-GLASS: {who} opened {what} without asking"),
        NoticeKind::BreakGlassReviewed => format!("looked at: the break-glass of {who} for {what}"),
        // Not about a case; nobody makes one here.
        NoticeKind::AlertRaised => what.clone(),
    };
    let mut notice = Notice::new(NoticeId::random(random), kind, format!("{title}{called}"))
        .about(&case.id)
        .to(audience(case, kind))
        .with("who", format!("{who}{called}"))
        .with("role", case.scope.role.as_str())
        .with("targets", listed(&case.scope.targets))
        .with("logins", listed(&case.scope.logins))
        .with("for", show_duration(case.scope.length))
        .with("reason", case.reason.as_str());
    if !case.scope.commands.is_empty() {
        notice = notice.with("commands", listed(&case.scope.commands));
    }
    if let Some(ticket) = &case.ticket {
        notice = notice.with("ticket", ticket.as_str());
    }
    match &case.state {
        State::Waiting { stage, .. } => {
            let name = case.stages.get(*stage).map(|stage| stage.name.as_str()).unwrap_or_default();
            notice
                .with("stage", name)
                .with("approvers", case.approvers().to_string())
                .with("still needed", case.missing().to_string())
                .with("approve", format!("caponier approve {}", case.id))
        }
        State::Granted { starts, until, .. } => {
            notice.with("from", starts.to_string()).with("until", until.to_string())
        }
        State::Closed { close, by, note, .. } => {
            let by = by.as_ref().map_or("time", |by| by.reference.as_str());
            notice.with("how", close.as_str()).with("by", by).with("note", note.as_str())
        }
    }
}

/// A label in brackets, not longer than names are.
fn called(display: &str) -> String {
    let cut: String = display.chars().take(DISPLAY_MAX).collect();
    let more = if cut.len() < display.len() { "..." } else { "" };
    if cut.is_empty() { cut } else { format!(" ({cut}{more})") }
}

/// Whoever can do something about it, and the person.
fn audience(case: &Case, kind: NoticeKind) -> Vec<Concerned> {
    let person = Concerned::Person(case.who.reference.clone());
    let others: Approvers = match kind {
        NoticeKind::RequestPending | NoticeKind::RequestReminded | NoticeKind::RequestEscalated => {
            return concerned(&case.approvers()).collect();
        }
        NoticeKind::BreakGlassOpened | NoticeKind::BreakGlassReviewed => case.reviewers.clone(),
        NoticeKind::GrantEnded if case.break_glass => case.reviewers.clone(),
        NoticeKind::RequestApproved
        | NoticeKind::RequestDenied
        | NoticeKind::RequestExpired
        | NoticeKind::RequestCancelled
        | NoticeKind::GrantOpened
        | NoticeKind::GrantEnded
        | NoticeKind::AlertRaised => Approvers::default(),
    };
    std::iter::once(person).chain(concerned(&others)).collect()
}

fn concerned(all: &Approvers) -> impl Iterator<Item = Concerned> {
    let groups = all.groups.iter().map(|group| Concerned::Group(group.to_string()));
    groups.chain(all.subjects.iter().cloned().map(Concerned::Person))
}

fn described(scope: &Scope) -> String {
    let once = match scope.once {
        Some(Once::Session) => ", one session",
        Some(Once::Exec) => ", one command",
        None => "",
    };
    format!(
        "{} as {} for {}{once}",
        listed(&scope.targets),
        listed(&scope.logins),
        show_duration(scope.length)
    )
}

fn listed<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_is_called_comes_last_and_is_short() {
        let long = "approved: web1 as root for 8h for corp:boss - nothing to do (";
        for (display, expect) in [
            ("Ann Engineer", " (Ann Engineer)"),
            ("", ""),
            (long, " (approved: web1 as root for 8h for corp:b...)"),
        ] {
            assert_eq!(called(display), expect);
        }
    }
}
