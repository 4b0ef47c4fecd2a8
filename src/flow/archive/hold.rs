//! Legal holds: recordings that nobody may delete, set and released by whoever administers the bastion.

use crate::audit::{ArchiveEvent, AuditEvent};
use crate::ids::HoldId;
use crate::random::Random;
use crate::store::{Covered, Held, HoldRow, Store, StoreError};
use crate::time::Timestamp;

/// Why a hold is not set.
#[derive(Debug, thiserror::Error)]
pub enum HoldRefused {
    /// It would keep nothing now.
    #[error(
        "no recording of this would be kept now ({} are being deleted, {} are deleted); look how it is written, or give \
         --future when it is for sessions to come",
        .0.deleting, .0.deleted
    )]
    Nothing(Covered),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Sets a hold, and says what it covers at this moment. It keeps what is there, in the archive and here, and what comes; not
/// what was decided to be deleted before. One that would keep nothing now is not set (an error with what there was) unless it
/// is meant `for_future`: it would rather be a name that was mistyped.
pub async fn set(
    store: &Store,
    random: &Random,
    now: Timestamp,
    held: Held,
    reason: String,
    by: &str,
    for_future: bool,
) -> Result<(HoldRow, Covered), HoldRefused> {
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
    let covered = tx.covered(&row.held).await?;
    if covered.kept == 0 && !for_future {
        tx.leave().await?;
        return Err(HoldRefused::Nothing(covered));
    }
    let event = ArchiveEvent::LegalHoldSet {
        hold: row.id.clone(),
        what: row.held.kind(),
        subject: row.held.subject().to_owned(),
        reason: row.reason.clone(),
        by: by.to_owned(),
    };
    tx.commit(now, AuditEvent::Archive(event)).await?;
    Ok((row, covered))
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
