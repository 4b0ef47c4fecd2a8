//! Brings a sealed recording to the archive, file by file, then the list, reads all of it back, and only then writes down
//! that the archive has it.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use russh::keys::ssh_key::PublicKey;

use super::{Archiving, Failure};
use crate::audit::{ArchiveEvent, AuditEvent};
use crate::ids::SessionId;
use crate::recording::archive::{Archive, Base, Index, Object, digest_file};
use crate::recording::folder::{SIGNATURE, cast_name};
use crate::recording::{Folder, verify};
use crate::store::{ArchiveRow, SessionRow, StoreError};

/// Recordings that are on their way at the same time.
const AT_ONCE: usize = 4;

impl Archiving {
    /// Tries what waits and is due; says how many.
    pub async fn upload(&self) -> Result<usize, StoreError> {
        let Some(archive) = &self.archive else { return Ok(0) };
        let limit = u32::try_from(AT_ONCE).unwrap_or(1) * 4;
        let due = self.app.store.archive_due(&self.app.node, self.app.clock.now(), limit).await?;
        let count = due.len();
        let results: Vec<Result<(), StoreError>> = futures_util::stream::iter(due)
            .map(|row| async move {
                match self.upload_one(archive, &row).await {
                    Ok(()) => Ok(()),
                    Err(failure) => self.failed(&row, "archive", &failure).await,
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        results.into_iter().collect::<Result<(), _>>()?;
        Ok(count)
    }

    async fn upload_one(&self, archive: &Archive, row: &ArchiveRow) -> Result<(), Failure> {
        let session = self.session_of(row).await?;
        let (Some(recording), Some(seal)) = (&session.recording, &session.recording_sha256) else {
            return Err(Failure::Altered);
        };
        let base = Base::of(recording, &session.id)?;
        let folder = Folder::locate(&self.app.config.recording.dir, recording)?;
        let names = if folder.is_alone() {
            // Of before there were seals: the digest in the database is all that it is held against.
            vec![cast_name(1)]
        } else {
            self.verify(&session.id, &folder, seal).await?;
            folder.names()?.into_iter().chain([SIGNATURE.to_owned()]).collect()
        };
        let objects = self.bring(archive, &session.id, (&base, &folder), names).await?;
        let index = Index::new(session.id.as_str(), seal, folder.is_alone(), objects);
        if !index.fits_seal() {
            return Err(Failure::Altered);
        }
        let scratch = self.scratch()?;
        let digest = archive.put_index(&base, &index, scratch.path()).await?;
        archive.confirm(&base, &index, &digest).await?;
        self.archived(archive, &session, &index, digest).await?;
        Ok(())
    }

    /// That the signature holds, by a key that sealed recordings of ours. What is brought must then have the digest that was
    /// verified, whatever becomes of the files meanwhile.
    async fn verify(&self, session: &SessionId, folder: &Folder, seal: &str) -> Result<(), Failure> {
        let rows = self.app.store.recording_keys().await?;
        let mut signers: Vec<PublicKey> =
            rows.iter().filter_map(|row| PublicKey::from_openssh(&row.key).ok()).collect();
        signers.push(self.app.recordings.public_key().clone());
        let (session, folder) = (session.clone(), folder.clone());
        let verified = tokio::task::spawn_blocking(move || verify::verify(&folder, &session, &signers)).await;
        let verified = verified.map_err(std::io::Error::other)??;
        if verified.sha256 == seal { Ok(()) } else { Err(Failure::Altered) }
    }

    /// Every file of these names, those that are there already taken as they are: if they are still the same.
    pub(super) async fn bring(
        &self,
        archive: &Archive,
        session: &SessionId,
        (base, folder): (&Base, &Folder),
        names: Vec<String>,
    ) -> Result<Vec<Object>, Failure> {
        let known = self.app.store.archive_files(session).await?;
        let known: BTreeMap<String, Object> = known
            .into_iter()
            .filter_map(|(name, json)| Some((name, serde_json::from_str(&json).ok()?)))
            .collect();
        let scratch = self.scratch()?;
        let mut objects = Vec::new();
        for name in names {
            let path = if folder.is_alone() { folder.path().to_owned() } else { folder.path().join(&name) };
            if let Some(object) = known.get(&name) {
                let path = path.clone();
                let found = tokio::task::spawn_blocking(move || digest_file(&path)).await;
                let (bytes, sha256) = found.map_err(std::io::Error::other)??;
                if (bytes, &sha256) == (object.packed.bytes, &object.packed.sha256) {
                    objects.push(object.clone());
                    continue;
                }
            }
            let object = archive.put(base, &name, &path, scratch.path()).await?;
            let json = serde_json::to_string(&object).map_err(std::io::Error::other)?;
            self.app.store.note_archived_file(session, &name, &json).await?;
            objects.push(object);
        }
        Ok(objects)
    }

    async fn archived(
        &self,
        archive: &Archive,
        session: &SessionRow,
        index: &Index,
        digest: String,
    ) -> Result<(), StoreError> {
        let now = self.app.clock.now();
        let mut tx = self.app.store.begin().await?;
        if !tx.set_archived(&session.id, index.stored_bytes(), &digest, now).await? {
            return tx.leave().await;
        }
        let event = ArchiveEvent::RecordingArchived {
            session: session.id.clone(),
            files: index.objects.len(),
            bytes: index.bytes(),
            stored_bytes: index.stored_bytes(),
            seal: index.seal.clone(),
            index: digest,
            encrypted: archive.is_encrypted(),
        };
        tx.commit(now, AuditEvent::Archive(event)).await
    }
}
