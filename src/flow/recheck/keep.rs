//! Keeping refresh tokens: sealed for the pending sign-in that they came with, then for the sign-in that it became, under
//! the keys of this server. Whose they are is in the associated data, so none opens in another row.

use std::sync::Arc;

use crate::app::App;
use crate::config::KeySource;
use crate::identity::claims::Session;
use crate::identity::oidc::Arrival;
use crate::ids::{PendingId, SignInId};
use crate::secret::{KeyFileError, Keyring, OpenError, Sealed, Secret};
use crate::store::SignInCheck;
use crate::time::Timestamp;

/// Why something kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// This server has no keys.
    #[error("the keys for refresh tokens: {0}")]
    Keys(#[from] Arc<KeyFileError>),
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// What came with a person from the provider and is kept with their sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The provider's names.
    pub session: Session,
    /// What is kept of the nonce.
    pub nonce_sha256: String,
    /// The refresh token, sealed for the pending sign-in.
    pub sealed: Option<Sealed>,
}

/// Reads the keys, or makes them, so that a server that could not keep anything does not start. Blocks for a moment.
pub fn prepare(app: &App) -> Result<(), KeepError> {
    keyring(app).map(|_| ())
}

fn keyring(app: &App) -> Result<&Keyring, KeepError> {
    if let Some(keyring) = app.desk.keyring.get() {
        return Ok(keyring);
    }
    let keyring = match &app.config.checks.keys {
        KeySource::Own(path) => Keyring::at(path, &app.random).map_err(Arc::new)?,
        KeySource::File(_, keyring) | KeySource::Env(_, keyring) => keyring.clone(),
    };
    Ok(app.desk.keyring.get_or_init(|| keyring))
}

/// Takes in what a pending sign-in brought.
pub(in crate::flow) fn keep(app: &App, id: &PendingId, arrival: &Arrival) -> Result<Arrived, KeepError> {
    let keyring = keyring(app)?;
    let seal = |token: &Secret<String>| sealed(keyring, &of_pending(id), token, app);
    Ok(Arrived {
        session: arrival.token.session().clone(),
        nonce_sha256: arrival.nonce_sha256.clone(),
        sealed: arrival.refresh.as_ref().and_then(seal),
    })
}

/// The row of the sign-in that a pending one became.
pub(in crate::flow) fn settle(
    app: &App,
    pending: &PendingId,
    arrived: Arrived,
    sign_in: &crate::store::SignIn,
    now: Timestamp,
) -> Result<SignInCheck, KeepError> {
    let sealed = match &arrived.sealed {
        None => None,
        Some(old) => seal(app, &sign_in.id, &keyring(app)?.open(&of_pending(pending), old)?),
    };
    Ok(SignInCheck {
        sign_in: sign_in.id.clone(),
        provider: sign_in.who.provider.clone(),
        session: arrived.session,
        nonce_sha256: arrived.nonce_sha256,
        sealed,
        checked: now,
        tried: now,
        failure: None,
    })
}

/// The refresh token of a sign-in.
pub(super) fn open(app: &App, id: &SignInId, sealed: &Sealed) -> Result<Secret<String>, KeepError> {
    Ok(keyring(app)?.open(&of_sign_in(id), sealed)?)
}

/// Seals a refresh token of a sign-in; none when it cannot be kept.
pub(super) fn seal(app: &App, id: &SignInId, token: &Secret<String>) -> Option<Sealed> {
    match keyring(app) {
        Ok(keyring) => sealed(keyring, &of_sign_in(id), token, app),
        Err(error) => {
            tracing::error!(%error, sign_in = %id, "a refresh token is not kept");
            None
        }
    }
}

/// What was sealed under an older key, under the one of now; none when there is nothing to do.
pub(super) fn renewed(app: &App, id: &SignInId, old: &Sealed) -> Option<Sealed> {
    let keyring = keyring(app).ok()?;
    if keyring.is_current(old) {
        return None;
    }
    let token = keyring.open(&of_sign_in(id), old).ok()?;
    seal(app, id, &token)
}

fn sealed(keyring: &Keyring, purpose: &str, token: &Secret<String>, app: &App) -> Option<Sealed> {
    match keyring.seal(purpose, token, &app.random) {
        Ok(sealed) => Some(sealed),
        Err(error) => {
            tracing::warn!(%error, purpose, "a refresh token is not kept; the provider is not asked again");
            None
        }
    }
}

fn of_sign_in(id: &SignInId) -> String {
    format!("refresh token of {id}")
}

fn of_pending(id: &PendingId) -> String {
    format!("refresh token of {id}")
}
