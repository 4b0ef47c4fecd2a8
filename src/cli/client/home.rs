//! The client's own folder (`~/.caponier`): where it is, that nobody else can read it, whole-file writes, the lock.
//! What the files say is decided elsewhere.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::Environment;
use crate::random::Random;

/// State: server, sign-in, settings.
pub const STATE: &str = "client.json";
/// Private key, OpenSSH format. Absent when the key lives in the ssh-agent.
pub const KEY: &str = "id";
/// Its public half.
pub const PUBLIC_KEY: &str = "id.pub";
/// The current certificate.
pub const CERTIFICATE: &str = "id-cert.pub";
/// The socket of an ssh-agent of its own, which a job's sign-in has.
pub const SOCKET: &str = "agent.sock";
/// Whom ssh believes to be the bastion and the hosts behind it.
pub const KNOWN_HOSTS: &str = "known_hosts";
/// What `~/.ssh/config` includes.
pub const SSH_CONFIG: &str = "ssh_config";
/// The last failed renewal.
pub const FAILURE: &str = "renewal-failed.json";
const LOCK: &str = "lock";

/// Nothing of ours is larger.
const FILE_MAX: u64 = 1024 * 1024;
/// A renewal takes at most 10 s of network; whoever holds the lock longer is stuck.
const LOCK_WAIT: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Why the folder or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Nothing says where it is.
    #[error("HOME is not set, so there is no ~/.caponier; set HOME or CAPONIER_HOME")]
    Nowhere,
    /// Others could read or change it.
    #[error("{path}: others may access it (mode {mode:03o}); run: chmod {right} {path}")]
    Open {
        /// The file or folder.
        path: String,
        /// Its permission bits.
        mode: u32,
        /// The bits it should have.
        right: &'static str,
    },
    /// Somebody else's.
    #[error(
        "{path}: belongs to another user (id {owner}), who could read or change it; choose another folder with \
         CAPONIER_HOME, or run it as that user"
    )]
    NotOurs {
        /// The file or folder.
        path: String,
        /// Whose it is.
        owner: u32,
    },
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Far larger than anything we write.
    #[error("{0}: not a file of caponier's (too large, or not text); remove it and run: caponier login")]
    Odd(String),
    /// Another caponier holds the lock.
    #[error("{0}: another caponier has held it for {n} s; is it stuck?", n = LOCK_WAIT.as_secs())]
    Locked(String),
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

/// Held while files change; freed by the system when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Home {
    /// Where the folder is: `--home`, `$CAPONIER_HOME`, or `~/.caponier`; made absolute. Touches no disk.
    pub fn locate(flag: Option<&Path>, env: &Environment) -> Result<Self, HomeError> {
        let dir = match (flag, env.get("CAPONIER_HOME"), env.get("HOME")) {
            (Some(dir), _, _) => dir.to_path_buf(),
            (None, Some(dir), _) => PathBuf::from(dir),
            (None, None, Some(home)) => Path::new(home).join(".caponier"),
            (None, None, None) => return Err(HomeError::Nowhere),
        };
        let dir = std::path::absolute(&dir).map_err(|e| failed(&dir, e))?;
        Ok(Self { dir })
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of one of our files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Refuses a folder or private key that others own or can access. Absent ones are fine.
    pub fn check(&self) -> Result<(), HomeError> {
        let us = rustix::process::geteuid().as_raw();
        refuse_open(&self.dir, "700", us)?;
        refuse_open(&self.path(KEY), "600", us)
    }

    /// Makes the folder (0700) if it is not there, then checks it.
    pub fn create(&self) -> Result<(), HomeError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(|e| failed(&self.dir, e))?;
        self.check()
    }

    /// The text of a file; none when it is absent.
    pub fn read(&self, name: &str) -> Result<Option<String>, HomeError> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(&path, e)),
        };
        let mut text = String::new();
        match file.take(FILE_MAX + 1).read_to_string(&mut text) {
            Ok(n) if u64::try_from(n).is_ok_and(|n| n <= FILE_MAX) => Ok(Some(text)),
            Err(e) if e.kind() != io::ErrorKind::InvalidData => Err(failed(&path, e)),
            Ok(_) | Err(_) => Err(HomeError::Odd(path.display().to_string())),
        }
    }

    /// Replaces a file as a whole (0600): a reader sees the old text or the new text, never half of one.
    pub fn write(&self, name: &str, text: &str) -> Result<(), HomeError> {
        replace(&self.path(name), text.as_bytes(), 0o600)
    }

    /// Removes a file; an absent one is fine.
    pub fn remove(&self, name: &str) -> Result<(), HomeError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(&path, e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether a file is there.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Takes the lock, waiting for others a bounded time.
    pub fn lock(&self) -> Result<Lock, HomeError> {
        let path = self.path(LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| failed(&path, e))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(fs::TryLockError::WouldBlock) if waited < LOCK_WAIT => {
                    std::thread::sleep(LOCK_POLL);
                    waited += LOCK_POLL;
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(HomeError::Locked(path.display().to_string()));
                }
                Err(fs::TryLockError::Error(e)) => return Err(failed(&path, e)),
            }
        }
    }
}

/// Replaces `path` as a whole: a temporary file in the same folder, flushed to the disk, then renamed.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), HomeError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{:016x}.new", Random::System.u64()));
    let written = write_new(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(e) = written {
        // The first error is the one to tell; a file that could not be made cannot be removed either.
        drop(fs::remove_file(&temporary));
        return Err(failed(path, e));
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(folder, e))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn refuse_open(path: &Path, right: &'static str, us: u32) -> Result<(), HomeError> {
    match fs::metadata(path) {
        Ok(found) if found.uid() != us => {
            Err(HomeError::NotOurs { path: path.display().to_string(), owner: found.uid() })
        }
        Ok(found) if found.mode() & 0o077 != 0 => {
            Err(HomeError::Open { path: path.display().to_string(), mode: found.mode() & 0o777, right })
        }
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(path, e)),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn failed(path: &Path, source: io::Error) -> HomeError {
    HomeError::Io { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home { dir: dir.path().join("h") };
        home.create().unwrap();
        (dir, home)
    }

    #[test]
    fn where_it_is() {
        let env = |pairs: &[(&str, &str)]| Environment::of(pairs);
        let at = |flag: Option<&str>, pairs| Home::locate(flag.map(Path::new), &env(pairs)).map(|h| h.dir);
        assert_eq!(at(Some("/f"), &[("HOME", "/h")]).unwrap(), Path::new("/f"));
        assert_eq!(at(None, &[("HOME", "/h"), ("CAPONIER_HOME", "/c")]).unwrap(), Path::new("/c"));
        assert_eq!(at(None, &[("HOME", "/h")]).unwrap(), Path::new("/h/.caponier"));
        assert!(at(None, &[("HOME", "/h")]).unwrap().is_absolute());
        assert!(matches!(at(None, &[]), Err(HomeError::Nowhere)));
    }

    #[test]
    fn others_may_not_look_in() {
        let (_dir, home) = home();
        home.write(KEY, "k").unwrap();
        assert_eq!(fs::metadata(home.path(KEY)).unwrap().mode() & 0o777, 0o600);
        home.check().unwrap();
        fs::set_permissions(home.path(KEY), fs::Permissions::from_mode(0o640)).unwrap();
        let text = home.check().unwrap_err().to_string();
        assert!(text.contains("chmod 600") && text.contains("640"), "{text}");
        fs::set_permissions(home.path(KEY), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(home.dir(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(home.check().unwrap_err().to_string().contains("chmod 700"));
        let us = rustix::process::geteuid().as_raw();
        let other = refuse_open(home.dir(), "700", us + 1).unwrap_err();
        assert!(matches!(other, HomeError::NotOurs { owner, .. } if owner == us), "{other}");
    }

    #[test]
    fn files_change_as_a_whole() {
        let (_dir, home) = home();
        assert_eq!(home.read(STATE).unwrap(), None);
        home.write(STATE, "one").unwrap();
        home.write(STATE, "two").unwrap();
        assert_eq!(home.read(STATE).unwrap().as_deref(), Some("two"));
        let names: Vec<_> = fs::read_dir(home.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [STATE], "no temporary file is left");
        home.remove(STATE).unwrap();
        home.remove(STATE).unwrap();
        fs::write(home.path(STATE), [0xff, 0xfe]).unwrap();
        assert!(matches!(home.read(STATE), Err(HomeError::Odd(_))));
    }

    #[test]
    fn one_holder_at_a_time() {
        let (_dir, home) = home();
        let held = home.lock().unwrap();
        let other = OpenOptions::new().write(true).open(home.path(LOCK)).unwrap();
        assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(held);
        other.try_lock().unwrap();
    }
}
