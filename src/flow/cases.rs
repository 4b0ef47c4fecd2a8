//! Looking at requests: one, one's own, everybody's, those that wait for somebody. Decides who sees what; changes nothing. What is shown is as of now, also when time has passed that nobody has written down yet.

use super::Caller;
use super::answer::may_see;
use super::permission::{PermissionRefused, SignedIn, is_admin, is_auditor, must_be_auditor};
use crate::access::{Case, Event, Lock, Narrowing, Party, State, step};
use crate::app::App;
use crate::identity::Identity;
use crate::ids::{CaseId, GrantId};
use crate::store::{CaseFilter, GrantRow, StoreError};
use crate::time::Timestamp;

/// Cases read at once for an inbox, and how many are looked through in all: far more than can wait in earnest.
const INBOX_PAGE: u32 = 500;
const INBOX_PAGES_MAX: usize = 40;

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
pub enum LookRefused {
    /// No such request, or not one they may see; nobody learns which.
    #[error("there is no such request that you may see; list them with: caponier requests")]
    NotFound,
    /// Not everybody may see all of them.
    #[error(transparent)]
    Permission(#[from] PermissionRefused),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request as somebody sees it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The case as of now.
    pub case: Case,
    /// What it opened, if it did.
    pub grant: Option<GrantRow>,
    /// What whoever looks may do to it now: words of the API.
    pub may: Vec<&'static str>,
}

/// Whose requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One's own.
    Own,
    /// Everybody's; for auditors.
    All,
}

/// Which requests to list, newest first.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Whose.
    pub whose: Whose,
    /// In this state, as `State::word` says it.
    pub word: Option<&'static str>,
    /// Behind this one.
    pub before: Option<(Timestamp, CaseId)>,
    /// At most so many.
    pub rows: u32,
}

/// One request, if they may see it: their own, one that they decide or review, or any as an auditor.
pub async fn show(app: &App, by: &Caller, id: &CaseId) -> Result<Shown, LookRefused> {
    let all = is_auditor(app, by).await?;
    let case = app.store.case(id).await?.filter(|case| may_see(case, by.identity(), all));
    shown(app, by, case.ok_or(LookRefused::NotFound)?).await.map_err(Into::into)
}

/// Requests, newest first.
pub async fn list(app: &App, by: &SignedIn, wanted: &Listing) -> Result<Vec<Shown>, LookRefused> {
    let who = by.caller().identity();
    let whose = match wanted.whose {
        Whose::Own => Some((who.issuer.clone(), who.holder())),
        Whose::All => {
            must_be_auditor(app, by, "see the requests of everybody").await?;
            None
        }
    };
    let filter =
        CaseFilter { who: whose, word: wanted.word, before: wanted.before.clone(), ..CaseFilter::default() };
    let cases = app.store.cases(&filter, wanted.rows).await?;
    Ok(all_shown(app, by.caller(), cases).await?)
}

/// What waits for this person: requests to decide, and break-glass to look at. Oldest first.
pub async fn inbox(app: &App, by: &Caller) -> Result<Vec<Shown>, StoreError> {
    let cases = waiting_for(app, by.identity()).await?;
    all_shown(app, by, cases).await
}

/// The same as bare cases.
pub async fn waiting_for(app: &App, who: &Identity) -> Result<Vec<Case>, StoreError> {
    let now = app.clock.now();
    let waiting = CaseFilter { word: Some("waiting"), ..CaseFilter::default() };
    let to_review = CaseFilter { to_review: true, ..CaseFilter::default() };
    let mut cases = Vec::new();
    for filter in [waiting, to_review] {
        let all = all_of(app, filter).await?;
        cases.extend(all.iter().map(|case| as_of(case, now)).filter(|case| waits_for(case, who)));
    }
    cases.sort_by(|a, b| (a.filed, &a.id).cmp(&(b.filed, &b.id)));
    cases.dedup_by(|a, b| a.id == b.id);
    Ok(cases)
}

/// A case as whoever looks sees it now.
pub async fn shown(app: &App, by: &Caller, case: Case) -> Result<Shown, StoreError> {
    let mut all = all_shown(app, by, vec![case]).await?;
    all.pop().ok_or_else(|| StoreError::BadRow { table: "access_case", what: "nothing to show".into() })
}

async fn all_shown(app: &App, by: &Caller, cases: Vec<Case>) -> Result<Vec<Shown>, StoreError> {
    let now = app.clock.now();
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let (locks, admin) = (app.store.locks(now).await?, is_admin(app, by).await?);
    let mut all = Vec::new();
    for case in cases {
        let case = as_of(&case, now);
        let opened = match &case.state {
            State::Waiting { .. } => false,
            State::Granted { .. } => true,
            State::Closed { close, .. } => close.had_grant(),
        };
        let grant = if opened { app.store.grant_of_case(&case.id).await? } else { None };
        let may = open_to(app, &case, (by, admin), &locks, now);
        all.push(Shown { case, grant, may });
    }
    Ok(all)
}

/// Time counts also before anybody has looked at the clock.
fn as_of(case: &Case, now: Timestamp) -> Case {
    step(case, Event::Tick, now).map_or_else(|_| case.clone(), |ticked| ticked.case)
}

fn waits_for(case: &Case, who: &Identity) -> bool {
    let decides = matches!(case.state, State::Waiting { .. })
        && case.approvers().names(who)
        && !case.approvals.iter().any(|approval| approval.by.is(who));
    let reviews = case.review == crate::access::Review::Due && case.reviewers.names(who);
    !case.who.is(who) && (decides || reviews)
}

async fn all_of(app: &App, mut filter: CaseFilter) -> Result<Vec<Case>, StoreError> {
    let mut all = Vec::new();
    for _ in 0..INBOX_PAGES_MAX {
        let page = app.store.cases(&filter, INBOX_PAGE).await?;
        let full = page.len() >= INBOX_PAGE as usize;
        filter.before = page.last().map(|last| (last.filed, last.id.clone()));
        all.extend(page);
        if !full {
            break;
        }
    }
    Ok(all)
}

/// What somebody may do to a case now: whatever `step` would let them.
fn open_to(
    app: &App,
    case: &Case,
    (by, admin): (&Caller, bool),
    locks: &[Lock],
    now: Timestamp,
) -> Vec<&'static str> {
    let who = by.identity();
    if locks.iter().any(|lock| lock.holds(now) && lock.is_on(who)) {
        return Vec::new();
    }
    let (narrow, note, reason) = (Narrowing::default(), "-".to_owned(), "-".to_owned());
    let me = || who.clone();
    let grant = GrantId::random(&app.random);
    let events = [
        ("approve", Event::Approve { by: me(), narrow, note: String::new(), grant }),
        ("deny", Event::Deny { by: me(), reason: reason.clone() }),
        ("cancel", Event::Cancel { by: me(), admin }),
        ("release", Event::Release { by: me() }),
        ("revoke", Event::Revoke { by: Party::of(who), admin, who: Some(me()), reason }),
        ("review", Event::Reviewed { by: me(), admin, note }),
    ];
    events
        .into_iter()
        .filter(|(_, event)| step(case, event.clone(), now).is_ok())
        .map(|(word, _)| word)
        .collect()
}
