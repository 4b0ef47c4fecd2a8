//! Files that hold keys and passphrases: who may own them, who may read them, and what is in them. Decides nothing
//! about certificates. A file that others can read or replace is refused, with the command that mends it.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::{Kdf, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::signer::SignerError;
use super::subject_key;
use crate::config;
use crate::secret::Secret;

/// Largest key or passphrase file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Most rounds of bcrypt we work off; `ssh-keygen -a` of a sane person stays below.
const KDF_ROUNDS_MAX: u32 = 1000;

/// Who may have what kind of access to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Ours, and nobody else may even read it.
    Private,
    /// Written by systemd for us. It may belong to root and be opened to us by an access list, whose mask then shows
    /// as the group's right to read; the folder around it is closed.
    Credential,
    /// Anybody may read it, but only we or root may write it.
    Public,
}

fn refuse<T>(text: String) -> Result<T, SignerError> {
    Err(SignerError::Key(text))
}

/// Reads and decrypts one CA key. Takes the CPU for about a tenth of a second: keep it off the async threads.
pub(super) fn private_key(
    path: &Path,
    passphrase: Option<&Secret<String>>,
) -> Result<PrivateKey, SignerError> {
    let shown = path.display();
    let bytes = read(path, Access::Private)?;
    let stored = PrivateKey::from_openssh(bytes.as_slice())
        .map_err(|e| SignerError::Key(format!("{shown} is not a private key in OpenSSH's format: {e}")))?;
    if !subject_key::is_ca_kind(stored.public_key().key_data()) {
        let algorithm = stored.algorithm();
        return refuse(format!(
            "{shown} is a key of type {algorithm}; CA keys are Ed25519 (make them with: caponier ca init)"
        ));
    }
    match (stored.is_encrypted(), passphrase) {
        (false, None) => Ok(stored),
        (false, Some(_)) => refuse(format!(
            "{shown} is not encrypted, but the configuration has a passphrase for it; encrypt it with: ssh-keygen -p -f {}",
            quoted(path)
        )),
        (true, None) => refuse(format!(
            "{shown} is encrypted, but the configuration says ca.plain = true; say where the passphrase is instead"
        )),
        (true, Some(passphrase)) => {
            if matches!(stored.kdf(), Kdf::Bcrypt { rounds, .. } if *rounds > KDF_ROUNDS_MAX) {
                return refuse(format!("{shown} wants more than {KDF_ROUNDS_MAX} rounds of bcrypt"));
            }
            stored.decrypt(passphrase.expose()).map_err(|_| {
                SignerError::Key(format!(
                    "{shown} cannot be decrypted: the passphrase is not the right one, or the file is damaged"
                ))
            })
        }
    }
}

/// Reads one CA's public key, in OpenSSH's one-line form.
pub(super) fn public_key(path: &Path) -> Result<PublicKey, SignerError> {
    let shown = path.display();
    let bytes = read(path, Access::Public)?;
    let key = std::str::from_utf8(&bytes).ok().and_then(|text| PublicKey::from_openssh(text.trim_end()).ok());
    match key {
        Some(key) if subject_key::is_ca_kind(key.key_data()) => Ok(key),
        Some(key) => refuse(format!("{shown} is a key of type {}; CA keys are Ed25519", key.algorithm())),
        None => refuse(format!("{shown} is not a public key in OpenSSH's format")),
    }
}

/// The passphrase, from where the configuration says; none when it says that the files are plain. `env` answers for
/// environment variables.
pub fn passphrase(
    source: &config::Passphrase,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Secret<String>>, SignerError> {
    let (text, place) = match source {
        config::Passphrase::Plain => return Ok(None),
        config::Passphrase::File(path) => (first_line(path, Access::Private)?, path.display().to_string()),
        config::Passphrase::Credential(name) => {
            let Some(dir) = env("CREDENTIALS_DIRECTORY") else {
                return refuse(format!(
                    "the passphrase is the systemd credential {name:?}, but CREDENTIALS_DIRECTORY is not set; \
                     give the unit LoadCredentialEncrypted={name} or start the program with systemd-run"
                ));
            };
            // A credential is a name, not a path; `..` must not lead elsewhere.
            if name.is_empty() || name.contains('/') || name.starts_with('.') {
                return refuse(format!("{name:?} is not the name of a systemd credential"));
            }
            (
                first_line(&PathBuf::from(dir).join(name), Access::Credential)?,
                format!("the credential {name}"),
            )
        }
        config::Passphrase::Env(name) => {
            let Some(value) = env(name) else {
                return refuse(format!(
                    "the passphrase is the environment variable {name}, which is not set"
                ));
            };
            match value.into_string() {
                Ok(text) => (Zeroizing::new(text), format!("the environment variable {name}")),
                Err(_) => return refuse(format!("the environment variable {name} is not UTF-8")),
            }
        }
    };
    if text.is_empty() {
        return refuse(format!("the passphrase in {place} is empty"));
    }
    Ok(Some(Secret::new(text.as_str().to_owned())))
}

fn first_line(path: &Path, access: Access) -> Result<Zeroizing<String>, SignerError> {
    let bytes = read(path, access)?;
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => refuse(format!("{} is not UTF-8", path.display())),
    }
}

/// Reads a key that only we may read, e.g. the host key.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    read(path, Access::Private)
}

fn read(path: &Path, access: Access) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    let failed = |e: std::io::Error| SignerError::Key(format!("{}: {e}", path.display()));
    let named = path.symlink_metadata().map_err(failed)?;
    if !named.is_file() {
        let what = if named.is_symlink() { "a symbolic link" } else { "not a file" };
        return refuse(format!("{} is {what}; name the file itself", path.display()));
    }
    let file = File::open(path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    // Between the two looks the name may have been pointed elsewhere.
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        return refuse(format!("{} was replaced while it was opened; try again", path.display()));
    }
    check_access(path, &opened, access)?;
    if opened.len() > FILE_BYTES_MAX {
        return refuse(format!("{} has {} bytes; that is no key", path.display(), opened.len()));
    }
    // Room for the whole file at once, so that growing leaves no copy behind in freed memory.
    let room = usize::try_from(opened.len()).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(opened.len()).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn check_access(path: &Path, file: &Metadata, access: Access) -> Result<(), SignerError> {
    const ROOT: u32 = 0;
    let us = rustix::process::geteuid().as_raw();
    let (shown, arg) = (path.display(), quoted(path));
    let owner_fits = file.uid() == us || (file.uid() == ROOT && access != Access::Private);
    if !owner_fits {
        let owner = file.uid();
        return refuse(format!(
            "{shown} belongs to user {owner}, and this program runs as {us}; run: chown {us} {arg}"
        ));
    }
    let (forbidden, mode, trouble) = match access {
        Access::Private => (0o077, "600", "read or changed"),
        Access::Credential => (0o037, "400", "read or changed"),
        Access::Public => (0o022, "644", "changed"),
    };
    if file.mode() & forbidden != 0 {
        let is = file.mode() & 0o777;
        return refuse(format!(
            "{shown} can be {trouble} by others (mode {is:03o}); run: chmod {mode} {arg}"
        ));
    }
    Ok(())
}

/// The path as one word for a shell.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let harmless = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'+' | b'=' | b':' | b'@')
    };
    if !text.is_empty() && text.bytes().all(harmless) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::config::Passphrase;

    fn write(path: &Path, text: &[u8], mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn said(source: &Passphrase, dir: Option<&Path>) -> Result<Option<String>, String> {
        let env = |name: &str| match name {
            "CREDENTIALS_DIRECTORY" => dir.map(|dir| dir.as_os_str().to_owned()),
            "SET" => Some("from the environment".into()),
            "EMPTY" => Some(OsString::new()),
            _ => None,
        };
        match passphrase(source, env) {
            Ok(found) => Ok(found.map(|secret| secret.expose().clone())),
            Err(refused) => Err(refused.to_string()),
        }
    }

    #[test]
    fn passphrase_sources() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8], mode: u32| {
            write(&dir.path().join(name), text, mode);
            Passphrase::File(dir.path().join(name))
        };
        symlink(dir.path().join("good"), dir.path().join("link")).unwrap();
        file("cred", b"of systemd\n", 0o440);
        file("open-cred", b"of systemd\n", 0o444);
        let rows: &[(Passphrase, Result<Option<&str>, &str>)] = &[
            (Passphrase::Plain, Ok(None)),
            (file("good", b"one two\nthree\n", 0o600), Ok(Some("one two"))),
            (file("crlf", b" spaces stay \r\n", 0o400), Ok(Some(" spaces stay "))),
            (file("no-newline", b"x", 0o600), Ok(Some("x"))),
            (file("empty", b"\nsecond\n", 0o600), Err("is empty")),
            (file("latin", b"\xe9\n", 0o600), Err("not UTF-8")),
            (file("group", b"x\n", 0o640), Err("run: chmod 600 ")),
            (file("others", b"x\n", 0o604), Err("(mode 604)")),
            (file("it's", b"x\n", 0o604), Err(r"it'\''s'")),
            (Passphrase::File(dir.path().join("link")), Err("a symbolic link")),
            (Passphrase::File(dir.path().to_owned()), Err("not a file")),
            (Passphrase::File(dir.path().join("none")), Err("No such file")),
            (Passphrase::Env("SET".into()), Ok(Some("from the environment"))),
            (Passphrase::Env("EMPTY".into()), Err("is empty")),
            (Passphrase::Env("UNSET".into()), Err("which is not set")),
            (Passphrase::Credential("cred".into()), Ok(Some("of systemd"))),
            (Passphrase::Credential("open-cred".into()), Err("run: chmod 400 ")),
            (Passphrase::Credential("../good".into()), Err("not the name")),
            (Passphrase::Credential(String::new()), Err("not the name")),
        ];
        for (source, expect) in rows {
            match (said(source, Some(dir.path())), expect) {
                (Ok(found), Ok(wanted)) => assert_eq!(found.as_deref(), *wanted, "{source:?}"),
                (Err(text), Err(part)) => assert!(text.contains(part), "{source:?}: {text}"),
                (found, _) => panic!("{source:?}: {found:?} instead of {expect:?}"),
            }
        }
        let outside = said(&Passphrase::Credential("cred".into()), None).unwrap_err();
        assert!(outside.contains("LoadCredentialEncrypted=cred"), "{outside}");
    }

    #[test]
    fn huge_files_are_no_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, &vec![b'x'; 64 * 1024 + 1], 0o600);
        let refused = private_key(&path, None).unwrap_err().to_string();
        assert!(refused.contains("that is no key"), "{refused}");
    }

    #[test]
    fn keys_of_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"x", 0o600);
        let opened = path.metadata().unwrap();
        assert!(check_access(&path, &opened, Access::Private).is_ok());
        // Root can give a file away, and this is what it looks like then; everybody else finds one that root owns.
        let foreign = match std::os::unix::fs::chown(&path, Some(65534), None) {
            Ok(()) => path.metadata().unwrap(),
            Err(_) => Path::new("/etc/passwd").metadata().unwrap(),
        };
        let refused = check_access(&path, &foreign, Access::Private).unwrap_err().to_string();
        assert!(refused.contains("run: chown "), "{refused}");
    }
}
