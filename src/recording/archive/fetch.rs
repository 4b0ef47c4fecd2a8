//! Reading a session back from the archive, so that it lies as it was sealed.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use super::{Archive, ArchiveError, Base, Identity, blocking, pack};
use crate::ids::SessionId;
use crate::recording::Folder;

/// What the database says about an archived session.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Which.
    pub session: &'a SessionId,
    /// SHA-256 of what its seal is over.
    pub seal: &'a str,
    /// SHA-256 of the archive's list.
    pub index: &'a str,
}

impl Archive {
    /// Reads the session at `base` back into the folder `into`, where nothing of that name may be. Every object is checked
    /// against the list, the list against the database, and the whole against the seal's digest; the seal's signature is
    /// left to `verify`.
    ///
    /// Errors: the archive cannot be reached, something is missing or altered, `identity` does not open it (`Locked`).
    pub async fn fetch(
        &self,
        base: &Base,
        expected: Expected<'_>,
        identity: Option<Identity>,
        into: &Path,
    ) -> Result<Folder, ArchiveError> {
        let index = self.index(base, expected.index).await?;
        let session = expected.session.as_str();
        if index.session != session || index.seal != expected.seal || !index.fits_seal() {
            return Err(ArchiveError::Altered(session.to_owned(), "its list is of something else"));
        }
        let (work, folder) = (into.join("stored"), into.join(session));
        for path in [&work, &folder] {
            let made = DirBuilder::new().mode(0o700).create(path);
            made.map_err(|error| ArchiveError::Local(path.clone(), error))?;
        }
        let identity = Arc::new(identity);
        for object in &index.objects {
            let from = work.join(&object.stored);
            self.shelf.get(&base.object(&object.stored), &from, object.packed.stored_bytes).await?;
            let (to, object, identity) = (folder.join(&object.name), object.clone(), Arc::clone(&identity));
            blocking(move || {
                pack::unpack((&from, &object.stored), &to, &object.packed, (*identity).as_ref())?;
                std::fs::remove_file(&from).map_err(|error| ArchiveError::Local(from, error))
            })
            .await?;
        }
        if !index.alone {
            return Ok(Folder::copy(folder));
        }
        let (from, name) = (folder.join(crate::recording::folder::cast_name(1)), format!("{session}.cast"));
        std::fs::rename(&from, into.join(&name)).map_err(|error| ArchiveError::Local(from, error))?;
        Folder::locate(into, &name)
            .map_err(|error| ArchiveError::Local(into.join(name), std::io::Error::other(error.to_string())))
    }
}
