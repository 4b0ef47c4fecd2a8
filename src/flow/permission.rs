//! Who may call which part of the API: the seven permissions, and their proofs. Decides from the signature, the sign-in and
//! the configuration; every endpoint is judged here, and nowhere else. What somebody may do beyond that (whose sign-in, which request)
//! is judged by the flow that does it.

use std::net::IpAddr;

use super::Caller;
use super::denials::{self, Refused};
use super::recognise::{Request, RequestRefused, SignedBy, recognise_request, sign_in_of};
use crate::access::Lock;
use crate::app::App;
use crate::config::People;
use crate::identity::{Identity, Kind};
use crate::names::GroupName;
use crate::policy::RefusalCode;
use crate::store::{SignIn, StoreError, Tx};
use crate::time::Timestamp;

/// What somebody must be to call an endpoint. Whoever has one of the first five or the last has what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Everybody, without a signature: said in so many words, never the default.
    Public,
    /// Whoever signed the request with any acceptable SSH key; no sign-in is needed.
    SignedKey,
    /// Whoever signed it with a key that has a live sign-in.
    SignedIn,
    /// Whoever may watch live sessions: `sign_in.watchers`, the auditors and the admins.
    Watcher,
    /// Whoever may read what others do: `sign_in.auditors`, and the admins.
    Auditor,
    /// Whoever may end live sessions: `sign_in.killers`, and the admins.
    Killer,
    /// `sign_in.admins`.
    Admin,
}

impl Permission {
    /// The word in the API's description.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::SignedKey => "signed-key",
            Self::SignedIn => "signed-in",
            Self::Watcher => "watcher",
            Self::Auditor => "auditor",
            Self::Killer => "killer",
            Self::Admin => "admin",
        }
    }
}

/// Why a request may not do what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum PermissionRefused {
    /// The signature or the sign-in.
    #[error(transparent)]
    Request(#[from] RequestRefused),
    /// The person is known and may not; in the audit log by then.
    #[error("only {0}s of this bastion may do this; the setting sign_in.{0}s names them")]
    Not(&'static str),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

mod sealed {
    pub trait Sealed {}
}

/// A proof that a request has a permission. The types that are one have private fields and are made here only, so what
/// takes one as an argument cannot be reached without it.
pub trait Proof: sealed::Sealed + Sized + Send + Sync + 'static {
    /// What it proves.
    const PERMISSION: Permission;

    /// Judges the request. Every refusal is in the audit log, up to a rate.
    fn of(app: &App, request: Request<'_>) -> impl Future<Output = Result<Self, PermissionRefused>> + Send;
}

/// Anybody: nothing is known but where they are.
#[derive(Clone, Copy, Debug)]
pub struct Anybody {
    from: IpAddr,
}

impl Anybody {
    /// The client's address.
    pub fn from(self) -> IpAddr {
        self.from
    }
}

/// Somebody who is signed in, and signed this request.
#[derive(Clone, Debug)]
pub struct SignedIn {
    signed: SignedBy,
    sign_in: SignIn,
    caller: Caller,
}

impl SignedIn {
    /// The signature; whoever changes something uses its nonce up (`begin_once`).
    pub fn signed(&self) -> &SignedBy {
        &self.signed
    }
    /// The sign-in.
    pub fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }
    /// Who.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Somebody signed in who may read what others do.
#[derive(Clone, Debug)]
pub struct Auditor(SignedIn);

impl Auditor {
    /// Who.
    pub fn person(&self) -> &SignedIn {
        &self.0
    }
}

/// Somebody signed in who may watch live sessions.
#[derive(Clone, Debug)]
pub struct Watcher(SignedIn);

impl Watcher {
    /// Who.
    pub fn person(&self) -> &SignedIn {
        &self.0
    }
}

/// Somebody signed in who may end live sessions.
#[derive(Clone, Debug)]
pub struct Killer(SignedIn);

impl Killer {
    /// Who.
    pub fn person(&self) -> &SignedIn {
        &self.0
    }
}

/// Somebody signed in who is an admin.
#[derive(Clone, Debug)]
pub struct Admin(SignedIn);

impl Admin {
    /// Who.
    pub fn person(&self) -> &SignedIn {
        &self.0
    }
}

impl sealed::Sealed for Anybody {}
impl Proof for Anybody {
    const PERMISSION: Permission = Permission::Public;
    async fn of(_: &App, request: Request<'_>) -> Result<Self, PermissionRefused> {
        Ok(Self { from: request.from })
    }
}

impl sealed::Sealed for SignedBy {}
impl Proof for SignedBy {
    const PERMISSION: Permission = Permission::SignedKey;
    async fn of(app: &App, request: Request<'_>) -> Result<Self, PermissionRefused> {
        Ok(recognise_request(app, request).await?)
    }
}

impl sealed::Sealed for SignedIn {}
impl Proof for SignedIn {
    const PERMISSION: Permission = Permission::SignedIn;
    async fn of(app: &App, request: Request<'_>) -> Result<Self, PermissionRefused> {
        let signed = recognise_request(app, request).await?;
        let sign_in = sign_in_of(app, &signed).await?;
        let caller = Caller::new(&sign_in, None, None, signed.from());
        Ok(Self { signed, sign_in, caller })
    }
}

impl sealed::Sealed for Auditor {}
impl Proof for Auditor {
    const PERMISSION: Permission = Permission::Auditor;
    async fn of(app: &App, request: Request<'_>) -> Result<Self, PermissionRefused> {
        let person = SignedIn::of(app, request).await?;
        if is_auditor(app, person.caller()).await? {
            return Ok(Self(person));
        }
        Err(refused(app, &person, &act_of(request), Self::PERMISSION).await?)
    }
}

impl sealed::Sealed for Watcher {}
impl Proof for Watcher {
    const PERMISSION: Permission = Permission::Watcher;
    async fn of(app: &App, request: Request<'_>) -> Result<Self, PermissionRefused> {
        let person = SignedIn::of(app, request).await?;
        if is_watcher(app, person.caller()).await? {
            return Ok(Self(person));
        }
        Err(refused(app, &person, &act_of(request), Self::PERMISSION).await?)
    }
}

impl sealed::Sealed for Killer {}
impl Proof for Killer {
    const PERMISSION: Permission = Permission::Killer;
    async fn of(app: &App, request: Request<'_>) -> Result<Self, PermissionRefused> {
        let person = SignedIn::of(app, request).await?;
        let caller = person.caller();
        let named = is_named(&app.config.killers, caller.identity()) || named_admin(app, caller);
        if named && !is_locked(app, caller).await? {
            return Ok(Self(person));
        }
        Err(refused(app, &person, &act_of(request), Self::PERMISSION).await?)
    }
}

impl sealed::Sealed for Admin {}
impl Proof for Admin {
    const PERMISSION: Permission = Permission::Admin;
    async fn of(app: &App, request: Request<'_>) -> Result<Self, PermissionRefused> {
        let person = SignedIn::of(app, request).await?;
        if is_admin(app, person.caller()).await? {
            return Ok(Self(person));
        }
        Err(refused(app, &person, &act_of(request), Self::PERMISSION).await?)
    }
}

/// Whether a lock is on this person. Somebody locked is nobody's admin, so they cannot lift the lock either.
pub(super) async fn is_locked(app: &App, caller: &Caller) -> Result<bool, StoreError> {
    let now = app.clock.now();
    Ok(is_among(&app.store.locks(now).await?, caller, now))
}

/// The same, seen by a transaction that is held already: to take a second connection would be to wait for others who do
/// the same.
pub(super) async fn is_locked_in(tx: &mut Tx, caller: &Caller, now: Timestamp) -> Result<bool, StoreError> {
    Ok(is_among(&tx.locks(now).await?, caller, now))
}

fn is_among(locks: &[Lock], caller: &Caller, now: Timestamp) -> bool {
    locks.iter().any(|lock| lock.holds(now) && lock.is_on(caller.identity()))
}

/// For what only auditors may ask of an endpoint that others may call too. `act` is what they tried, for the audit log.
pub async fn must_be_auditor(app: &App, person: &SignedIn, act: &str) -> Result<(), PermissionRefused> {
    if is_auditor(app, person.caller()).await? {
        return Ok(());
    }
    Err(refused(app, person, act, Permission::Auditor).await?)
}

/// Whether they are an admin: the configuration names them, or a group of theirs, and no lock is on them.
pub(super) async fn is_admin(app: &App, caller: &Caller) -> Result<bool, StoreError> {
    Ok(named_admin(app, caller) && !is_locked(app, caller).await?)
}

/// Whether they may read what others do: the configuration names them as auditor, or as admin, and no lock is on them.
pub(super) async fn is_auditor(app: &App, caller: &Caller) -> Result<bool, StoreError> {
    let named = is_named(&app.config.auditors, caller.identity()) || named_admin(app, caller);
    Ok(named && !is_locked(app, caller).await?)
}

/// Whether they may watch live sessions: the configuration names them for that, as auditor or as admin, and no lock is on
/// them.
pub(super) async fn is_watcher(app: &App, caller: &Caller) -> Result<bool, StoreError> {
    let who = caller.identity();
    let named = is_named(&app.config.watchers, who)
        || is_named(&app.config.auditors, who)
        || named_admin(app, caller);
    Ok(named && !is_locked(app, caller).await?)
}

// Not to be asked alone: whoever is locked is nobody's admin.
fn named_admin(app: &App, caller: &Caller) -> bool {
    is_named(&app.config.admins, caller.identity())
}

/// A provider speaks for its own groups only. A subject is never taken for a group, nor the other way round. No job is
/// an admin or an auditor.
fn is_named(people: &People, who: &Identity) -> bool {
    if who.kind != Kind::Person {
        return false;
    }
    let own_group = |group: &&GroupName| *group.provider() == who.provider;
    who.groups.iter().filter(own_group).any(|group| people.groups.contains(group))
        || people.subjects.iter().any(|one| *one.provider() == who.provider && one.subject() == who.subject)
}

/// Method and path.
fn act_of(request: Request<'_>) -> String {
    let path = request.path_and_query.split('?').next().unwrap_or_default();
    format!("{} {path}", request.method)
}

/// The refusal, which is in the audit log by then (up to a rate for each sign-in).
async fn refused(
    app: &App,
    person: &SignedIn,
    act: &str,
    wanted: Permission,
) -> Result<PermissionRefused, StoreError> {
    let caller = person.caller();
    let why = format!("{} is no {}, or is locked", caller.identity().reference(), wanted.as_str());
    let refused = Refused::act(act, RefusalCode::NoAccess, &why);
    denials::note(app, caller, &refused, app.clock.now()).await?;
    Ok(PermissionRefused::Not(wanted.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_subject_is_no_group_and_a_group_is_no_subject() {
        let who = |provider: &str, subject: &str, groups: &[&str]| Identity {
            kind: Kind::Person,
            provider: provider.parse().unwrap(),
            issuer: "https://id.example".into(),
            subject: subject.into(),
            display: "Ann".into(),
            groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
            run: None,
        };
        let group = People { groups: BTreeSet::from(["corp:ops".parse().unwrap()]), ..People::default() };
        let subject = People { subjects: BTreeSet::from(["corp:ops".parse().unwrap()]), ..People::default() };
        let rows = [
            (&group, who("corp", "ann", &["corp:ops"]), true),
            (&group, who("corp", "ops", &[]), false),
            (&group, who("other", "ann", &["corp:ops"]), false),
            (&subject, who("corp", "ops", &[]), true),
            (&subject, who("corp", "ann", &["corp:ops"]), false),
            (&subject, who("other", "ops", &[]), false),
            (&People::default(), who("corp", "ops", &["corp:ops"]), false),
        ];
        for (people, who, expect) in rows {
            assert_eq!(is_named(people, &who), expect, "{people:?} {who:?}");
        }
    }
}
