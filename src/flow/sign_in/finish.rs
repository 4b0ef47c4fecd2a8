//! The end, from the command line: the key that began, and only it, turns an answered sign-in into a row.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::browser::note_failure;
use super::{Event, Mode, Pending, SignInRefused, State, hash, same};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::flow::recheck;
use crate::flow::recognise::{SignedBy, begin_once};
use crate::identity::Identity;
use crate::ids::{PendingId, SignInId};
use crate::store::SignIn;
use crate::time::Timestamp;

/// What the client shows.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The pending sign-in.
    pub id: PendingId,
    /// Loopback: the code of the redirect.
    pub code: Option<String>,
    /// Loopback: the verifier behind the challenge.
    pub verifier: Option<String>,
}

/// What comes of it.
#[derive(Clone, Debug)]
pub enum Finished {
    /// The browser is not done yet; ask again.
    Waiting,
    /// Signed in.
    Done(Box<SignIn>),
}

/// Finishes. A poll that only waits burns no nonce: repeating it changes nothing.
pub async fn finish(app: &App, signed: &SignedBy, shown: Finish) -> Result<Finished, SignInRefused> {
    let now = app.clock.now();
    let row = app.store.pending(&shown.id, now).await?.ok_or(SignInRefused::NotFound)?;
    let pending = Pending::from_row(row)?;
    if pending.key.as_deref() != Some(signed.fingerprint()) {
        note_failure(app, pending.stay(), "another key than the one that began", signed.from()).await?;
        return Err(SignInRefused::NotFound);
    }
    let who = match &pending.state {
        State::Begun | State::AtProvider(_) | State::Exchanging(_) => return Ok(Finished::Waiting),
        State::Denied { text } => return Err(SignInRefused::Denied(text.clone())),
        State::Done => return Err(SignInRefused::NotFound),
        State::Confirmed { who } => who.clone(),
        State::Identified { handoff: None, .. } => return Ok(Finished::Waiting),
        State::Identified { who, handoff: Some(handoff), .. } => {
            let Mode::Loopback { challenge, .. } = &pending.mode else { return Err(SignInRefused::NotFound) };
            if now >= handoff.until {
                let reason =
                    format!("{} was signed in, but the code of the redirect came too late", who.reference());
                note_failure(app, pending.stay(), &reason, signed.from()).await?;
                return Err(SignInRefused::NotFound);
            }
            let code = shown.code.as_deref().is_some_and(|code| same(&hash(code), &handoff.hash));
            let verifier = shown
                .verifier
                .as_deref()
                .is_some_and(|verifier| same(&URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)), challenge));
            if !code || !verifier {
                let reason = "wrong code or verifier of the loopback redirect";
                note_failure(app, pending.stay(), reason, signed.from()).await?;
                return Err(SignInRefused::Denied(
                    "the code from the browser does not fit; begin again".into(),
                ));
            }
            who.clone()
        }
    };
    settle(app, pending, who, Some(signed), now).await.map(|made| Finished::Done(Box::new(made)))
}

/// Makes the sign-in: one transaction with the step of the pending row, the nonce, the end of older sign-ins of the same
/// key and the audit entry. A key has at most one live sign-in at any time.
pub(super) async fn settle(
    app: &App,
    mut pending: Pending,
    who: Identity,
    signed: Option<&SignedBy>,
    now: Timestamp,
) -> Result<SignIn, SignInRefused> {
    let from = pending.from;
    let arrived = pending.arrived.clone();
    let before = pending.take(Event::Finish, now).map_err(|_| SignInRefused::NotFound)?;
    let sign_in = SignIn {
        id: SignInId::random(&app.random),
        who: who.clone(),
        key_fingerprint: pending.key.clone(),
        method: pending.mode.word().to_owned(),
        from: from.to_string(),
        client: pending.client.clone(),
        created: now,
        expires: now.plus(app.config.sign_in_life),
        ended: None,
    };
    let kept = arrived.map(|arrived| recheck::settle(app, &pending.id, arrived, &sign_in, now));
    let check = kept.transpose()?;
    let mut tx = match signed {
        Some(signed) => begin_once(app, signed).await?.ok_or(SignInRefused::Replay)?,
        None => app.store.begin().await?,
    };
    if !tx.step_pending(before, &pending.to_row()?).await? {
        tx.leave().await?;
        return Err(SignInRefused::NotFound);
    }
    let replaced: Vec<SignInId> = match &sign_in.key_fingerprint {
        Some(key) => tx.end_sign_ins_of_key(key, now).await?.into_iter().map(|older| older.id).collect(),
        None => Vec::new(),
    };
    tx.insert_sign_in(&sign_in).await?;
    if let Some(check) = check {
        tx.insert_check(&check).await?;
    }
    tx.commit(
        now,
        AuditEvent::SignedIn {
            sign_in: sign_in.id.clone(),
            who,
            method: pending.mode.word(),
            key: pending.key,
            replaced: replaced.clone(),
            from: from.to_string(),
        },
    )
    .await?;
    replaced.iter().for_each(|older| app.desk.tell_ended(older));
    Ok(sign_in)
}
