//! Sign-ins that the provider answered well and that nobody took over in time. Somebody was at the provider, so their end
//! is an entry in the audit log, not only a row that is swept away.

use super::{Pending, State};
use crate::app::App;
use crate::audit::AuditEvent;
use crate::store::StoreError;

/// How many are given up in one go.
const AT_ONCE: u32 = 1000;

/// Gives up those that are void, each with its entry; says how many.
pub(in crate::flow) async fn give_up_abandoned(app: &App) -> Result<u64, StoreError> {
    let now = app.clock.now();
    let mut given_up = 0;
    for row in app.store.void_pending(&["identified", "confirmed"], AT_ONCE, now).await? {
        let id = row.id.clone();
        let pending = match Pending::from_row(row) {
            Ok(pending) => pending,
            Err(error) => {
                tracing::warn!(%id, %error, "a pending sign-in cannot be read; it is swept away");
                continue;
            }
        };
        let (who, what) = match &pending.state {
            State::Identified { who, handoff: Some(_), .. } => (who, "its client never came for it"),
            State::Identified { who, .. } => (who, "nobody confirmed it"),
            State::Confirmed { who } => (who, "its client never came for it"),
            State::Begun
            | State::AtProvider(_)
            | State::Exchanging(_)
            | State::Done
            | State::Denied { .. } => {
                continue;
            }
        };
        let mut tx = app.store.begin().await?;
        // Another node may have been faster.
        if tx.delete_void_pending(&id, now).await? {
            let event = AuditEvent::SignInFailed {
                provider: Some(who.provider.to_string()),
                reason: format!("{} signed in at the provider, but {what}", who.reference()),
                from: pending.from.to_string(),
            };
            tx.commit(now, event).await?;
            given_up += 1;
        }
    }
    Ok(given_up)
}
