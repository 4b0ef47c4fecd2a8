//! Ends a sign-in before its time: by its owner, by an admin, or on the server itself. Certificates under it are refused
//! from then on, and its sessions are closed by whoever holds them (see `Desk::ended`).

use super::Caller;
use super::recognise::{RequestRefused, SignedBy, begin_once, not_signed_in, sign_in_of};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::config::Admins;
use crate::identity::Identity;
use crate::ids::SignInId;
use crate::names::GroupName;
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
        drop(tx);
        return Err(not_signed_in(app, signed).await?.into());
    };
    let (sign_in, by) = (own.id.clone(), own.who.reference());
    tx.commit(now, AuditEvent::SignInEnded { sign_in, by, reason: "logged out".to_owned() }).await?;
    app.desk.tell_ended(&own.id);
    Ok(own.id)
}

async fn note_refusal(app: &App, caller: &Caller, id: &SignInId, reason: String) -> Result<(), StoreError> {
    let event = AuditEvent::AccessRefused {
        who: caller.identity().clone(),
        sign_in: caller.sign_in().clone(),
        target: String::new(),
        login: String::new(),
        act: format!("end sign-in {id}"),
        code: RefusalCode::NoAccess,
        reason,
        from: caller.from().to_string(),
    };
    app.store.note(app.clock.now(), event).await
}

/// A transaction in which the request is used up.
async fn begin_signed(app: &App, signed: &SignedBy) -> Result<Tx, EndRefused> {
    begin_once(app, signed).await?.ok_or(EndRefused::Replay)
}

/// Ends somebody's sign-in, asked for by a signed request: one's own, or anybody's by an admin.
pub async fn end_other(app: &App, signed: &SignedBy, id: &SignInId) -> Result<(), EndRefused> {
    let asking = sign_in_of(app, signed).await?;
    let caller = Caller::new(&asking, None, None, signed.from());
    let theirs = app.store.sign_in(id).await?;
    let own = theirs.as_ref().is_some_and(|theirs| {
        theirs.who.issuer == asking.who.issuer && theirs.who.reference() == asking.who.reference()
    });
    if !own && !is_admin(app, &caller) {
        let reason = match theirs {
            Some(theirs) => {
                format!("{} is no admin, and it is of {}", asking.who.reference(), theirs.who.reference())
            }
            None => format!("{} is no admin, and there is no such sign-in", asking.who.reference()),
        };
        note_refusal(app, &caller, id, reason).await?;
        return Err(EndRefused::NotFound);
    }
    let reason = if own { "ended by its owner" } else { "ended by an admin" };
    let tx = begin_signed(app, signed).await?;
    let ended = end_in(app, tx, id, &asking.who.reference(), reason).await?;
    if ended { Ok(()) } else { Err(EndRefused::NotFound) }
}

/// Whether the configuration names this person, or a group of theirs, as admin.
pub fn is_admin(app: &App, caller: &Caller) -> bool {
    is_named(&app.config.admins, caller.identity())
}

/// A provider speaks for its own groups only. A subject is never taken for a group, nor the other way round.
fn is_named(admins: &Admins, who: &Identity) -> bool {
    let own_group = |group: &&GroupName| *group.provider() == who.provider;
    who.groups.iter().filter(own_group).any(|group| admins.groups.contains(group))
        || admins.subjects.iter().any(|one| *one.provider() == who.provider && one.subject() == who.subject)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::identity::Kind;

    #[test]
    fn a_subject_is_no_group_and_a_group_is_no_subject() {
        let who = |provider: &str, subject: &str, groups: &[&str]| Identity {
            kind: Kind::Person,
            provider: provider.parse().unwrap(),
            issuer: "https://id.example".into(),
            subject: subject.into(),
            display: "Ann".into(),
            groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        };
        let group = Admins { groups: BTreeSet::from(["corp:ops".parse().unwrap()]), ..Admins::default() };
        let subject = Admins { subjects: BTreeSet::from(["corp:ops".parse().unwrap()]), ..Admins::default() };
        let rows = [
            (&group, who("corp", "ann", &["corp:ops"]), true),
            (&group, who("corp", "ops", &[]), false),
            (&group, who("other", "ann", &["corp:ops"]), false),
            (&subject, who("corp", "ops", &[]), true),
            (&subject, who("corp", "ann", &["corp:ops"]), false),
            (&subject, who("other", "ops", &[]), false),
        ];
        for (admins, who, expect) in rows {
            assert_eq!(is_named(admins, &who), expect, "{admins:?} {who:?}");
        }
    }
}
