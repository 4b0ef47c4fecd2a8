//! What the store holds for and against somebody at this moment: grants and locks.

use crate::app::App;
use crate::identity::Identity;
use crate::ids::SessionId;
use crate::policy::{Granted, Held};
use crate::store::StoreError;

/// For a verdict on `who`; `session` is theirs that is judged again.
pub(super) async fn by(app: &App, who: &Identity, session: Option<&SessionId>) -> Result<Held, StoreError> {
    let now = app.clock.now();
    let asked_for = app.policy().roles.iter().any(|role| role.access.rules().is_some());
    let grants =
        if asked_for { app.store.grants_of(&who.issuer, &who.holder(), now).await? } else { Vec::new() };
    let locks = app.store.locks(now).await?;
    Ok(Held { granted: Granted::Only(grants.into()), locks: locks.into(), session: session.cloned() })
}
