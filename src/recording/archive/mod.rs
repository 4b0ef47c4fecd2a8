//! The archive of sealed recordings: what lies there, put there, read back and deleted. One object per file of a session,
//! below the path that its folder has among the recordings:
//!
//! | object | what it is |
//! |---|---|
//! | `0001.cast.zst`, `events.ndjson.zst`, ... | a file, compressed (zstd in frames of 256 KiB) |
//! | `0001.cast.zst.age`, ... | the same, then encrypted to the auditors' keys (age), where there are any |
//! | `seal.json`, `seal.sig` | as they are: they hold digests and lengths, and nothing that was seen |
//! | `index.json` | names, lengths and SHA-256 of all, plain and as stored; written last |
//!
//! `pack` has the files, `keys` who can read them, `shelf` and `bucket` the places, `index` the list. When a session is
//! archived, tried again or deleted is `flow::archive`'s matter.

mod base;
mod bucket;
mod fetch;
mod index;
mod keys;
mod pack;
mod shelf;

use std::path::{Path, PathBuf};

use crate::config;
use crate::ids::SessionId;

pub use base::Base;
pub use fetch::Expected;
pub use index::{Index, Object};
pub use keys::Identity;
pub use pack::{Packed, digest_file};
pub use shelf::Shelf;

use keys::Recipients;

/// The list, by name.
pub const INDEX: &str = "index.json";

/// Why something did not get into the archive, or not out of it. `Display` is one line for the log and the audit.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A local file.
    #[error("{0}: {1}")]
    Local(PathBuf, std::io::Error),
    /// The archive cannot be reached, or says no.
    #[error("the archive: {0}")]
    Place(String),
    /// The archive does not have it.
    #[error("the archive has no {0}")]
    Missing(String),
    /// It is not what it should be.
    #[error("{0} is not what was archived: {1}")]
    Altered(String, &'static str),
    /// It is encrypted.
    #[error("{0}")]
    Locked(String),
    /// The database names a place that is none of a recording.
    #[error(
        "the database does not say where the recording of {0} is, but something else; nothing is touched"
    )]
    NoBase(SessionId),
    /// The configuration's keys.
    #[error("encrypt_to: {0}")]
    Keys(String),
}

/// The archive as configured. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Archive {
    shelf: Shelf,
    recipients: Recipients,
    level: i32,
}

impl Archive {
    /// The archive that the configuration names; none where recordings stay where they are.
    pub fn open(config: &config::Archive) -> Result<Option<Self>, ArchiveError> {
        let Some(shelf) = Shelf::open(&config.place)? else { return Ok(None) };
        let recipients = Recipients::read(&config.encrypt_to)?;
        Ok(Some(Self { shelf, recipients, level: config.zstd_level }))
    }

    /// Whether the bastion cannot read what it puts there.
    pub fn is_encrypted(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// Puts the file at `path` there, as `name` of the session at `base`. `work` is a folder for the
    /// packed form, which is removed again.
    pub async fn put(
        &self,
        base: &Base,
        name: &str,
        path: &Path,
        work: &Path,
    ) -> Result<Object, ArchiveError> {
        let plain = matches!(name, super::folder::SEAL | super::folder::SIGNATURE);
        let (archive, from, name) = (self.clone(), path.to_owned(), name.to_owned());
        let stored = if plain { name.clone() } else { archive.stored_name(&name) };
        let to = work.join(&stored);
        let packed = {
            let to = to.clone();
            blocking(move || {
                if plain {
                    pack::copy(&from, &to)
                } else {
                    pack::pack(&from, &to, &archive.recipients, archive.level)
                }
            })
            .await?
        };
        let put = self.shelf.put(&base.object(&stored), &to).await;
        if let Err(error) = std::fs::remove_file(&to) {
            tracing::debug!(%error, path = %to.display(), "a packed file stays until its folder goes");
        }
        put?;
        Ok(Object { name, stored, packed })
    }

    fn stored_name(&self, name: &str) -> String {
        if self.is_encrypted() { format!("{name}.zst.age") } else { format!("{name}.zst") }
    }

    /// Puts the list there, which makes the archive of this session whole; returns its SHA-256 in hex.
    pub async fn put_index(&self, base: &Base, index: &Index, work: &Path) -> Result<String, ArchiveError> {
        let path = work.join(INDEX);
        let text = index.text();
        std::fs::write(&path, &text).map_err(|error| ArchiveError::Local(path.clone(), error))?;
        self.shelf.put(&base.object(INDEX), &path).await?;
        Ok(pack::digest(text.as_bytes()))
    }

    /// Reads back every object of the list and the list itself, and compares lengths and digests: what the archive says
    /// about what it has is not enough to delete anything here.
    pub async fn confirm(&self, base: &Base, index: &Index, index_sha256: &str) -> Result<(), ArchiveError> {
        for object in &index.objects {
            let (bytes, sha256) = self.shelf.digest(&base.object(&object.stored)).await?;
            if bytes != object.packed.stored_bytes || sha256 != object.packed.stored_sha256 {
                return Err(ArchiveError::Altered(object.stored.clone(), "it reads back as something else"));
            }
        }
        let (_, sha256) = self.shelf.digest(&base.object(INDEX)).await?;
        if sha256 != index_sha256 {
            return Err(ArchiveError::Altered(INDEX.to_owned(), "it reads back as something else"));
        }
        Ok(())
    }

    /// Whether everything that the archived list names is still there in its full length, and the list is the one with this
    /// digest. Cheaper than [`Self::confirm`]: for the moment before a local copy goes.
    pub async fn is_there(&self, base: &Base, index_sha256: &str) -> Result<(), ArchiveError> {
        let index = self.index(base, index_sha256).await?;
        for object in &index.objects {
            let name = base.object(&object.stored);
            if self.shelf.length(&name).await? != object.packed.stored_bytes {
                return Err(ArchiveError::Altered(object.stored.clone(), "its length is another"));
            }
        }
        Ok(())
    }

    /// The list of a session, which must have the digest that was written down when it was archived.
    pub async fn index(&self, base: &Base, index_sha256: &str) -> Result<Index, ArchiveError> {
        let text = self.shelf.read(&base.object(INDEX), index::BYTES_MAX).await?;
        if pack::digest(&text) != index_sha256 {
            return Err(ArchiveError::Altered(INDEX.to_owned(), "its digest is another"));
        }
        Index::read(&text).ok_or_else(|| ArchiveError::Altered(INDEX.to_owned(), "it cannot be read"))
    }

    /// Deletes everything of a session, also what an attempt left that did not come to its end. Doing it again is fine.
    pub async fn delete(&self, base: &Base) -> Result<(), ArchiveError> {
        self.shelf.delete_all(base).await
    }
}

/// Runs what blocks off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ArchiveError::Place(format!("packing broke: {error}"))),
    }
}
