//! Legal holds: recordings that nobody may delete, set and released by whoever administers the bastion.

use crate::audit::{ArchiveEvent, AuditEvent};
use crate::ids::HoldId;
use crate::random::Random;
use crate::store::{Held, HoldRow, Store, StoreError};
use crate::time::Timestamp;

/// Sets a hold. It keeps what is there, in the archive and here, and what comes; not what was deleted before.
pub async fn set(
    store: &Store,
    random: &Random,
    now: Timestamp,
    held: Held,
    reason: String,
    by: &str,
) -> Result<HoldRow, StoreError> {
    let row = HoldRow {
        id: HoldId::random(random),
        held,
        reason,
        set_by: by.to_owned(),
        set_at: now,
        released: None,
    };
    let mut tx = store.begin().await?;
    tx.insert_hold(&row).await?;
    let event = ArchiveEvent::LegalHoldSet {
        hold: row.id.clone(),
        what: row.held.kind(),
        subject: row.held.subject().to_owned(),
        reason: row.reason.clone(),
        by: by.to_owned(),
    };
    tx.commit(now, AuditEvent::Archive(event)).await?;
    Ok(row)
}

/// Releases one; none when there is none of this id in force. What is due for deletion meanwhile goes with the next look.
pub async fn release(
    store: &Store,
    now: Timestamp,
    id: &HoldId,
    reason: String,
    by: &str,
) -> Result<Option<HoldRow>, StoreError> {
    let mut tx = store.begin().await?;
    let Some(row) = tx.release_hold(id, by, now).await? else {
        tx.leave().await?;
        return Ok(None);
    };
    let event = ArchiveEvent::LegalHoldReleased {
        hold: row.id.clone(),
        what: row.held.kind(),
        subject: row.held.subject().to_owned(),
        reason,
        by: by.to_owned(),
    };
    tx.commit(now, AuditEvent::Archive(event)).await?;
    Ok(Some(row))
}
