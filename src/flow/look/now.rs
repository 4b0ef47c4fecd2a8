//! Who has access at this moment: grants that are open, sessions by standing roles, and, where somebody asks about one
//! target or one person, which roles would lead there.

use std::collections::BTreeSet;

use super::{Asked, Look, Sight, SightRefused};
use crate::access::{Case, Lock, LockOn};
use crate::app::App;
use crate::flow::permission::SignedIn;
use crate::identity::Identity;
use crate::names::{ProviderName, RoleName, TargetName};
use crate::policy::somebody::person;
use crate::policy::ways::{members_seen_by, still_leads, ways};
use crate::policy::{Members, Policy, Role};
use crate::store::{GrantRow, SessionRow, Store, StoreError};
use crate::time::Timestamp;

/// Most rows of one list; more are cut, and that is said.
const ROWS_MAX: u32 = 500;
/// Most open sessions shown under one grant.
const SESSIONS_MAX: u32 = 50;

/// Who has access.
#[derive(Clone, Debug)]
pub struct AccessNow {
    /// When it was looked.
    pub at: Timestamp,
    /// Whether everybody was looked at; else whoever looks only.
    pub everybody: bool,
    /// There was more than fits.
    pub cut: bool,
    /// Grants that have not ended, newest first.
    pub grants: Vec<LiveGrant>,
    /// Open sessions that hang on no grant, newest first.
    pub sessions: Vec<OpenSession>,
    /// Where one target or person was asked about: roles that lead there.
    pub roles: Vec<RoleWay>,
    /// Where one person was asked about: what is known of them.
    pub person: Option<Person>,
}

/// A grant that has not ended.
#[derive(Clone, Debug)]
pub struct LiveGrant {
    /// The grant.
    pub row: GrantRow,
    /// `open`; `scheduled`: it starts later; `locked`: nobody gets in by it while a lock holds; `void`: the policy has no
    /// such role any more; `used`: its one use is taken.
    pub state: &'static str,
    /// The request behind it.
    pub case: Option<Case>,
    /// Open sessions under it, newest first.
    pub sessions: Vec<SessionRow>,
}

/// An open session by standing roles.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The session.
    pub row: SessionRow,
    /// The roles; none when it was opened by a bastion that did not keep them.
    pub roles: Vec<String>,
}

/// A role that leads somewhere.
#[derive(Clone, Debug)]
pub struct RoleWay {
    /// The role.
    pub role: Role,
    /// Whom it is for, as far as whoever looks may know: somebody in every one.
    pub members: Vec<Members>,
    /// The targets that were asked about and it opens.
    pub targets: Vec<TargetName>,
    /// For each stage of approval the owners of that target, where it asks them and one target was asked about.
    pub owners: Vec<Vec<String>>,
    /// It is locked, or the target is, or the person.
    pub locked: bool,
}

/// What is known of a person.
#[derive(Clone, Debug)]
pub struct Person {
    /// `provider:subject`.
    pub who: String,
    /// A label; empty when they never signed in.
    pub display: String,
    /// Their groups, as the provider said at the last sign-in.
    pub groups: Vec<String>,
    /// The last sign-in; none when there was none: what groups would open is not known then.
    pub signed_in: Option<Timestamp>,
    /// A lock is on them.
    pub locked: bool,
}

/// Who has access now, for whoever signed.
pub async fn now(app: &App, by: &SignedIn, asked: &Asked) -> Result<AccessNow, SightRefused> {
    let policy = app.policy();
    Ok(seen(&Look::signed(app, &policy, by, asked, "now").await?).await?)
}

/// The same by a command on the server.
pub async fn now_by_command(
    store: &Store,
    policy: &Policy,
    asked: &Asked,
    now: Timestamp,
) -> Result<AccessNow, StoreError> {
    seen(&Look::by_command(store, policy, asked, "now", now).await?).await
}

async fn seen(look: &Look<'_>) -> Result<AccessNow, StoreError> {
    let Look { store, policy, now, asked, .. } = look;
    let locks = store.locks(*now).await?;
    let mut rows = store.grants_live(&look.grants(), *now, ROWS_MAX + 1).await?;
    let target = asked.target.as_ref().map(TargetName::as_str);
    let mut open = store.sessions_without_grant(&look.whose(), target, ROWS_MAX + 1).await?;
    let fit = ROWS_MAX as usize;
    let cut = rows.len() > fit || open.len() > fit;
    rows.truncate(fit);
    open.truncate(fit);
    let mut grants = Vec::new();
    for row in rows {
        let state = state(&row, policy, &locks, *now);
        let sessions = store.sessions_of_grant(&row.grant.id, true, SESSIONS_MAX).await?;
        let case = store.case(&row.grant.case).await?;
        grants.push(LiveGrant { row, state, case, sessions });
    }
    let mut sessions = Vec::new();
    for row in open {
        sessions.push(OpenSession { roles: store.roles_of_session(&row.id).await?, row });
    }
    let who = somebody(look).await?;
    let roles = if asked.user.is_some() || asked.target.is_some() {
        roles(look, who.as_ref().map(|(who, _)| who), &locks)
    } else {
        Vec::new()
    };
    let person = who.map(|(who, signed_in)| Person {
        who: who.reference(),
        groups: who.groups.iter().map(ToString::to_string).collect(),
        locked: locks.iter().any(|lock| lock.is_on(&who)),
        display: who.display,
        signed_in,
    });
    Ok(AccessNow { at: *now, everybody: look.everybody(), cut, grants, sessions, roles, person })
}

/// What a grant is worth at this moment.
fn state(row: &GrantRow, policy: &Policy, locks: &[Lock], now: Timestamp) -> &'static str {
    let (grant, scope) = (&row.grant, &row.grant.scope);
    let on = |on: LockOn| locks.iter().any(|lock| lock.on == on);
    if on(LockOn::User(grant.who.reference.clone()))
        || on(LockOn::Role(scope.role.clone()))
        || scope.targets.iter().all(|name| on(LockOn::Target(name.clone())))
    {
        "locked"
    } else if !still_leads(policy, scope.role.as_str(), &scope.targets) {
        "void"
    } else if grant.used_by.is_some() {
        "used"
    } else if grant.starts > now {
        "scheduled"
    } else {
        "open"
    }
}

/// The person whom the look is about, with their last sign-in: whoever looks, or the one asked about.
async fn somebody(look: &Look<'_>) -> Result<Option<(Identity, Option<Timestamp>)>, StoreError> {
    let reference = match (&look.sight, &look.asked.user) {
        (Sight::Only(who), _) => who.reference(),
        (Sight::Everybody, Some(user)) => user.clone(),
        (Sight::Everybody, None) => return Ok(None),
    };
    let Some((provider, subject)) = reference.split_once(':') else { return Ok(None) };
    let Ok(provider) = provider.parse::<ProviderName>() else { return Ok(None) };
    let newest = look.store.newest_sign_ins(Some((provider.as_str(), subject)), ROWS_MAX).await?;
    // One name at two issuers is what a provider that moved leaves behind: the newest is whom the name means.
    let newest = newest.into_iter().max_by_key(|sign_in| sign_in.created);
    Ok(Some(match newest {
        Some(sign_in) => (sign_in.who, Some(sign_in.created)),
        None => (person(provider, subject.to_owned(), BTreeSet::new()), None),
    }))
}

fn roles(look: &Look<'_>, who: Option<&Identity>, locks: &[Lock]) -> Vec<RoleWay> {
    let target = look.asked.target.as_ref();
    // Somebody whose name nobody could have is in no role.
    if who.is_none() && look.asked.user.is_some() {
        return Vec::new();
    }
    let on = |on: LockOn| locks.iter().any(|lock| lock.on == on);
    let off = who.is_some_and(|who| locks.iter().any(|lock| lock.is_on(who)));
    let shown = |way: crate::policy::ways::Way<'_>| RoleWay {
        role: way.role.clone(),
        members: match &look.sight {
            Sight::Everybody => way.role.members.clone(),
            Sight::Only(me) => members_seen_by(way.role, me),
        },
        targets: way.targets.iter().map(|name| (*name).clone()).collect(),
        owners: owners(look.policy, way.role, target),
        locked: off
            || on(LockOn::Role(RoleName::clone(&way.role.name)))
            || way.targets.iter().all(|name| on(LockOn::Target((*name).clone()))),
    };
    ways(look.policy, target, who).into_iter().map(shown).collect()
}

/// Whom each stage asks as owner of the target.
fn owners(policy: &Policy, role: &Role, target: Option<&TargetName>) -> Vec<Vec<String>> {
    let labels = target.and_then(|name| policy.targets.get(name)).map(|target| &target.labels);
    let stages = role.access.rules().map(|rules| rules.stages.as_slice()).unwrap_or_default();
    let of_stage = |label: Option<&String>| {
        let value = label.and_then(|label| labels?.get(label)).map(String::as_str).unwrap_or_default();
        value.split_whitespace().map(|one| one.strip_prefix("subject=").unwrap_or(one).to_owned()).collect()
    };
    stages.iter().map(|stage| of_stage(stage.owner_label.as_ref())).collect()
}
