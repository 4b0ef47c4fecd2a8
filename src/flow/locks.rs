//! Locks: set and lifted by administrators, by a signed request or by the command on the server. What is open under one
//! ends at once.

use std::time::Duration;

use super::Caller;
use super::answer::{AnswerRefused, note_refusal};
use super::change::Change;
use super::end_sign_in::is_admin;
use super::recognise::{SignedBy, begin_once, sign_in_of};
use crate::access::{Denied, Lock, LockOn};
use crate::app::App;
use crate::audit::{AccessEvent, AuditEvent};
use crate::ids::LockId;
use crate::policy::RefusalCode;
use crate::random::Random;
use crate::store::{Store, StoreError, Tx};
use crate::time::Timestamp;

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
pub async fn lock(app: &App, signed: &SignedBy, wish: LockWish) -> Result<Lock, AnswerRefused> {
    let (caller, tx) = admin(app, signed, "lock").await?;
    let by = caller.identity().reference();
    let lock = write_lock(tx, &app.random, wish, by, app.clock.now()).await?;
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
) -> Result<Lock, AnswerRefused> {
    write_lock(store.begin().await?, random, wish, "admin".to_owned(), now).await
}

async fn write_lock(
    mut tx: Tx,
    random: &Random,
    wish: LockWish,
    by: String,
    now: Timestamp,
) -> Result<Lock, AnswerRefused> {
    if wish.reason.trim().is_empty() {
        return Err(Denied::Reason.into());
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

/// Lifts a lock for an administrator.
pub async fn unlock(app: &App, signed: &SignedBy, id: &LockId) -> Result<Lock, AnswerRefused> {
    let (caller, tx) = admin(app, signed, "unlock").await?;
    write_unlock(tx, id, &caller.identity().reference(), app.clock.now()).await
}

/// Lifts a lock by a command on the server.
pub async fn unlock_by_command(store: &Store, id: &LockId, now: Timestamp) -> Result<Lock, AnswerRefused> {
    write_unlock(store.begin().await?, id, "admin", now).await
}

async fn write_unlock(mut tx: Tx, id: &LockId, by: &str, now: Timestamp) -> Result<Lock, AnswerRefused> {
    let lock = tx.lift_lock(id, by, now).await?.ok_or(AnswerRefused::NotFound)?;
    let event = AccessEvent::Unlocked {
        lock: id.clone(),
        kind: lock.on.kind(),
        name: lock.on.name().to_owned(),
        by: by.to_owned(),
    };
    tx.commit(now, AuditEvent::Access(event)).await?;
    Ok(lock)
}

/// The locks that hold.
pub async fn held(app: &App) -> Result<Vec<Lock>, StoreError> {
    app.store.locks(app.clock.now()).await
}

async fn admin(app: &App, signed: &SignedBy, act: &str) -> Result<(Caller, Tx), AnswerRefused> {
    let caller = Caller::new(&sign_in_of(app, signed).await?, None, None, signed.from());
    if !is_admin(app, &caller) {
        let nothing = (String::new(), String::new());
        let refused = AnswerRefused::Denied(Denied::NotYours);
        note_refusal(app, &caller, nothing, act, RefusalCode::NoAccess, &refused, app.clock.now()).await?;
        return Err(refused);
    }
    let tx = begin_once(app, signed).await?.ok_or(AnswerRefused::Replay)?;
    Ok((caller, tx))
}
