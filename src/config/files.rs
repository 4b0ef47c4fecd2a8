//! Files that hold secrets: whether they may be believed (nobody else can read them), and their first line.
//! Answers are sentences for the author of the configuration; where they stand in it is left to the caller.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::secret::Secret;

/// Permission bits of group and others: none of them may be set on a file with a secret.
pub(crate) const PRIVATE: u32 = 0o077;
/// Permission bits of others only: a group may read the file, as Debian's `ssl-cert` reads TLS keys.
pub(crate) const NOT_FOR_OTHERS: u32 = 0o007;
/// Longest secret file, in bytes.
pub(super) const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The permission bits of a file.
pub(crate) fn mode(meta: &Metadata) -> u32 {
    meta.mode() & 0o7777
}

/// Opens a file and refuses it when it has any permission bit of `forbidden`. Judges the opened file, not the path,
/// so that nobody can swap it in between.
pub(crate) fn open_guarded(path: &Path, forbidden: u32) -> Result<File, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let meta = file.metadata().map_err(|e| format!("cannot read {shown}: {e}"))?;
    if !meta.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let mode = mode(&meta);
    if mode & forbidden != 0 {
        let wanted = if forbidden == PRIVATE { "600" } else { "o=" };
        return Err(format!("{shown} can be read by others (mode {mode:03o}): chmod {wanted} {shown}"));
    }
    Ok(file)
}

/// The first line of a file that only we may read. Empty is refused.
pub(crate) fn read_secret(path: &Path) -> Result<Secret<String>, String> {
    let shown = path.display();
    let file = open_guarded(path, PRIVATE)?;
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let line = text.lines().next().unwrap_or_default();
    if line.trim().is_empty() {
        return Err(format!("the first line of {shown} is empty: it must hold the secret"));
    }
    Ok(Secret::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_private_files_give_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        for (text, mode, expect) in [
            ("open sesame\nrest", 0o600, Ok("open sesame")),
            ("open sesame\r\n", 0o400, Ok("open sesame")),
            ("x", 0o640, Err("mode 640): chmod 600 ")),
            ("x", 0o604, Err("mode 604): chmod 600 ")),
            ("x", 0o620, Err("mode 620): chmod 600 ")),
            ("\nsecond", 0o600, Err("the first line of")),
            ("", 0o600, Err("the first line of")),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            match (read_secret(&path), expect) {
                (Ok(secret), Ok(wanted)) => assert_eq!(secret.expose(), wanted),
                (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
                (got, _) => panic!("{text:?} {mode:o}: {got:?}"),
            }
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        }
        assert!(read_secret(dir.path()).unwrap_err().contains("is not a file"));
        assert!(read_secret(&dir.path().join("none")).unwrap_err().contains("cannot read"));
    }
}
