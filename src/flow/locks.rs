//! Locks: set and lifted by administrators, by a signed request or by the command on the server. What is open under one
//! ends at once.

use std::time::Duration;

use super::change::Change;
use super::permission::Admin;
use super::recognise::begin_once;
use crate::access::{Lock, LockOn};
use crate::app::App;
use crate::audit::{AccessEvent, AuditEvent};
use crate::config::{Config, SERVICE};
use crate::identity::Kind;
use crate::ids::LockId;
use crate::names::{BadName, ProviderName, SubjectName};
use crate::policy::Policy;
use crate::policy::request::Words;
use crate::random::Random;
use crate::store::{Store, StoreError, Tx};
use crate::time::Timestamp;

/// Why no lock was set or lifted.
#[derive(Debug, thiserror::Error)]
pub enum LockRefused {
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// No such lock, or it holds no more.
    #[error("there is no such lock; list them with: caponier locks")]
    NotFound,
    /// What is to be locked is not there: a slip of the pen would lock nothing.
    #[error("{0}")]
    Unknown(String),
    /// What they say is missing, too long, or no plain line.
    #[error("{0}")]
    Words(String),
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to lock.
#[derive(Clone, Debug)]
pub struct LockWish {
    /// Whom or what.
    pub on: LockOn,
    /// Why.
    pub reason: String,
    /// How long; without, until it is lifted.
    pub length: Option<Duration>,
}

/// Sets a lock for an administrator.
pub async fn lock(app: &App, by: &Admin, wish: LockWish) -> Result<Lock, LockRefused> {
    let caller = by.person().caller();
    is_known(&wish.on, &app.policy(), &app.config).map_err(LockRefused::Unknown)?;
    let tx = begin(app, by).await?;
    let lock = write_lock(tx, &app.random, wish, caller.identity().reference(), app.clock.now()).await?;
    app.desk.tell(match lock.on.clone() {
        LockOn::User(reference) => Change::User(reference),
        LockOn::Target(name) => Change::Target(name),
        LockOn::Role(name) => Change::Role(name),
    });
    Ok(lock)
}

/// Sets a lock by a command on the server; the running server sees it within a second.
pub async fn lock_by_command(
    store: &Store,
    random: &Random,
    wish: LockWish,
    now: Timestamp,
) -> Result<Lock, LockRefused> {
    write_lock(store.begin().await?, random, wish, "admin".to_owned(), now).await
}

async fn write_lock(
    mut tx: Tx,
    random: &Random,
    wish: LockWish,
    by: String,
    now: Timestamp,
) -> Result<Lock, LockRefused> {
    let words = Words { required: true, min: 0, pattern: None };
    words.check("reason", &wish.reason).map_err(LockRefused::Words)?;
    if let LockOn::User(reference) = &wish.on {
        is_a_name(reference).map_err(LockRefused::Words)?;
    }
    let lock = Lock {
        id: LockId::random(random),
        on: wish.on,
        reason: wish.reason.trim().to_owned(),
        by,
        created: now,
        until: wish.length.map(|length| now.plus(length)),
    };
    tx.insert_lock(&lock).await?;
    tx.commit(now, AuditEvent::Access(AccessEvent::Locked { lock: lock.clone() })).await?;
    Ok(lock)
}

/// Whether somebody could be called so. A name with a blank too many would lock nobody, and look as if it did.
fn is_a_name(reference: &str) -> Result<(), String> {
    let name: SubjectName = reference.parse().map_err(|error: BadName| error.to_string())?;
    if name.subject().trim() != name.subject() {
        return Err(format!("nobody is called {reference:?}: leave out the blanks around the name"));
    }
    Ok(())
}

/// What whoever locks `on` should know: that nobody of this name ever signed in. They are locked all the same, for they may
/// yet come.
pub async fn warning(store: &Store, on: &LockOn) -> Result<Option<String>, StoreError> {
    let LockOn::User(reference) = on else { return Ok(None) };
    let Ok(name) = reference.parse::<SubjectName>() else { return Ok(None) };
    for kind in [Kind::Person, Kind::Workload] {
        if store.has_signed_in(kind, &name).await? {
            return Ok(None);
        }
    }
    Ok(Some(format!(
        "nobody called {reference} ever signed in here; if that is a slip of the pen, nobody is locked"
    )))
}

/// Lifts a lock for an administrator.
pub async fn unlock(app: &App, by: &Admin, id: &LockId) -> Result<Lock, LockRefused> {
    let tx = begin(app, by).await?;
    write_unlock(tx, id, &by.person().caller().identity().reference(), app.clock.now()).await
}

/// Lifts a lock by a command on the server.
pub async fn unlock_by_command(store: &Store, id: &LockId, now: Timestamp) -> Result<Lock, LockRefused> {
    write_unlock(store.begin().await?, id, "admin", now).await
}

async fn write_unlock(mut tx: Tx, id: &LockId, by: &str, now: Timestamp) -> Result<Lock, LockRefused> {
    let Some(lock) = tx.lift_lock(id, by, now).await? else {
        tx.leave().await?;
        return Err(LockRefused::NotFound);
    };
    let event = AccessEvent::Unlocked {
        lock: id.clone(),
        kind: lock.on.kind(),
        name: lock.on.name().to_owned(),
        by: by.to_owned(),
    };
    tx.commit(now, AuditEvent::Access(event)).await?;
    Ok(lock)
}

/// The locks that hold, oldest first.
pub async fn held(app: &App) -> Result<Vec<Lock>, StoreError> {
    app.store.locks(app.clock.now()).await
}

/// Whether there is such a target or role, or a person, a repository or a service account could be called so; else why not. Whether a person exists only their
/// provider knows.
pub fn is_known(on: &LockOn, policy: &Policy, config: &Config) -> Result<(), String> {
    match on {
        LockOn::Target(name) if !policy.targets.contains_key(name) => {
            Err(format!("the policy has no target {name}"))
        }
        LockOn::Role(name) if !policy.roles.iter().any(|role| role.name == *name) => {
            Err(format!("the policy has no role {name}"))
        }
        LockOn::User(reference) => {
            let provider = reference.split_once(':').map(|(provider, _)| provider);
            let people = config.providers.iter().map(|one| &one.name);
            let known: Vec<&str> = people
                .chain(config.issuers.iter().map(|one| &one.name))
                .map(ProviderName::as_str)
                .chain([SERVICE])
                .collect();
            if provider.is_some_and(|provider| known.contains(&provider)) {
                return Ok(());
            }
            Err(format!(
                "nobody is called {reference}: write PROVIDER:SUBJECT, with one of {}",
                known.join(", ")
            ))
        }
        LockOn::Target(_) | LockOn::Role(_) => Ok(()),
    }
}

/// A transaction in which the request is used up.
async fn begin(app: &App, by: &Admin) -> Result<Tx, LockRefused> {
    begin_once(app, by.person().signed()).await?.ok_or(LockRefused::Replay)
}
