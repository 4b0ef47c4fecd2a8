//! Where a recording lies: `YYYY/MM/DD/<session>/` in UTC below the recordings folder. Decides names, modes and
//! what is refused (anything that exists, symbolic links, paths that lead outside).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::recorder::RecorderError;
use crate::ids::SessionId;
use crate::time::Timestamp;

/// The folder of a session's recording, relative to the recordings folder; none when the time has no date.
pub(super) fn relative(session: &SessionId, at: Timestamp) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.as_millis()).ok()?).ok()?;
    Some(format!("{}/{session}", at.strftime("%Y/%m/%d")))
}

/// The days from `since` to `until` as folders; at most a year of them.
pub(super) fn days(since: Timestamp, until: Timestamp) -> Vec<String> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let mut days = Vec::new();
    let mut at = since;
    while at <= until.plus(DAY) && days.len() < 366 {
        let day =
            i64::try_from(at.as_millis()).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        days.extend(day.map(|day| day.strftime("%Y/%m/%d").to_string()));
        at = at.plus(DAY);
    }
    days
}

/// Makes the folder (0700) and those above it; it must not exist. The names of all are on disk when this returns.
pub(super) fn create(dir: &Path, relative: &str) -> Result<PathBuf, RecorderError> {
    let path = dir.join(relative);
    let failed = |what: &str, error: io::Error| RecorderError::new(&path, format!("{what}: {error}"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failed("cannot make the recordings folder", error))?;
    let mut folder = dir.to_owned();
    let mut names = Path::new(relative).components().peekable();
    while let Some(name) = names.next() {
        let above = folder.clone();
        folder.push(name);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => sync_folder(&above).map_err(|error| failed("cannot sync the folder above", error))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && names.peek().is_some() => {
                let is_dir = fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir());
                if !is_dir {
                    return Err(RecorderError::new(&folder, "is not a folder; move it away".to_owned()));
                }
            }
            Err(error) => return Err(failed("cannot make its folder", error)),
        }
    }
    Ok(folder)
}

/// Makes a file (0600) that must not exist, for appending.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The path of a recording from the database's `relative`, which is not trusted: it must name an existing plain
/// `.cast` file below `dir`, without `..` and without passing through a symbolic link (`dir` itself may be one).
pub(super) fn locate(dir: &Path, relative: &str) -> Result<PathBuf, RecorderError> {
    if Path::new(relative).extension().is_none_or(|end| end != "cast") {
        return Err(RecorderError::new(Path::new(relative), NO_RECORDING.to_owned()));
    }
    let found = below(dir, relative)?;
    if !fs::symlink_metadata(&found).is_ok_and(|found| found.is_file()) {
        return Err(RecorderError::new(Path::new(relative), "is not a file".to_owned()));
    }
    Ok(found)
}

/// The same for a session's folder.
pub(super) fn locate_folder(dir: &Path, relative: &str) -> Result<PathBuf, RecorderError> {
    let found = below(dir, relative)?;
    if relative.is_empty() || !fs::symlink_metadata(&found).is_ok_and(|found| found.is_dir()) {
        return Err(RecorderError::new(Path::new(relative), "is not a folder".to_owned()));
    }
    Ok(found)
}

const NO_RECORDING: &str = "is not the path of a recording";

fn below(dir: &Path, relative: &str) -> Result<PathBuf, RecorderError> {
    let path = dir.join(relative);
    let refused = |what: &str| RecorderError::new(Path::new(relative), what.to_owned());
    let named = Path::new(relative);
    let plain = named.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || relative.contains('\0') {
        return Err(refused(NO_RECORDING));
    }
    let missing = |error: io::Error| {
        let gone = error.kind() == io::ErrorKind::NotFound;
        let what = "is missing: it is not in the recordings folder".to_owned();
        RecorderError::new(&path, if gone { what } else { error.to_string() })
    };
    let found = fs::canonicalize(&path).map_err(missing)?;
    let expected = fs::canonicalize(dir).map_err(missing)?.join(named);
    if found != expected {
        return Err(refused("leads through a symbolic link"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const SESSION: &str = "ses_00000000000000000000000000";

    #[test]
    fn names_are_utc_days() {
        let session: SessionId = SESSION.parse().unwrap();
        for (secs, day) in [
            (0, "1970/01/01"),
            (1_700_000_000, "2023/11/14"),
            (1_709_251_199, "2024/02/29"),
            (1_709_251_200, "2024/03/01"),
        ] {
            let expect = format!("{day}/{SESSION}");
            assert_eq!(relative(&session, Timestamp::from_secs(secs)), Some(expect));
        }
        assert_eq!(relative(&session, Timestamp::from_millis(u64::MAX)), None);
    }

    #[test]
    fn creates_tight_and_never_overwrites() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("a/recordings");
        let made = create(&dir, "2026/11/21/x").unwrap();
        assert_eq!(made, dir.join("2026/11/21/x"));
        drop(new_file(&made.join("0001.cast")).unwrap());
        assert!(new_file(&made.join("0001.cast")).is_err(), "exists");
        for (name, mode) in [
            ("", 0o700),
            ("2026", 0o700),
            ("2026/11", 0o700),
            ("2026/11/21", 0o700),
            ("2026/11/21/x", 0o700),
            ("2026/11/21/x/0001.cast", 0o600),
        ] {
            let found = fs::metadata(dir.join(name)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{name}");
        }
        assert!(create(&dir, "2026/11/21/x").is_err(), "exists");

        let elsewhere = top.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, dir.join("2026/11/21/y")).unwrap();
        assert!(create(&dir, "2026/11/21/y").is_err(), "symbolic link instead of the folder");
        symlink(elsewhere.join("victim"), dir.join("2026/11/21/x/0002.cast")).unwrap();
        assert!(new_file(&dir.join("2026/11/21/x/0002.cast")).is_err(), "symbolic link instead of the file");
        symlink(&elsewhere, dir.join("2027")).unwrap();
        assert!(create(&dir, "2027/01/01/z").is_err(), "symbolic link instead of a folder above");
        fs::write(dir.join("2028"), "").unwrap();
        assert!(create(&dir, "2028/01/01/z").is_err(), "file instead of a folder");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn hostile_paths() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("recordings");
        let made = create(&dir, "2026/11/21/x").unwrap();
        fs::write(made.with_extension("cast"), "").unwrap();
        fs::write(top.path().join("secret.cast"), "s").unwrap();
        fs::create_dir(dir.join("folder.cast")).unwrap();
        fs::write(dir.join("caponier.toml"), "").unwrap();
        symlink(top.path().join("secret.cast"), dir.join("link.cast")).unwrap();
        symlink(dir.join("2026"), dir.join("inside")).unwrap();
        symlink(&dir, top.path().join("alias")).unwrap();

        assert!(locate(&dir, "2026/11/21/x.cast").is_ok());
        assert!(locate(&top.path().join("alias"), "2026/11/21/x.cast").is_ok(), "the folder may be a link");
        let absolute = top.path().join("secret.cast").display().to_string();
        for bad in [
            "",
            ".",
            "/",
            "..",
            "../secret.cast",
            "2026/../../secret.cast",
            "2026/../2026/11/21/x.cast",
            absolute.as_str(),
            "link.cast",
            "inside/11/21/x.cast",
            "folder.cast",
            "caponier.toml",
            "2026/11/21/x.cast\0",
        ] {
            assert!(locate(&dir, bad).is_err(), "{bad:?}");
        }
        assert!(locate_folder(&dir, "2026/11/21/x").is_ok());
        for bad in ["", ".", "..", "2026/../2026", "inside", "2026/11/21/x.cast", "2026/11/21/x\0"] {
            assert!(locate_folder(&dir, bad).is_err(), "{bad:?}");
        }
        let missing = locate(&dir, "2026/11/21/gone.cast").unwrap_err();
        assert!(missing.to_string().contains("is missing"), "{missing}");
    }
}
