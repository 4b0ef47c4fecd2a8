//! Where objects lie: a folder, or a bucket. Names are `YYYY/MM/DD/ses_X/NAME`; what an object holds is nobody's matter here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::base::Base;
use super::bucket::Bucket;
use super::{ArchiveError, blocking, pack};
use crate::config::ArchivePlace;

/// The place of an archive.
#[derive(Clone, Debug)]
pub enum Shelf {
    /// A folder.
    Folder(PathBuf),
    /// A bucket.
    Bucket(Bucket),
}

impl Shelf {
    /// The one that is configured; none where there is none.
    pub fn open(place: &ArchivePlace) -> Result<Option<Self>, ArchiveError> {
        Ok(match place {
            ArchivePlace::Nowhere => None,
            ArchivePlace::Folder(path) => Some(Self::Folder(path.clone())),
            ArchivePlace::Bucket(bucket) => Some(Self::Bucket(Bucket::open(bucket)?)),
        })
    }

    /// Puts the file there. When this returns it is on the disk, or the service has taken it with its checksum.
    pub(super) async fn put(&self, name: &str, from: &Path) -> Result<(), ArchiveError> {
        match self {
            Self::Folder(top) => {
                let (to, from) = (top.join(name), from.to_owned());
                let top = top.clone();
                blocking(move || put(&top, &to, &from).map_err(|error| on(&to, &error))).await
            }
            Self::Bucket(bucket) => bucket.put(name, from).await,
        }
    }

    /// Brings the object to the new file `to`; one that is longer than `limit` is cut there.
    pub(super) async fn get(&self, name: &str, to: &Path, limit: u64) -> Result<(), ArchiveError> {
        match self {
            Self::Folder(top) => {
                let (from, to) = (top.join(name), to.to_owned());
                blocking(move || {
                    let mut object = File::open(&from).map_err(|error| on(&from, &error))?.take(limit + 1);
                    let mut file = create(&to).map_err(|error| ArchiveError::Local(to.clone(), error))?;
                    io::copy(&mut object, &mut file).map_err(|error| ArchiveError::Local(to, error))?;
                    Ok(())
                })
                .await
            }
            Self::Bucket(bucket) => bucket.get(name, to, limit).await,
        }
    }

    /// A small object whole.
    pub(super) async fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        match self {
            Self::Folder(top) => {
                let from = top.join(name);
                blocking(move || {
                    let mut bytes = Vec::new();
                    let file = File::open(&from).map_err(|error| on(&from, &error))?;
                    file.take(limit).read_to_end(&mut bytes).map_err(|error| on(&from, &error))?;
                    Ok(bytes)
                })
                .await
            }
            Self::Bucket(bucket) => bucket.read(name, limit).await,
        }
    }

    /// Reads the whole object; its length and SHA-256.
    pub(super) async fn digest(&self, name: &str) -> Result<(u64, String), ArchiveError> {
        match self {
            Self::Folder(top) => {
                let from = top.join(name);
                blocking(move || pack::digest_file(&from).map_err(|error| on(&from, &error))).await
            }
            Self::Bucket(bucket) => bucket.digest(name).await,
        }
    }

    /// Its length.
    pub(super) async fn length(&self, name: &str) -> Result<u64, ArchiveError> {
        match self {
            Self::Folder(top) => {
                let from = top.join(name);
                blocking(move || Ok(fs::metadata(&from).map_err(|error| on(&from, &error))?.len())).await
            }
            Self::Bucket(bucket) => bucket.length(name).await,
        }
    }

    /// Deletes every object below `base`; none there is fine.
    pub(super) async fn delete_all(&self, base: &Base) -> Result<(), ArchiveError> {
        match self {
            Self::Folder(top) => {
                let path = top.join(base.as_str());
                blocking(move || match fs::remove_dir_all(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(on(&path, &error)),
                    Ok(()) | Err(_) => Ok(()),
                })
                .await
            }
            Self::Bucket(bucket) => bucket.delete_all(base.as_str()).await,
        }
    }
}

/// An error about an object in a folder.
fn on(path: &Path, error: &io::Error) -> ArchiveError {
    if error.kind() == io::ErrorKind::NotFound {
        return ArchiveError::Missing(path.display().to_string());
    }
    ArchiveError::Place(format!("{}: {error}", path.display()))
}

/// Under another name first, so that what has its own name is whole. The archive's own folder is not made: where a share is
/// not mounted, an archive on the disk below would look like one.
fn put(top: &Path, to: &Path, from: &Path) -> io::Result<()> {
    if !top.is_dir() {
        return Err(io::Error::other("the folder of the archive is not there; is it mounted?"));
    }
    let folder = to.parent().unwrap_or(top);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut file = create(&part)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()?;
    fs::rename(&part, to)?;
    for above in folder.ancestors().take_while(|above| above.starts_with(top)) {
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
