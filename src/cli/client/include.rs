//! Puts our `Include` at the top of `~/.ssh/config`, once. At the top, because ssh uses the first value it finds and
//! because below a `Host` or `Match` line it would hold for those hosts only.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::home;

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Included {
    /// It was there.
    Already,
    /// It was added to this file.
    Added(PathBuf),
}

/// Why it was not added.
#[derive(Debug, thiserror::Error)]
pub enum IncludeError {
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be replaced.
    #[error(transparent)]
    Replace(#[from] home::HomeError),
}

/// Makes sure that the configuration of the person whose home is `user_home` begins with `line`, which is an
/// `Include` of `target`. A configuration that is a symbolic link stays one: the file behind it changes.
pub fn install(user_home: &Path, line: &str, target: &Path) -> Result<Included, IncludeError> {
    let folder = user_home.join(".ssh");
    let config = folder.join("config");
    let failed = |source| IncludeError::Io { path: config.display().to_string(), source };
    if fs::symlink_metadata(&config).is_err() {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        home::replace(&config, format!("{line}\n").as_bytes(), 0o600)?;
        return Ok(Included::Added(config));
    }
    let real = config.canonicalize().map_err(failed)?;
    let before = fs::read(&real).map_err(failed)?;
    if is_included(&before, target, user_home) {
        return Ok(Included::Already);
    }
    let mode = fs::metadata(&real).map_err(failed)?.mode() & 0o777;
    let after = [line.as_bytes(), b"\n\n", &before].concat();
    home::replace(&real, &after, mode)?;
    Ok(Included::Added(config))
}

/// Whether an `Include` of `target` stands before the first `Host` or `Match`.
pub fn is_included(config: &[u8], target: &Path, user_home: &Path) -> bool {
    let text = String::from_utf8_lossy(config);
    for line in text.lines() {
        let line = line.trim();
        let (word, rest) =
            line.split_at(line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len()));
        match word.to_ascii_lowercase().as_str() {
            "host" | "match" => return false,
            "include" if names(rest, target, user_home) => return true,
            _ => {}
        }
    }
    false
}

/// Whether one of an `Include` line's arguments is `target`.
fn names(arguments: &str, target: &Path, user_home: &Path) -> bool {
    let arguments = arguments.trim_start_matches(|c: char| c.is_whitespace() || c == '=');
    // In quotes a path may hold blanks; without, they separate.
    arguments
        .split('"')
        .enumerate()
        .flat_map(|(n, part)| if n % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
        .any(|path| match path.strip_prefix("~/") {
            Some(below) => user_home.join(below) == target,
            None => Path::new(path) == target,
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LINE: &str = "Include \"/h/.caponier/ssh_config\"";
    const TARGET: &str = "/h/.caponier/ssh_config";

    #[test]
    fn recognition() {
        let check = |config: &str, expect| {
            assert_eq!(
                is_included(config.as_bytes(), Path::new(TARGET), Path::new("/h")),
                expect,
                "{config}"
            );
        };
        check(LINE, true);
        check("# x\n\n  include /h/.caponier/ssh_config\nHost a", true);
        check("Include = ~/.caponier/ssh_config", true);
        check("Include other /h/.caponier/ssh_config", true);
        check("Include \"other\" \"/h/.caponier/ssh_config\"", true);
        check("Host a\n  Include /h/.caponier/ssh_config", false);
        check("# Include /h/.caponier/ssh_config", false);
        check("Include /h/.caponier/ssh_config2", false);
        check("IdentityFile /h/.caponier/ssh_config", false);
        check("", false);
    }

    #[test]
    fn added_once_on_top_and_the_rest_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (home, target) = (dir.path(), Path::new(TARGET));
        let config = home.join(".ssh/config");
        assert_eq!(install(home, LINE, target).unwrap(), Included::Added(config.clone()));
        assert_eq!(fs::metadata(&config).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(home.join(".ssh")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(install(home, LINE, target).unwrap(), Included::Already);

        fs::write(&config, b"Host x\n  User \xff\n").unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(install(home, LINE, target).unwrap(), Included::Added(config.clone()));
        let text = fs::read(&config).unwrap();
        assert_eq!(text, [LINE.as_bytes(), b"\n\nHost x\n  User \xff\n"].concat());
        assert_eq!(fs::metadata(&config).unwrap().mode() & 0o777, 0o644, "the person's mode is kept");
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        fs::create_dir(home.join(".ssh")).unwrap();
        fs::create_dir(home.join("dotfiles")).unwrap();
        fs::write(home.join("dotfiles/ssh"), "Host x\n").unwrap();
        std::os::unix::fs::symlink("../dotfiles/ssh", home.join(".ssh/config")).unwrap();
        install(home, LINE, Path::new(TARGET)).unwrap();
        assert!(fs::symlink_metadata(home.join(".ssh/config")).unwrap().is_symlink());
        assert!(fs::read_to_string(home.join("dotfiles/ssh")).unwrap().starts_with(LINE));
        fs::remove_file(home.join("dotfiles/ssh")).unwrap();
        assert!(install(home, LINE, Path::new(TARGET)).is_err(), "a dangling link is left alone");
    }
}
