//! What happens to a request after it was filed: approved, denied, cancelled, given back, taken away, looked at, timed out. One
//! way for all of it: the case is taken in a transaction, `access::step` says what becomes of it, and case, grant,
//! audit entries and notices are written together.

use super::change::Change;
use super::end_sign_in::is_admin;
use super::recognise::{RequestRefused, SignedBy, begin_once, sign_in_of};
use super::{Caller, denials, notices};
use crate::access::{
    Approval, Case, Close, Denied, Effect, Event, Grant, Narrowing, Party, State, Step, step,
};
use crate::app::App;
use crate::audit::{AccessEvent, AuditEvent};
use crate::identity::Identity;
use crate::ids::{CaseId, GrantId, SessionId};
use crate::policy::RefusalCode;
use crate::policy::request::still_asked;
use crate::store::{CaseFilter, StoreError, Tx};
use crate::time::Timestamp;

/// Cases that one look at the clock handles.
const DUE_MAX: u32 = 200;
/// Cases of an inbox.
const INBOX_MAX: u32 = 500;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AnswerRefused {
    /// Whoever asks is not signed in.
    #[error(transparent)]
    Caller(#[from] RequestRefused),
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
pub enum By<'a> {
    /// By a signed request.
    Signed(&'a SignedBy),
    /// On an SSH connection.
    Here(&'a Caller),
}

/// Does what somebody wants to a case; the case as it is afterwards.
pub async fn answer(app: &App, by: By<'_>, id: &CaseId, wanted: Wanted) -> Result<Case, AnswerRefused> {
    let (caller, mut tx) = match by {
        By::Signed(signed) => {
            let sign_in = sign_in_of(app, signed).await?;
            let caller = Caller::new(&sign_in, None, None, signed.from());
            (caller, begin_once(app, signed).await?.ok_or(AnswerRefused::Replay)?)
        }
        By::Here(caller) => (caller.clone(), app.store.begin().await?),
    };
    let now = app.clock.now();
    let admin = is_admin(app, &caller);
    let who = caller.identity();
    let taken = tx.take_case(id).await?;
    let refused = match taken {
        Some(case) if may_see(&case, who, admin) => {
            match judged(app, &caller, &case, &wanted, admin, now).await {
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
                    drop(tx);
                    refused
                }
            }
        }
        Some(_) | None => {
            drop(tx);
            AnswerRefused::NotFound
        }
    };
    let what = format!("{} {id}", wanted.word());
    let nothing = (String::new(), String::new());
    note_refusal(app, &caller, nothing, &what, RefusalCode::NoAccess, &refused, now).await?;
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
}

/// The event, if they may at all; whether it fits the case is `step`'s.
async fn judged(
    app: &App,
    caller: &Caller,
    case: &Case,
    wanted: &Wanted,
    admin: bool,
    now: Timestamp,
) -> Result<Event, AnswerRefused> {
    let who = caller.identity();
    if app.store.locks(now).await?.iter().any(|lock| lock.holds(now) && lock.is_on(who)) {
        return Err(AnswerRefused::Locked);
    }
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

/// Takes a grant away by a command on the server, beside the running one.
pub async fn revoke_by_command(app: &App, id: &CaseId, reason: String) -> Result<Case, AnswerRefused> {
    let now = app.clock.now();
    let mut tx = app.store.begin().await?;
    let case = tx.take_case(id).await?.ok_or(AnswerRefused::NotFound)?;
    let event = Event::Revoke { by: Party::local("admin"), admin: true, who: None, reason };
    apply(app, tx, case, event, Vec::new(), "", now).await
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

/// What waits for this person: requests to decide, and break-glass to look at. Oldest first.
pub async fn inbox(app: &App, who: &Identity) -> Result<Vec<Case>, StoreError> {
    let now = app.clock.now();
    let waiting = CaseFilter { word: Some("waiting"), ..CaseFilter::default() };
    let to_review = CaseFilter { to_review: true, ..CaseFilter::default() };
    let mut cases = app.store.cases(&waiting, INBOX_MAX).await?;
    cases.retain(|case| {
        now < case.expires
            && !case.who.is(who)
            && case.approvers().names(who)
            && !case.approvals.iter().any(|approval| approval.by.is(who))
    });
    let reviews = app.store.cases(&to_review, INBOX_MAX).await?;
    cases.extend(reviews.into_iter().filter(|case| !case.who.is(who) && case.reviewers.names(who)));
    cases.sort_by(|a, b| (a.filed, &a.id).cmp(&(b.filed, &b.id)));
    cases.dedup_by(|a, b| a.id == b.id);
    Ok(cases)
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
    let Step { case, effects } = step(&before, event, now)?;
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

/// Writes down that somebody was refused something about requests.
pub(super) async fn note_refusal(
    app: &App,
    caller: &Caller,
    (target, login): (String, String),
    act: &str,
    code: RefusalCode,
    why: &(dyn std::error::Error + Sync),
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = AuditEvent::AccessRefused {
        who: caller.identity().clone(),
        sign_in: caller.sign_in().clone(),
        target: denials::cut(&target),
        login: denials::cut(&login),
        act: denials::cut(act),
        code,
        reason: denials::cut(&why.to_string()),
        from: caller.from().to_string(),
    };
    app.store.note(now, event).await
}
