//! Asking for access: by the command line and the API, or by the connection itself. The policy's rules are checked here on
//! every way in; what nobody needs to approve opens at once.

use std::time::Duration;

use super::Caller;
use super::answer::{self, apply};
use super::denials::{self, Refused};
use super::permission::SignedIn;
use super::present::{Absent, present};
use super::recognise::{SignedBy, begin_once};
use crate::access::{Case, Close, Event, Review, Scope, State};
use crate::app::App;
use crate::audit::{AccessEvent, AuditEvent};
use crate::identity::Identity;
use crate::ids::{CaseId, GrantId};
use crate::policy::RefusalCode;
use crate::policy::request::{Plan, PlanRefused, Wish, plan};
use crate::store::{CaseFilter, Store, StoreError, Tx};
use crate::time::Timestamp;

/// Most requests of one person that may wait at once.
const WAITING_MAX: u32 = 20;
/// Most requests that one person files in this time, whatever becomes of them: each is rows, audit entries and notices.
const FILED_MAX: u64 = 60;
const FILED_IN: Duration = Duration::from_secs(10 * 60);
/// Most grants that one person has at once.
const GRANTS_MAX: u64 = 50;
/// Cases looked at for an approval of the same before, and how far back the longest rule can look.
const BEFORE_MAX: u32 = 200;
/// Cases that were taken away or denied, looked at for whether somebody has spoken against it since.
const AGAINST_MAX: u32 = 1000;
const BEFORE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Longest idempotency key, in bytes.
const KEY_MAX: usize = 128;

/// Why nothing was filed.
#[derive(Debug, thiserror::Error)]
pub enum AskRefused {
    /// Whoever is on the connection does not count as there any more.
    #[error(transparent)]
    Absent(#[from] Absent),
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// The policy has nothing like it, or wants it otherwise.
    #[error(transparent)]
    Plan(#[from] PlanRefused),
    /// There are too many.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Another request has this key.
    #[error("another request of yours has this idempotency key, and it asks for something else")]
    OtherKey,
    /// Not a key.
    #[error("an idempotency key has 1 to {KEY_MAX} printable characters")]
    BadKey,
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Requests that wait.
    #[error("{WAITING_MAX} requests of yours are waiting; cancel some, or wait: caponier requests")]
    Waiting,
    /// Requests filed of late.
    #[error("you have filed {FILED_MAX} requests within {} minutes; wait a while", FILED_IN.as_secs() / 60)]
    Filed,
    /// Grants.
    #[error("you have {GRANTS_MAX} grants at once; give some back: caponier release")]
    Granted,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Filed {
    /// The case.
    pub case: Case,
    /// It had been filed before, under the same key.
    pub again: bool,
    /// Number of the automatic condition that held, from 1.
    pub automatic: Option<usize>,
}

/// What would become of a wish. Changes nothing, so the signed request is not used up.
pub async fn dry_run(app: &App, caller: &Caller, wish: &Wish) -> Result<Plan, AskRefused> {
    planned(app, caller.identity(), wish, app.clock.now()).await
}

/// Files the wish of whoever signed. The same `key` again gives the same case.
pub async fn ask(app: &App, by: &SignedIn, wish: &Wish, key: Option<&str>) -> Result<Filed, AskRefused> {
    file(app, Door::Signed(by), wish, key).await
}

/// Files the wish of somebody on an SSH connection; who has the same waiting already is told so.
pub async fn ask_here(app: &App, caller: &Caller, wish: &Wish) -> Result<Filed, AskRefused> {
    let _one_at_a_time = app.desk.asking.lock().await;
    let caller = &present(app, caller).await?;
    let who = caller.identity();
    let now = app.clock.now();
    let plan = planned(app, who, wish, now).await?;
    for case in waiting_of(&app.store, who).await? {
        if case.scope.covers(&plan.scope) && case.start.is_none() && now < case.expires {
            return Ok(Filed { case, again: true, automatic: None });
        }
    }
    file(app, Door::Here(caller), wish, None).await
}

/// By which door somebody asks.
#[derive(Clone, Copy)]
enum Door<'a> {
    Signed(&'a SignedIn),
    Here(&'a Caller),
}

impl Door<'_> {
    fn caller(&self) -> &Caller {
        match self {
            Self::Signed(by) => by.caller(),
            Self::Here(caller) => caller,
        }
    }

    fn signed(&self) -> Option<&SignedBy> {
        match self {
            Self::Signed(by) => Some(by.signed()),
            Self::Here(_) => None,
        }
    }

    /// A transaction, in which a signed request is used up. To be begun when everything is read: who holds one and waits
    /// for another connection waits for others who do the same.
    async fn begin(&self, app: &App) -> Result<Tx, AskRefused> {
        match self {
            Self::Signed(by) => begin_once(app, by.signed()).await?.ok_or(AskRefused::Replay),
            Self::Here(_) => Ok(app.store.begin().await?),
        }
    }
}

async fn file(app: &App, door: Door<'_>, wish: &Wish, key: Option<&str>) -> Result<Filed, AskRefused> {
    let filed = try_file(app, door, wish, key).await;
    if let Err(refused) = &filed {
        note_refusal(app, door, wish, refused, app.clock.now()).await?;
    }
    filed
}

async fn try_file(app: &App, door: Door<'_>, wish: &Wish, key: Option<&str>) -> Result<Filed, AskRefused> {
    let caller = door.caller();
    let who = caller.identity();
    if key.is_some_and(|key| {
        key.is_empty() || key.len() > KEY_MAX || !key.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
    }) {
        return Err(AskRefused::BadKey);
    }
    let now = app.clock.now();
    let plan = planned(app, who, wish, now).await?;
    if let Some(key) = key
        && let Some(case) = app.store.case_by_key((&who.issuer, &who.holder()), key).await?
    {
        // The very same bytes a second time are a replay, whatever their key.
        door.begin(app).await?.leave().await?;
        return same_key(case, &plan, wish);
    }
    if waiting_of(&app.store, who).await?.len() >= WAITING_MAX as usize {
        return Err(TooMany::Waiting.into());
    }
    let mut tx = door.begin(app).await?;
    if let Some(limit) = limit(&mut tx, who, now).await? {
        tx.leave().await?;
        return Err(limit.into());
    }
    let case = case_of(app, who, wish, &plan, now);
    match tx.insert_case(&case, key).await {
        Ok(()) => {}
        // Two at once with the same key: the other one was first.
        Err(StoreError::Conflict) => {
            tx.leave().await?;
            let key = key.unwrap_or_default();
            let first = app.store.case_by_key((&who.issuer, &who.holder()), key).await?;
            return same_key(first.ok_or(StoreError::Conflict)?, &plan, wish);
        }
        Err(error) => return Err(error.into()),
    }
    let filed = AccessEvent::Filed {
        case: Box::new(case.clone()),
        automatic: plan.automatic,
        from: caller.from().to_string(),
        policy: app.policy().digest.clone(),
    };
    let at_once = plan.automatic.is_some() || plan.break_glass.is_some();
    let event = if at_once { Event::Open { grant: GrantId::random(&app.random) } } else { Event::Tick };
    let case = apply(app, tx, case, event, vec![AuditEvent::Access(filed)], &caller.from().to_string(), now)
        .await
        .map_err(|error| {
            if let answer::AnswerRefused::Store(error) = error {
                return AskRefused::Store(error);
            }
            AskRefused::Plan(PlanRefused::Rules(error.to_string()))
        })?;
    Ok(Filed { case, again: false, automatic: plan.automatic })
}

/// What this person has too much of already.
async fn limit(tx: &mut Tx, who: &Identity, now: Timestamp) -> Result<Option<TooMany>, StoreError> {
    let (issuer, subject) = (&who.issuer, &who.subject);
    if tx.count_filed((issuer, subject), now.minus(FILED_IN)).await? >= FILED_MAX {
        return Ok(Some(TooMany::Filed));
    }
    let held = tx.count_held((issuer, subject), now).await?;
    Ok((held >= GRANTS_MAX).then_some(TooMany::Granted))
}

fn same_key(case: Case, plan: &Plan, wish: &Wish) -> Result<Filed, AskRefused> {
    let same = case.asked == plan.scope
        && case.start == plan.start
        && case.reason == wish.reason.trim()
        && case.ticket.as_deref().unwrap_or_default() == wish.ticket.trim()
        && case.break_glass == wish.break_glass;
    if same { Ok(Filed { case, again: true, automatic: None }) } else { Err(AskRefused::OtherKey) }
}

fn case_of(app: &App, who: &Identity, wish: &Wish, plan: &Plan, now: Timestamp) -> Case {
    let ticket = wish.ticket.trim();
    let pending = now.plus(plan.pending_max);
    let window_over = plan.start.map(|start| start.plus(plan.scope.length));
    Case {
        id: CaseId::random(&app.random),
        who: crate::access::Party::of(who),
        asked: plan.scope.clone(),
        scope: plan.scope.clone(),
        start: plan.start,
        reason: wish.reason.trim().to_owned(),
        ticket: (!ticket.is_empty()).then(|| ticket.to_owned()),
        break_glass: plan.break_glass.is_some(),
        filed: now,
        expires: window_over.map_or(pending, |over| over.min(pending)),
        stages: plan.stages.clone(),
        approvals: Vec::new(),
        state: State::Waiting { stage: 0, since: now, reminded: false, escalated: false },
        review: if plan.break_glass.is_some() { Review::Due } else { Review::NotNeeded },
        reviewers: plan.break_glass.clone().unwrap_or_default(),
    }
}

async fn planned(app: &App, who: &Identity, wish: &Wish, now: Timestamp) -> Result<Plan, AskRefused> {
    let locks = app.store.locks(now).await?;
    let filter = CaseFilter {
        who: Some((who.issuer.clone(), who.holder())),
        since: Some(now.minus(BEFORE)),
        ..CaseFilter::default()
    };
    let before = app.store.cases(&filter, BEFORE_MAX).await?;
    let mut against = Vec::new();
    for close in [Close::Revoked, Close::Denied] {
        let filter =
            CaseFilter { who: filter.who.clone(), word: Some(close.as_str()), ..CaseFilter::default() };
        against.extend(app.store.cases(&filter, AGAINST_MAX).await?);
    }
    let approved = |scope: &Scope| approved_before(&before, &against, scope);
    Ok(plan(&app.policy(), who, wish, &locks, approved, now)?)
}

/// When people last approved what covers `scope`; what was opened without them says nothing. Who took such a thing away, or
/// said no to it, has spoken against every yes before that: one of `against` ends what was said until then.
fn approved_before(before: &[Case], against: &[Case], scope: &Scope) -> Option<Timestamp> {
    let no = |case: &Case| match &case.state {
        State::Closed { at, .. } if case.scope.overlaps(scope) || case.asked.overlaps(scope) => Some(*at),
        State::Closed { .. } | State::Waiting { .. } | State::Granted { .. } => None,
    };
    let no = against.iter().filter_map(no).max();
    let of = |case: &Case| {
        let opened = matches!(&case.state, State::Granted { .. })
            || matches!(&case.state, State::Closed { close, .. } if close.had_grant());
        (opened && case.scope.covers(scope) && case.scope.length >= scope.length)
            .then(|| case.approvals.last().map(|approval| approval.at))
            .flatten()
    };
    before.iter().filter_map(of).max().filter(|yes| no.is_none_or(|no| *yes > no))
}

async fn waiting_of(store: &Store, who: &Identity) -> Result<Vec<Case>, StoreError> {
    let filter = CaseFilter {
        who: Some((who.issuer.clone(), who.holder())),
        word: Some("waiting"),
        ..CaseFilter::default()
    };
    store.cases(&filter, WAITING_MAX).await
}

async fn note_refusal(
    app: &App,
    door: Door<'_>,
    wish: &Wish,
    why: &AskRefused,
    now: Timestamp,
) -> Result<(), StoreError> {
    let code = match why {
        AskRefused::Plan(PlanRefused::NoAccess(_)) => RefusalCode::NoAccess,
        AskRefused::Plan(PlanRefused::Rules(_) | PlanRefused::Standing(_)) => RefusalCode::ByRequest,
        AskRefused::Plan(PlanRefused::Locked(_)) => RefusalCode::Locked,
        AskRefused::TooMany(_) => RefusalCode::Limit,
        AskRefused::Absent(_)
        | AskRefused::Replay
        | AskRefused::OtherKey
        | AskRefused::BadKey
        | AskRefused::Store(_) => return Ok(()),
    };
    let targets: Vec<String> = wish
        .targets
        .iter()
        .map(|target| match target {
            crate::policy::request::TargetWish::Name(name) => name.to_string(),
            crate::policy::request::TargetWish::Label(key, value) => format!("{key}={value}"),
        })
        .collect();
    let logins: Vec<&str> = wish.logins.iter().map(crate::names::LoginName::as_str).collect();
    let (target, login, why) = (targets.join(" "), logins.join(","), why.to_string());
    let refused = Refused { target: &target, login: &login, act: "request", code, why: &why };
    denials::note_once(app, door.caller(), door.signed(), &refused, now).await
}
