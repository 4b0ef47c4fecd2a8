//! What happens to a request after it was filed: approved, denied, cancelled, given back, taken away, looked at, timed out. One
//! way for all of it: the case is taken in a transaction, `access::step` says what becomes of it, and case, grant,
//! audit entries and notices are written together.

use super::change::Change;
use super::denials::{self, Refused};
use super::permission::{SignedIn, is_admin, is_locked};
use super::present::{Absent, present};
use super::recognise::{SignedBy, begin_once};
use super::{Caller, notices};
use crate::access::{
    Approval, Case, Close, Denied, Effect, Event, Grant, Narrowing, Party, State, Step, step,
};
use crate::app::App;
use crate::audit::{AccessEvent, AuditEvent};
use crate::identity::Identity;
use crate::ids::{CaseId, GrantId, SessionId};
use crate::policy::RefusalCode;
use crate::policy::request::{Words, check_lines, still_asked};
use crate::store::{StoreError, Tx};
use crate::time::Timestamp;

pub use super::cases::waiting_for as inbox;

/// Cases that one look at the clock handles.
const DUE_MAX: u32 = 200;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AnswerRefused {
    /// Whoever is on the connection does not count as there any more.
    #[error(transparent)]
    Absent(#[from] Absent),
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// No such request, or not one they may see.
    #[error("there is no such request that you may see; list them with: caponier requests")]
    NotFound,
    /// Not in this state, or not by them.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The rules have changed since it was filed.
    #[error(
        "the policy's rules for this request have changed since it was filed; it must be asked for again"
    )]
    Outdated,
    /// They are locked.
    #[error("your access is locked; ask an administrator")]
    Locked,
    /// What they say is missing, too long, or no plain line.
    #[error("{0}")]
    Words(String),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What somebody wants to happen to a case.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Yes.
    Approve {
        /// What they take away.
        narrow: Narrowing,
        /// What they say.
        note: String,
    },
    /// No.
    Deny {
        /// Why.
        reason: String,
    },
    /// Not any more.
    Cancel,
    /// Give it back.
    Release,
    /// Take it away.
    Revoke {
        /// Why.
        reason: String,
    },
    /// Close the review of a break-glass.
    Review {
        /// What they found.
        note: String,
    },
}

/// Who acts, and by which door.
#[derive(Clone, Copy)]
pub enum By<'a> {
    /// By a signed request, which is used up.
    Signed(&'a SignedIn),
    /// On an SSH connection.
    Here(&'a Caller),
}

impl By<'_> {
    /// The request, where there is one.
    fn signed(&self) -> Option<&SignedBy> {
        match self {
            Self::Signed(person) => Some(person.signed()),
            Self::Here(_) => None,
        }
    }
}

/// Does what somebody wants to a case; the case as it is afterwards. Every refusal is in the audit log, up to a rate.
pub async fn answer(app: &App, by: By<'_>, id: &CaseId, wanted: Wanted) -> Result<Case, AnswerRefused> {
    let here;
    let caller = match by {
        By::Signed(person) => person.caller(),
        By::Here(caller) => {
            here = present(app, caller).await?;
            &here
        }
    };
    // Read before the transaction: who holds one and waits for another connection waits for others who do the same.
    let (locked, admin) = (is_locked(app, caller).await?, is_admin(app, caller).await?);
    let mut tx = match by {
        By::Signed(person) => begin_once(app, person.signed()).await?.ok_or(AnswerRefused::Replay)?,
        By::Here(_) => app.store.begin().await?,
    };
    let now = app.clock.now();
    let who = caller.identity();
    let taken = tx.take_case(id).await?;
    let mut whose = "there is no such request".to_owned();
    let refused = match taken {
        Some(case) if may_see(&case, who, admin) => {
            whose = format!("it is of {}", case.who);
            let judged =
                if locked { Err(AnswerRefused::Locked) } else { judged(app, caller, &case, &wanted, admin) };
            match judged {
                Ok(event) => {
                    let from = caller.from().to_string();
                    match apply(app, tx, case, event, Vec::new(), &from, now).await {
                        Err(AnswerRefused::Denied(denied)) => AnswerRefused::Denied(denied),
                        done => return done,
                    }
                }
                Err(AnswerRefused::Outdated) => {
                    apply(app, tx, case, Event::Outdate, Vec::new(), "", now).await?;
                    AnswerRefused::Outdated
                }
                Err(refused) => {
                    tx.leave().await?;
                    refused
                }
            }
        }
        other => {
            tx.leave().await?;
            if let Some(case) = other {
                whose = format!("it is of {}, and not theirs to see", case.who);
            }
            AnswerRefused::NotFound
        }
    };
    let what = format!("{} {id}", wanted.word());
    let why = format!("{refused} ({whose})");
    let noted = Refused::act(&what, RefusalCode::NoAccess, &why);
    denials::note_once(app, caller, by.signed(), &noted, now).await?;
    Err(refused)
}

impl Wanted {
    fn word(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "approve",
            Self::Deny { .. } => "deny",
            Self::Cancel => "cancel",
            Self::Release => "release",
            Self::Revoke { .. } => "revoke",
            Self::Review { .. } => "review",
        }
    }

    /// Whether what they say can be kept: one line each, and not too long.
    fn check(&self) -> Result<(), String> {
        let words = |required| Words { required, min: 0, pattern: None };
        match self {
            Self::Approve { narrow, note } => {
                check_lines(narrow.commands.iter().flatten())?;
                words(false).check("note", note)
            }
            Self::Deny { reason } | Self::Revoke { reason } => words(true).check("reason", reason),
            Self::Review { note } => words(true).check("note", note),
            Self::Cancel | Self::Release => Ok(()),
        }
    }
}

/// The event, if they may at all; whether it fits the case is `step`'s.
fn judged(
    app: &App,
    caller: &Caller,
    case: &Case,
    wanted: &Wanted,
    admin: bool,
) -> Result<Event, AnswerRefused> {
    let who = caller.identity();
    wanted.check().map_err(AnswerRefused::Words)?;
    let by = who.clone();
    Ok(match wanted.clone() {
        Wanted::Approve { narrow, note } => {
            if matches!(case.state, State::Waiting { .. }) && !still_asked(&app.policy(), case) {
                return Err(AnswerRefused::Outdated);
            }
            Event::Approve { by, narrow, note, grant: GrantId::random(&app.random) }
        }
        Wanted::Deny { reason } => Event::Deny { by, reason },
        Wanted::Cancel => Event::Cancel { by, admin },
        Wanted::Release => Event::Release { by },
        Wanted::Revoke { reason } => {
            Event::Revoke { by: Party::of(who), admin, who: Some(who.clone()), reason }
        }
        Wanted::Review { note } => Event::Reviewed { by, admin, note },
    })
}

/// Whether somebody may see a case: their own, one that they decide or decided or review, or any as an administrator.
pub fn may_see(case: &Case, who: &Identity, admin: bool) -> bool {
    let decides = |stage: &crate::access::Stage| {
        stage.approvers.names(who) || stage.escalate.as_ref().is_some_and(|(_, to)| to.names(who))
    };
    admin
        || case.who.is(who)
        || case.stages.iter().any(decides)
        || case.reviewers.names(who)
        || case.approvals.iter().any(|approval| approval.by.is(who))
}

/// The one use of these grants is over.
pub(super) async fn used(app: &App, session: &SessionId) -> Result<(), StoreError> {
    let now = app.clock.now();
    for grant in app.store.grants_of_session(session).await? {
        let Some(row) = app.store.grant(&grant).await? else { continue };
        if row.grant.used_by.as_ref() != Some(session) || row.grant.ended.is_some() {
            continue;
        }
        let mut tx = app.store.begin().await?;
        let Some(case) = tx.take_case(&row.grant.case).await? else { continue };
        match apply(app, tx, case, Event::Used, Vec::new(), "", now).await {
            // It had ended before, otherwise.
            Ok(_) | Err(AnswerRefused::Denied(_)) => {}
            Err(AnswerRefused::Store(error)) => return Err(error),
            Err(other) => tracing::error!(error = %other, %grant, "a used grant could not be ended"),
        }
    }
    Ok(())
}

/// Lets time do its part; returns how many cases it changed.
pub async fn elapse(app: &App) -> Result<usize, StoreError> {
    let mut changed = 0;
    for id in app.store.cases_due(app.clock.now(), DUE_MAX).await? {
        match elapse_one(app, &id).await {
            Ok(()) => changed += 1,
            // One that cannot be read must not keep the others from ending.
            Err(AnswerRefused::Store(error @ StoreError::BadRow { .. })) => {
                tracing::error!(%error, case = %id, "time could not do its part");
            }
            Err(AnswerRefused::Store(error)) => return Err(error),
            Err(other) => tracing::error!(error = %other, case = %id, "time could not do its part"),
        }
    }
    Ok(changed)
}

async fn elapse_one(app: &App, id: &CaseId) -> Result<(), AnswerRefused> {
    let mut tx = app.store.begin().await?;
    let now = app.clock.now();
    let Some(case) = tx.take_case(id).await? else { return Ok(()) };
    apply(app, tx, case, Event::Tick, Vec::new(), "", now).await.map(|_| ())
}

/// Writes what `event` makes of a taken (or just inserted) case, and tells whoever must know. `first` are audit entries that
/// come before its own. What `step` denies leaves nothing.
pub(super) async fn apply(
    app: &App,
    mut tx: Tx,
    before: Case,
    event: Event,
    first: Vec<AuditEvent>,
    from: &str,
    now: Timestamp,
) -> Result<Case, AnswerRefused> {
    let held = match &before.state {
        State::Granted { grant, .. } => Some(grant.clone()),
        State::Waiting { .. } | State::Closed { .. } => None,
    };
    let Step { case, effects } = match step(&before, event, now) {
        Ok(step) => step,
        Err(denied) => {
            // What `before` says, somebody may just have written.
            tx.leave().await?;
            return Err(denied.into());
        }
    };
    let mut entries = first;
    let filed = !entries.is_empty();
    for effect in &effects {
        match effect {
            Effect::Open => {
                let grant = grant_of(&case)?;
                tx.insert_grant(&grant, now).await?;
                let how = how(&case);
                entries.push(AuditEvent::Access(AccessEvent::Opened { grant: Box::new(grant), how }));
            }
            Effect::End(close) => {
                let Some(grant) = &held else { continue };
                if tx.end_grant(grant, *close, now).await? {
                    entries.push(AuditEvent::Access(ended(&case, grant, *close)));
                }
            }
            Effect::Approved | Effect::AllApproved => {
                entries.extend(case.approvals.last().map(|last| approved(&before, &case, last, from)));
            }
            Effect::Refused(close) => entries.push(AuditEvent::Access(closed(&case, *close))),
            Effect::Remind => entries.push(pressed(&case, "reminded")),
            Effect::Escalate => entries.push(pressed(&case, "escalated")),
            Effect::Reviewed => entries.extend(reviewed(&case)),
            Effect::NextStage => {}
        }
    }
    if entries.is_empty() {
        tx.leave().await?;
        return Ok(case);
    }
    tx.write_case(&case, now).await?;
    notices::about(&mut tx, &app.random, &case, filed, &effects, now).await?;
    tx.commit_all(now, entries).await?;
    if effects.iter().any(|effect| matches!(effect, Effect::End(_))) {
        let Party { issuer, subject, .. } = case.who.clone();
        app.desk.tell(Change::Identity { issuer, subject });
    }
    app.desk.tell_case(&case.id);
    Ok(case)
}

fn how(case: &Case) -> &'static str {
    if case.break_glass {
        "break-glass"
    } else if case.approvals.is_empty() {
        "automatic"
    } else {
        "approved"
    }
}

fn grant_of(case: &Case) -> Result<Grant, StoreError> {
    let State::Granted { grant, starts, until } = &case.state else {
        return Err(StoreError::BadRow { table: "access_case", what: "opened without a grant".into() });
    };
    Ok(Grant {
        id: grant.clone(),
        case: case.id.clone(),
        who: case.who.clone(),
        scope: case.scope.clone(),
        starts: *starts,
        until: *until,
        break_glass: case.break_glass,
        used_by: None,
        ended: None,
    })
}

fn approved(before: &Case, case: &Case, last: &Approval, from: &str) -> AuditEvent {
    let stage = case.stages.get(last.stage).map(|stage| stage.name.clone()).unwrap_or_default();
    AuditEvent::Access(AccessEvent::Approved {
        case: case.id.clone(),
        who: case.who.clone(),
        by: last.by.clone(),
        stage: (last.stage, stage),
        note: last.note.clone(),
        narrowed: before.scope != case.scope,
        from: from.to_owned(),
    })
}

fn by_and_note(case: &Case) -> (Option<Party>, String) {
    match &case.state {
        State::Closed { by, note, .. } => (by.clone(), note.clone()),
        State::Waiting { .. } | State::Granted { .. } => (None, String::new()),
    }
}

fn closed(case: &Case, close: Close) -> AccessEvent {
    let (by, note) = by_and_note(case);
    AccessEvent::Closed { case: case.id.clone(), who: case.who.clone(), close, by, note }
}

fn ended(case: &Case, grant: &GrantId, close: Close) -> AccessEvent {
    let (by, note) = by_and_note(case);
    AccessEvent::Ended { grant: grant.clone(), case: case.id.clone(), who: case.who.clone(), close, by, note }
}

fn pressed(case: &Case, how: &'static str) -> AuditEvent {
    AuditEvent::Access(AccessEvent::Pressed {
        case: case.id.clone(),
        who: case.who.clone(),
        how,
        approvers: case.approvers().listed(),
    })
}

fn reviewed(case: &Case) -> Option<AuditEvent> {
    let crate::access::Review::Done { by, note, .. } = &case.review else { return None };
    Some(AuditEvent::Access(AccessEvent::Reviewed {
        case: case.id.clone(),
        who: case.who.clone(),
        by: by.clone(),
        note: note.clone(),
    }))
}
