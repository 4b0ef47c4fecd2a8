//! What happens to a case: the one pure function that changes its state. Events change state, effects tell the flow
//! what follows (a grant to open, people to tell); what is not allowed is an answer, and changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::case::{Approval, Case, Close, Review, State};
use super::people::Party;
use crate::identity::Identity;
use crate::ids::GrantId;
use crate::names::LoginName;
use crate::time::Timestamp;

/// Something happens to a case.
#[derive(Clone, Debug)]
pub enum Event {
    /// It was filed, and nobody needs to approve: automatic, or break-glass.
    Open {
        /// The id that the grant shall have.
        grant: GrantId,
    },
    /// Somebody says yes.
    Approve {
        /// Who.
        by: Identity,
        /// What they take away.
        narrow: Narrowing,
        /// What they say.
        note: String,
        /// The id that the grant shall have if this was the last yes.
        grant: GrantId,
    },
    /// Somebody says no.
    Deny {
        /// Who.
        by: Identity,
        /// Why; never empty.
        reason: String,
    },
    /// The person does not want it any more; or an administrator withdraws it.
    Cancel {
        /// Who.
        by: Identity,
        /// They are an administrator.
        admin: bool,
    },
    /// The rules for such a request are others now.
    Outdate,
    /// The person gives it back.
    Release {
        /// Who.
        by: Identity,
    },
    /// It is taken away: by an approver of it or an administrator.
    Revoke {
        /// Who.
        by: Party,
        /// They are an administrator, or the command on the server.
        admin: bool,
        /// Their groups and all, where they are somebody who signed in.
        who: Option<Identity>,
        /// Why; never empty.
        reason: String,
    },
    /// It was used once, and that was all.
    Used,
    /// What it belonged to is over: the run of a job. What waits is cancelled.
    Finish {
        /// Why.
        reason: String,
    },
    /// Somebody has looked at a break-glass.
    Reviewed {
        /// Who.
        by: Identity,
        /// They are an administrator.
        admin: bool,
        /// What they found; never empty.
        note: String,
    },
    /// Time has passed.
    Tick,
}

/// What an approver takes away. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// At most this long.
    pub length: Option<Duration>,
    /// Only these logins.
    pub logins: Option<BTreeSet<LoginName>>,
    /// Only these commands.
    pub commands: Option<BTreeSet<String>>,
}

/// What follows from an event, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The approvers are to be reminded.
    Remind,
    /// Others may approve from now on.
    Escalate,
    /// One more yes; more are needed.
    Approved,
    /// A stage is done, the next one begins.
    NextStage,
    /// The last yes; nobody more is asked.
    AllApproved,
    /// A grant is to be opened, as the state says.
    Open,
    /// The request is over without a grant.
    Refused(Close),
    /// The grant is to be ended.
    End(Close),
    /// The review is done.
    Reviewed,
}

/// The case afterwards, and what follows.
#[derive(Clone, Debug)]
pub struct Step {
    /// The case as it is now.
    pub case: Case,
    /// What to do about it.
    pub effects: Vec<Effect>,
}

/// Why somebody may not do this, or why it makes no sense any more. The texts are for the person who tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is too late.
    #[error("this request is {0} already")]
    Over(&'static str),
    /// It is too early, or there is nothing to do.
    #[error("this request is {0}; there is nothing to {1}")]
    Not(&'static str, &'static str),
    /// One's own request.
    #[error("nobody approves their own request; somebody else must")]
    Own,
    /// Not an approver.
    #[error("you are not among those who may decide this request")]
    NotYours,
    /// A second yes of one person.
    #[error("you have approved this request already; somebody else must approve next")]
    Twice,
    /// An approver would give more than was asked for.
    #[error("an approver can only take away: {0}")]
    Widens(String),
    /// Words are missing.
    #[error("say why: a reason is needed")]
    Reason,
}

/// What `event` makes of `case` at `now`. An error changes nothing.
pub fn step(case: &Case, event: Event, now: Timestamp) -> Result<Step, Denied> {
    match event {
        Event::Open { grant } => open_at_once(case, grant, now),
        Event::Approve { by, narrow, note, grant } => approve(case, &by, &narrow, note, grant, now),
        Event::Deny { by, reason } => deny(case, &by, reason, now),
        Event::Cancel { by, admin } => {
            waiting(case, now)?;
            if !admin && !case.who.is(&by) {
                return Err(Denied::NotYours);
            }
            Ok(close(case, Close::Cancelled, now, Some(Party::of(&by)), String::new()))
        }
        Event::Outdate => {
            waiting(case, now)?;
            Ok(close(case, Close::Outdated, now, None, String::new()))
        }
        Event::Release { by } => {
            granted(case, now, "release")?;
            if !case.who.is(&by) {
                return Err(Denied::NotYours);
            }
            Ok(close(case, Close::Released, now, Some(Party::of(&by)), String::new()))
        }
        Event::Revoke { by, admin, who, reason } => {
            granted(case, now, "revoke")?;
            let decides = who.is_some_and(|who| decided_by(case, &who));
            if !admin && !decides {
                return Err(Denied::NotYours);
            }
            Ok(close(case, Close::Revoked, now, Some(by), said(reason)?))
        }
        Event::Used => {
            granted(case, now, "end")?;
            Ok(close(case, Close::Used, now, None, String::new()))
        }
        Event::Finish { reason } => {
            if matches!(case.state, State::Waiting { .. }) {
                waiting(case, now)?;
                return Ok(close(case, Close::Cancelled, now, None, reason));
            }
            granted(case, now, "end")?;
            Ok(close(case, Close::Finished, now, None, reason))
        }
        Event::Reviewed { by, admin, note } => review(case, &by, admin, note, now),
        Event::Tick => Ok(tick(case, now)),
    }
}

/// The next moment at which [`Event::Tick`] would change something; none when only people can.
pub fn due(case: &Case) -> Option<Timestamp> {
    match &case.state {
        State::Closed { .. } => None,
        State::Granted { until, .. } => Some(*until),
        State::Waiting { stage, since, reminded, escalated } => {
            let stage = case.stages.get(*stage);
            let mut moments = vec![gives_up(case)];
            if let Some(stage) = stage {
                let remind = stage.remind_after.filter(|_| !*reminded);
                let escalate = stage.escalate.as_ref().map(|(after, _)| *after).filter(|_| !*escalated);
                moments.extend(remind.into_iter().chain(escalate).map(|after| since.plus(after)));
            }
            moments.into_iter().min()
        }
    }
}

/// When a waiting case is void.
pub fn gives_up(case: &Case) -> Timestamp {
    let State::Waiting { stage, since, .. } = &case.state else { return case.expires };
    let of_stage = case.stages.get(*stage).and_then(|stage| stage.give_up_after);
    of_stage.map_or(case.expires, |after| case.expires.min(since.plus(after)))
}

/// The stage and its start, if somebody's yes or no still counts. Time that has run out counts even before anybody
/// looked at the clock.
fn waiting(case: &Case, now: Timestamp) -> Result<usize, Denied> {
    match &case.state {
        State::Waiting { stage, .. } if now < gives_up(case) => Ok(*stage),
        State::Waiting { .. } => Err(Denied::Over(Close::Expired.as_str())),
        state @ (State::Granted { .. } | State::Closed { .. }) => Err(Denied::Over(state.word())),
    }
}

fn granted(case: &Case, now: Timestamp, what: &'static str) -> Result<(), Denied> {
    match &case.state {
        State::Granted { until, .. } if now < *until => Ok(()),
        State::Granted { .. } => Err(Denied::Over(Close::Lapsed.as_str())),
        state @ State::Waiting { .. } => Err(Denied::Not(state.word(), what)),
        state @ State::Closed { .. } => Err(Denied::Over(state.word())),
    }
}

fn open_at_once(case: &Case, grant: GrantId, now: Timestamp) -> Result<Step, Denied> {
    waiting(case, now)?;
    Ok(granting(case.clone(), grant, Vec::new(), now))
}

fn approve(
    case: &Case,
    by: &Identity,
    narrow: &Narrowing,
    note: String,
    grant: GrantId,
    now: Timestamp,
) -> Result<Step, Denied> {
    let at = waiting(case, now)?;
    decides(case, by)?;
    let by = Party::of(by);
    // One person counts once in the whole case: stages are for different people.
    if case.approvals.iter().any(|approval| approval.by == by) {
        return Err(Denied::Twice);
    }
    let mut case = case.clone();
    narrowed(&mut case, narrow)?;
    case.approvals.push(Approval { stage: at, by, at: now, note });
    if case.missing() > 0 {
        return Ok(Step { case, effects: vec![Effect::Approved] });
    }
    if at + 1 < case.stages.len() {
        case.state = State::Waiting { stage: at + 1, since: now, reminded: false, escalated: false };
        return Ok(Step { case, effects: vec![Effect::Approved, Effect::NextStage] });
    }
    Ok(granting(case, grant, vec![Effect::AllApproved], now))
}

/// Opens the grant: from the asked start on, or from now.
fn granting(mut case: Case, grant: GrantId, mut effects: Vec<Effect>, now: Timestamp) -> Step {
    let (starts, until) = match case.start {
        // A window that was asked for does not move because somebody was late.
        Some(start) => (start.max(now), start.plus(case.scope.length)),
        None => (now, now.plus(case.scope.length)),
    };
    if until <= now {
        return close(&case, Close::Expired, now, None, "the window is over".to_owned());
    }
    case.state = State::Granted { grant, starts, until };
    effects.push(Effect::Open);
    Step { case, effects }
}

fn deny(case: &Case, by: &Identity, reason: String, now: Timestamp) -> Result<Step, Denied> {
    waiting(case, now)?;
    decides(case, by)?;
    Ok(close(case, Close::Denied, now, Some(Party::of(by)), said(reason)?))
}

/// Whether `by` may decide it now: not their own, and among the approvers of the stage.
fn decides(case: &Case, by: &Identity) -> Result<(), Denied> {
    if case.who.is(by) {
        return Err(Denied::Own);
    }
    if case.approvers().names(by) { Ok(()) } else { Err(Denied::NotYours) }
}

/// Whether `who` could have decided any stage of it, and so may take it away again.
fn decided_by(case: &Case, who: &Identity) -> bool {
    let of_stage = |stage: &super::Stage| {
        stage.approvers.names(who) || stage.escalate.as_ref().is_some_and(|(_, others)| others.names(who))
    };
    !case.who.is(who) && (case.stages.iter().any(of_stage) || case.reviewers.names(who))
}

fn narrowed(case: &mut Case, by: &Narrowing) -> Result<(), Denied> {
    let scope = &mut case.scope;
    if let Some(length) = by.length {
        if length > scope.length || length.is_zero() {
            return Err(Denied::Widens(format!("{} s were asked for", scope.length.as_secs())));
        }
        scope.length = length;
    }
    if let Some(logins) = &by.logins {
        if logins.is_empty() || !logins.is_subset(&scope.logins) {
            let asked: Vec<&str> = scope.logins.iter().map(LoginName::as_str).collect();
            return Err(Denied::Widens(format!("the logins asked for are {}", asked.join(", "))));
        }
        scope.logins.clone_from(logins);
    }
    if let Some(commands) = &by.commands {
        let within = scope.commands.is_empty() || commands.is_subset(&scope.commands);
        if commands.is_empty() || !within {
            let asked: Vec<&str> = scope.commands.iter().map(String::as_str).collect();
            return Err(Denied::Widens(format!("the commands asked for are: {}", asked.join("; "))));
        }
        scope.commands.clone_from(commands);
    }
    Ok(())
}

fn review(case: &Case, by: &Identity, admin: bool, note: String, now: Timestamp) -> Result<Step, Denied> {
    match &case.review {
        Review::NotNeeded => return Err(Denied::Not(case.state.word(), "review")),
        Review::Done { .. } => return Err(Denied::Over("reviewed")),
        Review::Due => {}
    }
    if case.who.is(by) {
        return Err(Denied::Own);
    }
    if !admin && !case.reviewers.names(by) {
        return Err(Denied::NotYours);
    }
    let mut case = case.clone();
    case.review = Review::Done { by: Party::of(by), at: now, note: said(note)? };
    Ok(Step { case, effects: vec![Effect::Reviewed] })
}

fn tick(case: &Case, now: Timestamp) -> Step {
    let unchanged = |case: &Case| Step { case: case.clone(), effects: Vec::new() };
    match &case.state {
        State::Closed { .. } => unchanged(case),
        State::Granted { until, .. } if now >= *until => {
            close(case, Close::Lapsed, *until, None, String::new())
        }
        State::Granted { .. } => unchanged(case),
        State::Waiting { .. } if now >= gives_up(case) => {
            close(case, Close::Expired, now, None, String::new())
        }
        State::Waiting { stage, since, reminded, escalated } => {
            let Some(of) = case.stages.get(*stage) else { return unchanged(case) };
            let past = |after: Duration| now >= since.plus(after);
            let remind = !*reminded && of.remind_after.is_some_and(past);
            let escalate = !*escalated && of.escalate.as_ref().is_some_and(|(after, _)| past(*after));
            let state = State::Waiting {
                stage: *stage,
                since: *since,
                reminded: *reminded || remind,
                escalated: *escalated || escalate,
            };
            let effects = [(remind, Effect::Remind), (escalate, Effect::Escalate)];
            let effects = effects.into_iter().filter_map(|(is, effect)| is.then_some(effect)).collect();
            Step { case: Case { state, ..case.clone() }, effects }
        }
    }
}

fn close(case: &Case, close: Close, at: Timestamp, by: Option<Party>, note: String) -> Step {
    let opened = matches!(case.state, State::Granted { .. });
    let effect = if opened { Effect::End(close) } else { Effect::Refused(close) };
    let state = State::Closed { close, at, by, note };
    Step { case: Case { state, ..case.clone() }, effects: vec![effect] }
}

fn said(text: String) -> Result<String, Denied> {
    if text.trim().is_empty() { Err(Denied::Reason) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
