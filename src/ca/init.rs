//! Makes keys: the three authorities (`caponier ca init`) and the bastion's host key. Never overwrites a file; the
//! authorities come all three or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::{self, Algorithm, Cipher, Kdf, LineEnding, PrivateKey, PublicKey};

use super::key_file;
use super::signer::{Authority, SignerError, Trio, public_path};
use crate::random::Random;
use crate::secret::Secret;

/// Rounds of bcrypt for the passphrase, as `ssh-keygen` takes since 9.9.
const KDF_ROUNDS: u32 = 24;
/// Bytes of salt, as OpenSSH.
const SALT_BYTES: usize = 16;
/// Name of the host key in the state folder.
const HOST_KEY: &str = "host_key";
/// Name there of the key that seals recordings and signs checkpoints of the audit log.
const RECORDING_KEY: &str = "recording_key";

/// Why no keys were made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Some of the files are there already.
    #[error("there already: {}; nothing was changed. CA keys are never overwritten: move these files away, or keep them and use: caponier ca show", list(.0))]
    Exists(Vec<PathBuf>),
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty; nothing was changed")]
    EmptyPassphrase,
    /// A folder or file could not be written.
    #[error("{}: {source}; nothing was changed", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key could not be made or encoded.
    #[error("making a key: {0}")]
    Make(#[from] ssh_key::Error),
    /// The host key or the recording key is there and cannot be used; says what to do.
    #[error("{0}")]
    OwnKey(String),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// What [`init`] made: the public halves of the three authorities.
#[derive(Debug)]
pub struct Made {
    keys: Trio<PublicKey>,
}

impl Made {
    /// The public half of one authority.
    pub fn public_key(&self, authority: Authority) -> &PublicKey {
        self.keys.of(authority)
    }
}

/// A file to be: its name, its mode and what is in it.
struct NewFile {
    name: String,
    mode: u32,
    text: zeroize::Zeroizing<String>,
}

/// Makes `user_ca`, `target_ca` and `host_ca` (Ed25519, mode 0600, encrypted unless there is no passphrase) with their
/// `.pub` files (0644) in `dir`, which is made (0700) if it is not there. If any of the six exists, nothing happens.
/// Blocks for about a second.
pub fn init(dir: &Path, passphrase: Option<&Secret<String>>, random: &Random) -> Result<Made, InitError> {
    if passphrase.is_some_and(|secret| secret.expose().is_empty()) {
        return Err(InitError::EmptyPassphrase);
    }
    let names =
        Authority::ALL.iter().flat_map(|a| [a.file_name().to_owned(), format!("{}.pub", a.file_name())]);
    let taken: Vec<PathBuf> =
        names.map(|name| dir.join(name)).filter(|path| path.symlink_metadata().is_ok()).collect();
    if !taken.is_empty() {
        return Err(InitError::Exists(taken));
    }
    let mut files = Vec::new();
    let keys = Trio::make(|authority| {
        let key = new_key(random, &format!("caponier {}", authority.file_name()))?;
        let public = key.public_key().clone();
        let stored = match passphrase {
            Some(secret) => encrypted(&key, secret, random)?,
            None => key,
        };
        let name = authority.file_name();
        files.push(NewFile { name: name.into(), mode: 0o600, text: stored.to_openssh(LineEnding::LF)? });
        let line = format!("{}\n", public.to_openssh()?).into();
        files.push(NewFile { name: format!("{name}.pub"), mode: 0o644, text: line });
        Ok::<_, InitError>(public)
    })?;
    let is_new_dir = !dir.exists();
    make_dir(dir)?;
    let placed = place(dir, &files, random);
    if placed.is_err() && is_new_dir {
        // Only if it is empty, as it was; what cannot be removed harms nobody.
        drop(std::fs::remove_dir(dir));
    }
    placed?;
    Ok(Made { keys })
}

/// The public halves of what is in `dir` already, from the `.pub` files. No passphrase is needed; that they belong to
/// the private keys is checked by `Signer::open`.
pub fn made(dir: &Path) -> Result<Made, SignerError> {
    Ok(Made { keys: Trio::make(|authority| key_file::public_key(&public_path(dir, authority)))? })
}

/// The bastion's own host key (Ed25519), from `state_dir/host_key`; made (0600, plain like sshd's) at the first start.
pub fn host_key(state_dir: &Path, random: &Random) -> Result<PrivateKey, InitError> {
    own_key(state_dir, HOST_KEY, "host key", random)
}

/// The key (Ed25519) by which this bastion seals recordings and signs checkpoints of the audit log, from
/// `state_dir/recording_key`; made like the host key at the first start.
pub fn recording_key(state_dir: &Path, random: &Random) -> Result<PrivateKey, InitError> {
    own_key(state_dir, RECORDING_KEY, "recording key", random)
}

fn own_key(state_dir: &Path, file: &str, what: &str, random: &Random) -> Result<PrivateKey, InitError> {
    let path = state_dir.join(file);
    if path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        let text = new_key(random, &format!("caponier {what}"))?.to_openssh(LineEnding::LF)?;
        make_dir(state_dir)?;
        match place(state_dir, &[NewFile { name: file.into(), mode: 0o600, text }], random) {
            // Another process was faster: its key is the one.
            Ok(()) | Err(InitError::Exists(_)) => {}
            Err(failed) => return Err(failed),
        }
    }
    let unusable = |text: String| InitError::OwnKey(format!("{what}: {text}"));
    let bytes =
        key_file::read_private(&path).map_err(|refused: SignerError| unusable(refused.to_string()))?;
    let key = PrivateKey::from_openssh(bytes.as_slice())
        .map_err(|e| unusable(format!("{} is not a private key in OpenSSH's format: {e}", path.display())))?;
    if key.is_encrypted() || key.algorithm() != Algorithm::Ed25519 {
        return Err(unusable(format!(
            "{} must be an unencrypted Ed25519 key; move it away and a new one is made at the next start",
            path.display()
        )));
    }
    Ok(key)
}

fn new_key(random: &Random, comment: &str) -> Result<PrivateKey, ssh_key::Error> {
    let mut key = random.with(|rng| PrivateKey::random(rng, Algorithm::Ed25519))?;
    key.set_comment(comment);
    Ok(key)
}

/// As `ssh-keygen` does it: bcrypt and AES-256-CTR.
fn encrypted(
    key: &PrivateKey,
    secret: &Secret<String>,
    random: &Random,
) -> Result<PrivateKey, ssh_key::Error> {
    let kdf = Kdf::Bcrypt { salt: random.bytes::<SALT_BYTES>().into(), rounds: KDF_ROUNDS };
    key.encrypt_with(Cipher::Aes256Ctr, kdf, u32::from_be_bytes(random.bytes()), secret.expose())
}

fn make_dir(dir: &Path) -> Result<(), InitError> {
    let failed = |source| InitError::Write { path: dir.into(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)
}

/// Puts the files into `dir`, all or none: written and synced in a folder beside, then linked into place one by one
/// (a link never replaces anything), and taken away again if one of them cannot be.
fn place(dir: &Path, files: &[NewFile], random: &Random) -> Result<(), InitError> {
    let staging = dir.join(format!(".new-{:016x}", random.u64()));
    let failed = |path: &Path, source: io::Error| InitError::Write { path: path.into(), source };
    DirBuilder::new().mode(0o700).create(&staging).map_err(|e| failed(&staging, e))?;
    let mut placed: Vec<PathBuf> = Vec::new();
    let outcome = files.iter().try_for_each(|file| {
        let path = staging.join(&file.name);
        write_synced(&path, file).map_err(|e| failed(&path, e))
    });
    let outcome = outcome.and_then(|()| {
        for file in files {
            let path = dir.join(&file.name);
            match std::fs::hard_link(staging.join(&file.name), &path) {
                Ok(()) => placed.push(path),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(InitError::Exists(vec![path]));
                }
                Err(e) => return Err(failed(&path, e)),
            }
        }
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| failed(dir, e))
    });
    if outcome.is_err() {
        for path in &placed {
            std::fs::remove_file(path).map_err(|e| failed(path, e))?;
        }
    }
    std::fs::remove_dir_all(&staging).map_err(|e| failed(&staging, e))?;
    outcome
}

fn write_synced(path: &Path, new: &NewFile) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(new.mode).open(path)?;
    // The umask may have taken bits from the public half.
    file.set_permissions(std::fs::Permissions::from_mode(new.mode))?;
    file.write_all(new.text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn six_files_with_their_modes() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("state/ca");
        let made = init(&ca, None, &Random::seeded(1)).unwrap();
        assert_eq!(
            names(&ca),
            ["host_ca", "host_ca.pub", "target_ca", "target_ca.pub", "user_ca", "user_ca.pub"]
        );
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&ca), 0o700);
        for authority in Authority::ALL {
            let public = ca.join(format!("{}.pub", authority.file_name()));
            assert_eq!((mode(&ca.join(authority.file_name())), mode(&public)), (0o600, 0o644));
            let line = std::fs::read_to_string(public).unwrap();
            assert_eq!(PublicKey::from_openssh(&line).unwrap(), *made.public_key(authority));
        }
    }

    #[test]
    fn one_file_in_the_way_stops_everything() {
        for name in ["user_ca", "user_ca.pub", "target_ca", "host_ca.pub"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(name), "precious").unwrap();
            let error = init(dir.path(), None, &Random::seeded(1)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&format!("/{name}; nothing was changed")), "{text}");
            assert_eq!(names(dir.path()), [name]);
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), "precious");
        }
    }

    #[test]
    fn a_dangling_link_is_in_the_way_too() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nonexistent/key", dir.path().join("host_ca")).unwrap();
        assert!(matches!(init(dir.path(), None, &Random::seeded(1)), Err(InitError::Exists(_))));
        assert_eq!(names(dir.path()), ["host_ca"]);
    }

    #[test]
    fn what_was_placed_is_taken_away_when_a_later_file_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let new = |name: &str| NewFile { name: name.into(), mode: 0o600, text: "x".to_owned().into() };
        std::fs::write(dir.path().join("c"), "precious").unwrap();
        let outcome = place(dir.path(), &[new("a"), new("b"), new("c")], &Random::seeded(1));
        assert!(matches!(outcome, Err(InitError::Exists(paths)) if paths == [dir.path().join("c")]));
        assert_eq!(names(dir.path()), ["c"]);
        assert_eq!(std::fs::read_to_string(dir.path().join("c")).unwrap(), "precious");
    }

    #[test]
    fn an_empty_passphrase_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let outcome = init(&ca, Some(&Secret::new(String::new())), &Random::seeded(1));
        assert!(matches!(outcome, Err(InitError::EmptyPassphrase)));
        assert!(!ca.exists());
    }

    #[test]
    fn host_key_is_made_once_and_must_stay_private() {
        let dir = tempfile::tempdir().unwrap();
        let random = Random::seeded(1);
        let first = host_key(dir.path(), &random).unwrap();
        assert_eq!(
            host_key(dir.path(), &random).unwrap().public_key().key_data(),
            first.public_key().key_data()
        );
        let path = dir.path().join("host_key");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = host_key(dir.path(), &random).unwrap_err().to_string();
        assert!(refused.contains("run: chmod 600 "), "{refused}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "not a key").unwrap();
        assert!(host_key(dir.path(), &random).unwrap_err().to_string().contains("OpenSSH's format"));
    }
}
