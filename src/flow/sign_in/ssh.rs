//! Signing in for one SSH connection: `ssh bastion` without any certificate, by keyboard-interactive. The gateway shows
//! address and code and asks until there is an answer. The sign-in has no key and is worth nothing to anybody else.

use std::net::IpAddr;

use url::Url;

use super::begin::insert;
use super::finish::settle;
use super::{Mode, Pending, SignInRefused, State};
use crate::app::App;
use crate::flow::Caller;
use crate::ids::PendingId;
use crate::time::Timestamp;

/// What the person at the SSH client is shown.
#[derive(Clone, Debug)]
pub struct SshPairing {
    /// The pending sign-in, for [`finish_ssh`].
    pub id: PendingId,
    /// The page to open.
    pub url: Url,
    /// The code to type there.
    pub user_code: String,
    /// When it is void.
    pub expires: Timestamp,
}

/// How far the person got.
#[derive(Clone, Debug)]
pub enum SshPairingState {
    /// Not yet; ask again in a second or two.
    Waiting,
    /// No, and why, for the person.
    Denied(String),
    /// Signed in, for this connection.
    Done(Box<Caller>),
}

/// Begins the pairing of a connection from `from`.
pub async fn begin_ssh(app: &App, from: IpAddr) -> Result<SshPairing, SignInRefused> {
    let begun = insert(app, Mode::Ssh, None, "ssh".to_owned(), None, from).await?;
    let user_code = begun.user_code.ok_or(SignInRefused::NotFound)?;
    Ok(SshPairing { id: begun.id, url: begun.url, user_code, expires: begun.expires })
}

/// Asks whether the pairing is done. `Done` is said once; the caller is bound to the connection that asks.
pub async fn finish_ssh(app: &App, id: &PendingId, from: IpAddr) -> Result<SshPairingState, SignInRefused> {
    let now = app.clock.now();
    let Some(row) = app.store.pending(id, now).await? else {
        return Ok(SshPairingState::Denied("the sign-in has expired; connect again".to_owned()));
    };
    let pending = Pending::from_row(row)?;
    if pending.mode != Mode::Ssh || pending.from != from {
        return Err(SignInRefused::NotFound);
    }
    let who = match &pending.state {
        State::Begun | State::AtProvider(_) | State::Exchanging(_) | State::Identified { .. } => {
            return Ok(SshPairingState::Waiting);
        }
        State::Denied { text } => return Ok(SshPairingState::Denied(text.clone())),
        State::Done => return Err(SignInRefused::NotFound),
        State::Confirmed { who } => who.clone(),
    };
    let sign_in = settle(app, pending, who, None, now).await?;
    Ok(SshPairingState::Done(Box::new(Caller::new(&sign_in, None, None, from))))
}
