//! What somebody on an SSH connection sees of requests and access: what waits for them, their own, one by a part of its id,
//! and what they reach in which way. Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::may_see;
use super::permission::is_auditor;
use super::{Caller, cases, held};
use crate::access::{Case, Event, Grant, step};
use crate::app::App;
use crate::ids::CaseId;
use crate::names::{LoginName, TargetName};
use crate::policy::{Circumstances, Reach, reach_for};
use crate::store::{CaseFilter, StoreError};
use crate::time::Timestamp;

/// Most requests that are looked at for one beginning of an id; with more, it is not clear which is meant.
const LOOKED_AT: u32 = 100;
/// Newest requests of one's own that are listed.
const OWN: u32 = 20;
/// Fewest characters of an id, its prefix not counted: to look at a request, and to do something to it. So many are not
/// hit by chance, nor by somebody who files requests until one begins alike.
const PART_MIN: usize = 4;
const PART_MIN_TO_ACT: usize = 8;

/// Which request is meant.
#[derive(Debug)]
pub enum Meant {
    /// This one.
    One(Box<Case>),
    /// None that they may see.
    Nothing,
    /// Several; more of the id is needed.
    Several,
}

/// What waits for this person. Oldest first.
pub async fn inbox(app: &App, caller: &Caller) -> Result<Vec<Case>, StoreError> {
    Ok(cases::inbox(app, caller).await?.into_iter().map(|shown| shown.case).collect())
}

/// The newest of their own.
pub async fn own(app: &App, caller: &Caller) -> Result<Vec<Case>, StoreError> {
    let who = caller.identity();
    let filter = CaseFilter { who: Some((who.issuer.clone(), who.holder())), ..CaseFilter::default() };
    let now = app.clock.now();
    Ok(app.store.cases(&filter, OWN).await?.into_iter().map(|case| as_of(case, now)).collect())
}

/// Their grants that have not ended and are not over.
pub async fn grants(app: &App, caller: &Caller) -> Result<Vec<Grant>, StoreError> {
    let who = caller.identity();
    app.store.grants_of(&who.issuer, &who.holder(), app.clock.now()).await
}

/// What a request is looked for to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// To be shown.
    Look,
    /// To be decided, or otherwise changed.
    Act,
}

/// The one request that `text` names: an id, or the beginning of one, with or without `req_`. Only what they may see is
/// told, so nobody learns of others by trying; all there are count, however old.
pub async fn find(app: &App, caller: &Caller, text: &str, purpose: For) -> Result<Meant, StoreError> {
    let (who, all) = (caller.identity(), is_auditor(app, caller).await?);
    let now = app.clock.now();
    let one = |case: Case| Meant::One(Box::new(as_of(case, now)));
    if let Ok(id) = text.parse::<CaseId>() {
        let case = app.store.case(&id).await?.filter(|case| may_see(case, who, all));
        return Ok(case.map_or(Meant::Nothing, one));
    }
    let part = text.strip_prefix(CaseId::PREFIX).unwrap_or(text);
    let least = match purpose {
        For::Look => PART_MIN,
        For::Act => PART_MIN_TO_ACT,
    };
    if part.len() < least {
        return Ok(Meant::Several);
    }
    let beginning = format!("{}{part}", CaseId::PREFIX);
    let cases = app.store.cases_beginning(&beginning, LOOKED_AT).await?;
    if cases.len() >= LOOKED_AT as usize {
        return Ok(Meant::Several);
    }
    let begins = |case: &Case| case.id.as_str().starts_with(&beginning);
    let mut found = cases.into_iter().filter(|case| begins(case) && may_see(case, who, all));
    Ok(match (found.next(), found.next()) {
        (Some(case), None) => one(case),
        (None, _) => Meant::Nothing,
        (Some(_), Some(_)) => Meant::Several,
    })
}

/// What they reach, and in which way now.
pub async fn reach(
    app: &App,
    caller: &Caller,
) -> Result<Vec<(TargetName, BTreeMap<LoginName, Reach>)>, StoreError> {
    let held = held::by(app, caller.identity(), None).await?;
    let at = Circumstances { now: app.clock.now(), from: caller.from(), own: Arc::default(), held };
    Ok(reach_for(&app.policy(), caller.identity(), &at))
}

/// Time counts also before anybody has looked at the clock.
fn as_of(case: Case, now: Timestamp) -> Case {
    match step(&case, Event::Tick, now) {
        Ok(ticked) => ticked.case,
        Err(_) => case,
    }
}
