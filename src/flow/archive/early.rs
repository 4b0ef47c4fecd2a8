//! Brings finished parts of sessions that still run: a part is finished when another follows it. What the archive has
//! already when a session ends is not brought again, and a bastion that burns down takes less with it.

use super::{Archiving, Failure};
use crate::recording::Folder;
use crate::recording::archive::{Archive, Base};
use crate::store::{SessionRow, StoreError};

impl Archiving {
    /// Looks at all sessions of this node that run. What fails is tried at the next look, and again when the session is over.
    pub async fn upload_parts(&self) -> Result<(), StoreError> {
        let Some(archive) = &self.archive else { return Ok(()) };
        for session in self.app.store.open_sessions_of(&self.app.node).await? {
            if let Err(failure) = self.parts_of(archive, &session).await {
                tracing::debug!(session = %session.id, problem = %failure, "a part did not get into the archive yet");
            }
        }
        Ok(())
    }

    async fn parts_of(&self, archive: &Archive, session: &SessionRow) -> Result<(), Failure> {
        let Some(recording) = session.recording.as_deref().filter(|path| !path.ends_with(".cast")) else {
            return Ok(());
        };
        let base = Base::of(recording, &session.id)?;
        let folder = Folder::locate(&self.app.config.recording.dir, recording)?;
        let mut casts = folder.casts()?;
        // The last one may still be written.
        casts.pop();
        let names: Vec<String> =
            casts.iter().filter_map(|cast| Some(cast.file_name()?.to_str()?.to_owned())).collect();
        let known = self.app.store.archive_files(&session.id).await?;
        let new = names.into_iter().filter(|name| !known.iter().any(|(known, _)| known == name)).collect();
        self.bring(archive, &session.id, (&base, &folder), new).await?;
        Ok(())
    }
}
