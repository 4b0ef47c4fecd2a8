//! Whether somebody on an open connection may still act, and as whom: connections outlive what they were recognised by.
//! Decides from what is revoked, the sign-in as it is now, and its groups. What they may do then is the flows' that ask.

use super::authorize::credential;
use super::{Caller, revoke};
use crate::app::App;
use crate::store::StoreError;

/// Why somebody on a connection does not count as there any more.
#[derive(Debug, thiserror::Error)]
pub enum Absent {
    /// The sign-in behind the connection has ended.
    #[error("your sign-in has ended; run: caponier login")]
    SignedOut,
    /// What they showed when they connected was revoked since.
    #[error("{0} was revoked; run: caponier login")]
    Revoked(revoke::Revoked),
    /// The store is out of order: nobody knows, which is a no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The caller as they are at this moment: nothing they showed is revoked, their sign-in is live, and they are in the groups
/// that it has now. Whoever judges somebody on an SSH connection judges what this gives.
pub async fn present(app: &App, caller: &Caller) -> Result<Caller, Absent> {
    if let Some(what) = revoke::refresh(app).await?.revokes(credential(caller)) {
        return Err(Absent::Revoked(what));
    }
    let sign_in = app.store.sign_in(caller.sign_in()).await?;
    match sign_in.filter(|sign_in| sign_in.is_live(app.clock.now())) {
        Some(sign_in) => Ok(caller.as_in(&sign_in)),
        None => Err(Absent::SignedOut),
    }
}
