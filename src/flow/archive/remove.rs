//! Takes recordings away: the copy here when the archive has had it for long enough, and all of it when its time is over.
//! What goes is decided and written down in one transaction that also sees every hold; then it goes, and if that is
//! interrupted, it is gone on with.

use std::io;
use std::path::Path;

use super::{Archiving, Failure};
use crate::audit::{ArchiveEvent, AuditEvent};
use crate::recording::Folder;
use crate::recording::archive::Base;
use crate::store::{ArchiveRow, Here, SessionRow, StoreError};

/// Recordings that are looked at in one go.
const BATCH: u32 = 100;

impl Archiving {
    /// Removes local copies whose time is over; says how many are gone.
    pub async fn remove_local(&self) -> Result<usize, StoreError> {
        if self.archive.is_none() {
            return Ok(0);
        }
        let now = self.app.clock.now();
        let before = now.minus(self.config.keep_local);
        let mut gone = 0;
        for row in self.app.store.archive_removable(&self.app.node, (before, now), BATCH).await? {
            match self.remove_one(&row).await {
                Ok(true) => gone += 1,
                Ok(false) => {}
                Err(failure) => self.failed(&row, "remove", &failure).await?,
            }
        }
        Ok(gone)
    }

    async fn remove_one(&self, row: &ArchiveRow) -> Result<bool, Failure> {
        let session = self.session_of(row).await?;
        let (Some(archive), Some(recording), Some(index)) =
            (&self.archive, &session.recording, &row.index_sha256)
        else {
            return Ok(false);
        };
        let base = Base::of(recording, &session.id)?;
        if row.here == Here::Yes {
            archive.is_there(&base, index).await?;
            let now = self.app.clock.now();
            let mut tx = self.app.store.begin().await?;
            if !tx.let_local_go(&session).await? {
                tx.leave().await?;
                return Ok(false);
            }
            let event = ArchiveEvent::RecordingLocalRemoved {
                session: session.id.clone(),
                node: self.app.node.to_string(),
                seal: session.recording_sha256.clone(),
            };
            tx.commit(now, AuditEvent::Archive(event)).await?;
        }
        remove(&self.app.config.recording.dir, recording)?;
        self.app.store.archive_gone(&row.session, false, self.app.clock.now()).await?;
        Ok(true)
    }

    /// Deletes recordings whose time is over, in the archive and here; says how many are gone.
    pub async fn delete_ended(&self) -> Result<usize, StoreError> {
        let now = self.app.clock.now();
        let mut gone = 0;
        for row in self.app.store.archive_ended(&self.app.node, now, BATCH).await? {
            match self.delete_one(&row).await {
                Ok(true) => gone += 1,
                Ok(false) => {}
                Err(failure) => self.failed(&row, "delete", &failure).await?,
            }
        }
        Ok(gone)
    }

    async fn delete_one(&self, row: &ArchiveRow) -> Result<bool, Failure> {
        let session = self.session_of(row).await?;
        // Before anything is decided or touched: here too this path says what goes, and it comes from the database.
        let found = session.recording.as_deref();
        let base = found.map(|recording| Base::of(recording, &session.id)).transpose()?;
        self.can_delete(row).await?;
        if row.state != "deleting" && !self.decide(row, &session).await? {
            return Ok(false);
        }
        if let (Some(recording), Some(base)) = (&session.recording, &base) {
            if let Some(archive) = &self.archive {
                archive.delete(base).await?;
            }
            // The copy of another node is its own to remove.
            if row.node == *self.app.node {
                remove(&self.app.config.recording.dir, recording)?;
            }
        }
        self.app.store.archive_gone(&row.session, true, self.app.clock.now()).await?;
        Ok(true)
    }

    /// What the archive has cannot be deleted without it; to say that it was would be wrong.
    async fn can_delete(&self, row: &ArchiveRow) -> Result<(), Failure> {
        if self.archive.is_some() {
            return Ok(());
        }
        let is_there =
            row.index_sha256.is_some() || !self.app.store.archive_files(&row.session).await?.is_empty();
        if is_there { Err(Failure::NoArchive) } else { Ok(()) }
    }

    async fn decide(&self, row: &ArchiveRow, session: &SessionRow) -> Result<bool, StoreError> {
        let now = self.app.clock.now();
        let mut tx = self.app.store.begin().await?;
        if !tx.let_recording_go(session, now).await? {
            tx.leave().await?;
            return Ok(false);
        }
        tx.forget_transcript(&session.id).await?;
        let event = ArchiveEvent::RecordingDeleted {
            session: session.id.clone(),
            who: session.who.clone(),
            target: session.target.clone(),
            seal: session.recording_sha256.clone(),
            delete_after: row.delete_after.unwrap_or(now).as_secs(),
        };
        tx.commit(now, AuditEvent::Archive(event)).await?;
        Ok(true)
    }
}

/// Removes the recording at `relative` below `dir`; it may be gone, or gone in part. `relative` was made a [`Base`] before.
fn remove(dir: &Path, relative: &str) -> Result<(), Failure> {
    let named = dir.join(relative);
    match std::fs::symlink_metadata(&named) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(_) | Err(_) => {}
    }
    let folder = Folder::locate(dir, relative)?;
    if folder.is_alone() {
        std::fs::remove_file(folder.path())?;
    } else {
        std::fs::remove_dir_all(folder.path())?;
    }
    if let Some(above) = folder.path().parent() {
        std::fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}
