//! Ends a sign-in before its time: by its owner, by an admin, or on the server itself. Certificates under it are refused
//! from then on, and its sessions are closed by whoever holds them (see `Desk::ended`).

use super::denials::{self, Refused};
use super::permission::{SignedIn, is_admin};
use super::recognise::{RequestRefused, SignedBy, begin_once, not_signed_in};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::ids::SignInId;
use crate::policy::RefusalCode;
use crate::store::{Store, StoreError, Tx};
use crate::time::Timestamp;

/// Why a sign-in is not ended.
#[derive(Debug, thiserror::Error)]
pub enum EndRefused {
    /// Whoever asks is not signed in.
    #[error(transparent)]
    Caller(#[from] RequestRefused),
    /// No such live sign-in, or not theirs to end; nobody learns which.
    #[error("there is no such sign-in that you may end")]
    NotFound,
    /// The same signed request came before.
    #[error("this request was sent before; send a new one")]
    Replay,
    /// The store is out of order.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Ends `id`; false when it was not live. `by` and `reason` go into the audit log: `by` is `provider:subject`, or
/// `admin` for the command on the server. Whether `by` may is decided by who calls this.
pub async fn end(app: &App, id: &SignInId, by: &str, reason: &str) -> Result<bool, StoreError> {
    let tx = app.store.begin().await?;
    end_in(app, tx, id, by, reason).await
}

/// Ends `id` from a command on the server, beside the running server, which sees it in the store within a second.
/// False when it was not live.
pub async fn end_by_command(
    store: &Store,
    id: &SignInId,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    write_end(store.begin().await?, id, "admin", reason, now).await
}

async fn end_in(app: &App, tx: Tx, id: &SignInId, by: &str, reason: &str) -> Result<bool, StoreError> {
    let ended = write_end(tx, id, by, reason, app.clock.now()).await?;
    if ended {
        app.desk.tell_ended(id);
    }
    Ok(ended)
}

async fn write_end(
    mut tx: Tx,
    id: &SignInId,
    by: &str,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if !tx.end_sign_in(id, now).await? {
        tx.leave().await?;
        return Ok(false);
    }
    let event = AuditEvent::SignInEnded { sign_in: id.clone(), by: by.to_owned(), reason: reason.to_owned() };
    tx.commit(now, event).await?;
    Ok(true)
}

/// Ends the sign-in of the key that signed the request: the one that is live when it is written down, also if another
/// took the place of the one before a moment ago.
pub async fn end_own(app: &App, signed: &SignedBy) -> Result<SignInId, EndRefused> {
    let now = app.clock.now();
    let mut tx = begin_signed(app, signed).await?;
    let own = tx.end_sign_ins_of_key(signed.fingerprint(), now).await?;
    let Some(own) = own.into_iter().next() else {
        tx.leave().await?;
        return Err(not_signed_in(app, signed).await?.into());
    };
    let (sign_in, by) = (own.id.clone(), own.who.reference());
    tx.commit(now, AuditEvent::SignInEnded { sign_in, by, reason: "logged out".to_owned() }).await?;
    app.desk.tell_ended(&own.id);
    Ok(own.id)
}

/// A transaction in which the request is used up.
async fn begin_signed(app: &App, signed: &SignedBy) -> Result<Tx, EndRefused> {
    begin_once(app, signed).await?.ok_or(EndRefused::Replay)
}

/// Ends somebody's sign-in, asked for by a signed request: one's own, or anybody's by an admin.
pub async fn end_other(app: &App, by: &SignedIn, id: &SignInId) -> Result<(), EndRefused> {
    let (asking, caller) = (by.sign_in(), by.caller());
    let theirs = app.store.sign_in(id).await?;
    let own = theirs.as_ref().is_some_and(|theirs| theirs.who.is_same_holder(&asking.who));
    if !own && !is_admin(app, caller).await? {
        let reason = match theirs {
            Some(theirs) => {
                format!("{} is no admin, and it is of {}", asking.who.reference(), theirs.who.reference())
            }
            None => format!("{} is no admin, and there is no such sign-in", asking.who.reference()),
        };
        let act = format!("end sign-in {id}");
        let refused = Refused::act(&act, RefusalCode::NoAccess, &reason);
        denials::note_once(app, caller, Some(by.signed()), &refused, app.clock.now()).await?;
        return Err(EndRefused::NotFound);
    }
    let reason = if own { "ended by its owner" } else { "ended by an admin" };
    let tx = begin_signed(app, by.signed()).await?;
    let ended = end_in(app, tx, id, &asking.who.reference(), reason).await?;
    if ended { Ok(()) } else { Err(EndRefused::NotFound) }
}
