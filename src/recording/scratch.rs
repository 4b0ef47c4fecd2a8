//! A folder for what is plain only for a while: only we may read it, and it goes when its owner goes.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::random::Random;

/// The folder. Dropping it removes it and all that is in it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new folder (0700) below `parent`, whose name nobody can have taken before.
    pub fn new(parent: &Path, random: &Random) -> io::Result<Self> {
        let name: String = random.bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = parent.join(format!("caponier-{name}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a folder with plain recordings stays behind: remove it");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn ours_alone_and_gone() {
        let top = tempfile::tempdir().unwrap();
        let random = Random::seeded(1);
        let scratch = Scratch::new(top.path(), &random).unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("x"), "secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(Scratch::new(top.path(), &Random::seeded(1)).is_err(), "it must not exist");
        drop(scratch);
        assert!(!path.exists());
    }
}
