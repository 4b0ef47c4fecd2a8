//! The end of the log that this bastion has signed last, on its own disk: whoever has all rights in the database, and none here,
//! cannot make it forgotten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::audit::chain::Head;

/// The file below `state_dir`.
const FILE: &str = "audit_head";
const BESIDE: &str = "audit_head.new";

/// What was kept below `state_dir`; none when nothing was yet.
///
/// Errors: it cannot be read, or is not what [`keep`] writes.
pub fn kept(state_dir: &Path) -> io::Result<Option<Head>> {
    match fs::read_to_string(state_dir.join(FILE)) {
        Ok(text) => text.trim_end().parse().map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps `head` instead, on the disk when this returns. Blocks.
pub(super) fn keep(state_dir: &Path, head: &Head) -> io::Result<()> {
    let beside = state_dir.join(BESIDE);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(format!("{head}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, state_dir.join(FILE))?;
    File::open(state_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kept(dir.path()).unwrap(), None);
        for seq in [7, 8] {
            let head = Head { seq, hash: "0a".repeat(32) };
            keep(dir.path(), &head).unwrap();
            assert_eq!(kept(dir.path()).unwrap(), Some(head));
        }
        let file = dir.path().join(FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // What a crash left beside it is no obstacle.
        fs::write(dir.path().join(BESIDE), "8:").unwrap();
        keep(dir.path(), &Head { seq: 9, hash: "0b".repeat(32) }).unwrap();
        for text in ["", "9", "9:xyz", "9:0b\n10:0c"] {
            fs::write(&file, text).unwrap();
            assert!(kept(dir.path()).is_err(), "{text:?}");
        }
    }
}
