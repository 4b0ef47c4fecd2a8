//! Keys under which the store keeps what a reader of the database must not have, and sealing with them: AES-256-GCM with
//! a random nonce, bound to a purpose, so that what was sealed for one row opens in no other. What is sealed, and what
//! follows when it does not open, is left to others.
//!
//! A keyring is text: one key a line, 32 bytes in base64 (`openssl rand -base64 32`). The first key seals, all of them
//! open; so a key is rotated by writing a new line above it, and taken away once nothing is sealed under it any more.

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Secret;
use crate::random::Random;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Most keys that one ring holds.
const KEYS_MAX: usize = 16;
/// Longest text of a ring, in bytes.
const TEXT_MAX: u64 = 4096;
/// Longest secret that is sealed, in bytes: tokens of providers that write much into them have some thousands.
const PLAIN_MAX: usize = 16 * 1024;

/// A text that is no keyring. It never shows what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// No key in it.
    #[error("there is no key: write one line, made by `openssl rand -base64 32`")]
    None,
    /// Too many.
    #[error("there are more than {KEYS_MAX} keys: take those away that seal nothing any more")]
    TooMany,
    /// A line is no key.
    #[error("line {0} is not a key of 32 bytes in base64; make one by `openssl rand -base64 32`")]
    Line(usize),
    /// A key stands twice.
    #[error("line {0} repeats a key")]
    Twice(usize),
}

/// Why the key file of this server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or made.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// Others can read it.
    #[error("{0} can be read by others (mode {1:03o}): chmod 600 {0}")]
    Open(String, u32),
    /// It holds something else.
    #[error("{0}: {1}")]
    Keys(String, BadKeys),
}

/// A secret could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is over {PLAIN_MAX} bytes and is not kept")]
pub struct SealFailed;

/// Why something sealed does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was sealed under a key that this ring does not have.
    #[error(
        "it is sealed under the key {wanted}, and this server has {have}: servers that share a database need the same \
         key file (sign_in.key_file)"
    )]
    OtherKey {
        /// Id of the key.
        wanted: String,
        /// Ids of ours.
        have: String,
    },
    /// It was changed, or belongs to another row.
    #[error("it was altered, or taken from another row")]
    Altered,
}

/// Something sealed, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Id of the key.
    pub key_id: String,
    /// Nonce, ciphertext and tag in base64.
    pub text: String,
}

/// The keys. Cheap to clone; wiped with the last clone.
#[derive(Clone)]
pub struct Keyring(Arc<[Key]>);

struct Key {
    /// Tells keys apart; nothing of the key can be computed from it.
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl Keyring {
    /// Reads a ring: one key a line; lines that begin with `#` and empty ones do not count.
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).ok_or(BadKeys::Line(index + 1))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(BadKeys::Twice(index + 1));
            }
            if keys.len() >= KEYS_MAX {
                return Err(BadKeys::TooMany);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(BadKeys::None) } else { Ok(Self(keys.into())) }
    }

    /// The ring in the file at `path`, which is made (0600, one fresh key) if it is not there. Blocks.
    pub fn at(path: &Path, random: &Random) -> Result<Self, KeyFileError> {
        let shown = path.display().to_string();
        let failed = |error| KeyFileError::Io(shown.clone(), error);
        if path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            make(path, random).map_err(failed)?;
        }
        let file = std::fs::File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.mode() & 0o077 != 0 {
            return Err(KeyFileError::Open(shown, meta.mode() & 0o777));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(TEXT_MAX).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text).map_err(|bad| KeyFileError::Keys(shown, bad))
    }

    /// Ids of the keys, the one that seals first.
    pub fn ids(&self) -> Vec<&str> {
        self.0.iter().map(|key| key.id.as_str()).collect()
    }

    /// Whether this was sealed under the key that seals now.
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        self.0.first().is_some_and(|key| key.id == sealed.key_id)
    }

    /// Seals `plain` for `purpose` (the id of the row, with what it is).
    pub fn seal(&self, purpose: &str, plain: &Secret<String>, random: &Random) -> Result<Sealed, SealFailed> {
        let key = self.0.first().ok_or(SealFailed)?;
        if plain.expose().len() > PLAIN_MAX {
            return Err(SealFailed);
        }
        let nonce = random.bytes::<NONCE_BYTES>();
        let bound = bound(&key.id, purpose);
        let payload = Payload { msg: plain.expose().as_bytes(), aad: bound.as_bytes() };
        let sealed = key.cipher().encrypt(&Nonce::from(nonce), payload).map_err(|_| SealFailed)?;
        Ok(Sealed { key_id: key.id.clone(), text: STANDARD_NO_PAD.encode([&nonce[..], &sealed].concat()) })
    }

    /// Opens what was sealed for `purpose`.
    pub fn open(&self, purpose: &str, sealed: &Sealed) -> Result<Secret<String>, OpenError> {
        let key = self.0.iter().find(|key| key.id == sealed.key_id).ok_or_else(|| OpenError::OtherKey {
            wanted: sealed.key_id.clone(),
            have: self.ids().join(", "),
        })?;
        let bytes = STANDARD_NO_PAD.decode(&sealed.text).map_err(|_| OpenError::Altered)?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Altered)?;
        let bound = bound(&key.id, purpose);
        let payload = Payload { msg: rest, aad: bound.as_bytes() };
        let plain = key.cipher().decrypt(&Nonce::from(*nonce), payload).map_err(|_| OpenError::Altered)?;
        match String::from_utf8(plain) {
            Ok(text) => Ok(Secret::new(text)),
            Err(not_text) => {
                drop(Zeroizing::new(not_text.into_bytes()));
                Err(OpenError::Altered)
            }
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys {}", self.ids().join(", "))
    }
}

impl Key {
    fn parse(line: &str) -> Option<Self> {
        let decoded = Zeroizing::new(STANDARD.decode(line).or_else(|_| STANDARD_NO_PAD.decode(line)).ok()?);
        let bytes: [u8; KEY_BYTES] = decoded.as_slice().try_into().ok()?;
        let mut hash = Sha256::new();
        hash.update("caponier key id\n");
        hash.update(bytes);
        let id = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        Some(Self { id, bytes: Zeroizing::new(bytes) })
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.bytes).into())
    }
}

/// The associated data: what else the tag vouches for.
fn bound(key_id: &str, purpose: &str) -> String {
    format!("caponier sealed v1\n{key_id}\n{purpose}")
}

/// Writes a fresh key beside the place and links it there, so that nobody sees half a file and of two processes that
/// start at once one key remains.
fn make(path: &Path, random: &Random) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{:016x}", random.u64()));
    let beside = Path::new(&beside);
    let bytes = Zeroizing::new(random.bytes::<KEY_BYTES>());
    let line = Zeroizing::new(format!("{}\n", STANDARD.encode(bytes.as_slice())));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match std::fs::hard_link(beside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    std::fs::remove_file(beside)?;
    linked
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const B: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn ring(text: &str) -> Keyring {
        Keyring::parse(text).unwrap()
    }

    fn secret() -> Secret<String> {
        Secret::new("a-refresh-token".to_owned())
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_only() {
        let random = Random::seeded(1);
        let ring = ring(A);
        let sealed = ring.seal("sgn_1", &secret(), &random).unwrap();
        assert!(!sealed.text.contains("refresh"));
        assert_eq!(ring.open("sgn_1", &sealed).unwrap().expose(), "a-refresh-token");
        assert_eq!(ring.open("sgn_2", &sealed).unwrap_err(), OpenError::Altered, "another row");
        let again = ring.seal("sgn_1", &secret(), &random).unwrap();
        assert_ne!(again, sealed, "never the same nonce twice");
        let bytes = STANDARD_NO_PAD.decode(&sealed.text).unwrap();
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 1;
            let bent = Sealed { text: STANDARD_NO_PAD.encode(&bent), ..sealed.clone() };
            assert_eq!(ring.open("sgn_1", &bent).unwrap_err(), OpenError::Altered, "byte {at}");
        }
        for text in ["", "!", "AAAA", &sealed.text[..20]] {
            let cut = Sealed { text: text.to_owned(), ..sealed.clone() };
            assert_eq!(ring.open("sgn_1", &cut).unwrap_err(), OpenError::Altered, "{text:?}");
        }
        assert_eq!(ring.seal("x", &Secret::new("x".repeat(PLAIN_MAX + 1)), &random), Err(SealFailed));
    }

    #[test]
    fn keys_are_rotated_and_other_keys_are_named() {
        let random = Random::seeded(1);
        let old = ring(A).seal("sgn_1", &secret(), &random).unwrap();
        let both = ring(&format!("# the new one\n{B}\n\n{A}\n"));
        assert_eq!(both.open("sgn_1", &old).unwrap().expose(), "a-refresh-token");
        assert!(!both.is_current(&old));
        let new = both.seal("sgn_1", &secret(), &random).unwrap();
        assert!(both.is_current(&new) && ring(B).is_current(&new));
        let refused = ring(A).open("sgn_1", &new).unwrap_err();
        assert!(matches!(&refused, OpenError::OtherKey { .. }));
        for part in [ring(A).ids()[0], ring(B).ids()[0], "sign_in.key_file"] {
            assert!(refused.to_string().contains(part), "{refused}");
        }
        // The id of one key on what another sealed.
        let lied = Sealed { key_id: ring(A).ids()[0].to_owned(), ..new };
        assert_eq!(both.open("sgn_1", &lied).unwrap_err(), OpenError::Altered);
        assert!(!format!("{both:?}").contains("AAAA"));
    }

    #[test]
    fn texts_that_are_no_keyring() {
        let many: String = (0..17).map(|n| format!("{}\n", STANDARD.encode([n; 32]))).collect();
        for (text, expect) in [
            ("", BadKeys::None),
            ("# nothing\n", BadKeys::None),
            ("secret", BadKeys::Line(1)),
            (&format!("{A}\nAAAA\n"), BadKeys::Line(2)),
            (&format!("{A}\n{A}\n"), BadKeys::Twice(2)),
            (&many, BadKeys::TooMany),
        ] {
            let refused = Keyring::parse(text).unwrap_err();
            assert_eq!(refused, expect);
            assert!(!refused.to_string().contains("secret"));
        }
    }

    #[test]
    fn the_servers_own_file_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state").join("keys");
        let ids = |ring: Keyring| ring.ids().iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let made: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> =
                (0..8).map(|_| scope.spawn(|| ids(Keyring::at(&path, &Random::System).unwrap()))).collect();
            started.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(made.iter().all(|one| *one == made[0]), "of eight that start at once one key remains");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = Keyring::at(&path, &Random::System).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }
}
