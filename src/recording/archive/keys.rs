//! Who can read an archive: public keys of age and of OpenSSH to encrypt to, and an auditor's private key to read it back.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use super::ArchiveError;

/// Longest file with a private key.
const IDENTITY_BYTES_MAX: u64 = 64 * 1024;

/// Public keys. Empty where nothing is encrypted.
#[derive(Clone, Default)]
pub(super) struct Recipients(Arc<[Recipient]>);

enum Recipient {
    Age(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
}

impl std::fmt::Debug for Recipients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipients({})", self.0.len())
    }
}

impl Recipients {
    /// Reads `age1...` and `ssh-ed25519 ...`.
    pub(super) fn read(keys: &[String]) -> Result<Self, ArchiveError> {
        let read = |key: &String| {
            if let Ok(found) = key.parse() {
                return Ok(Recipient::Age(found));
            }
            // age takes RSA as well; we do not, as nowhere else.
            match key.parse() {
                Ok(found) if key.starts_with("ssh-ed25519 ") => Ok(Recipient::Ssh(found)),
                Ok(_) | Err(_) => {
                    Err(ArchiveError::Keys(format!("{key:?} is no key of age or of type ssh-ed25519")))
                }
            }
        };
        Ok(Self(keys.iter().map(read).collect::<Result<_, _>>()?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What encrypts one file.
    pub(super) fn encryptor(&self) -> Result<age::Encryptor, ArchiveError> {
        let keys = self.0.iter().map(|one| match one {
            Recipient::Age(key) => key as &dyn age::Recipient,
            Recipient::Ssh(key) => key as &dyn age::Recipient,
        });
        age::Encryptor::with_recipients(keys).map_err(|error| ArchiveError::Keys(error.to_string()))
    }
}

/// An auditor's private key.
pub struct Identity(Vec<Box<dyn age::Identity + Send + Sync>>);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// Reads what `age-keygen` or `ssh-keygen` wrote. A key with a passphrase is refused: nothing here asks for one.
    pub fn read(path: &Path) -> Result<Self, ArchiveError> {
        let local = |error| ArchiveError::Local(path.to_owned(), error);
        let locked = |what: &str| ArchiveError::Locked(format!("{}: {what}", path.display()));
        let mut text = zeroize::Zeroizing::new(String::new());
        let file = File::open(path).map_err(local)?;
        BufReader::new(file).take(IDENTITY_BYTES_MAX).read_to_string(&mut text).map_err(local)?;
        if text.contains("-----BEGIN") {
            return match age::ssh::Identity::from_buffer(text.as_bytes(), None) {
                Ok(key @ age::ssh::Identity::Unencrypted(_)) => Ok(Self(vec![Box::new(key)])),
                Ok(age::ssh::Identity::Encrypted(_)) => Err(locked(
                    "the key has a passphrase; make a copy without (ssh-keygen -p -f COPY) and remove it afterwards",
                )),
                Ok(age::ssh::Identity::Unsupported(_)) | Err(_) => {
                    Err(locked("is no private key of type ssh-ed25519"))
                }
            };
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Result<Vec<age::x25519::Identity>, _> = lines.map(str::parse).collect();
        match keys {
            Ok(keys) if !keys.is_empty() => {
                Ok(Self(keys.into_iter().map(|key| Box::new(key) as _).collect()))
            }
            Ok(_) | Err(_) => Err(locked("is no private key of age or OpenSSH")),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|key| &**key as &dyn age::Identity)
    }
}
