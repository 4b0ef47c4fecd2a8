//! OpenSSH's key revocation lists (PROTOCOL.krl): which keys and certificates are not to be accepted any more, in the
//! file format that sshd reads by itself (`RevokedKeys`). Pure: says what a list holds, writes it (`write`) and reads it
//! back (`read`). What is revoked, and who may see the list, is decided by the flows.

mod read;
mod wire;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Certificate, PublicKey};
use sha2::{Digest as _, Sha256};

/// Longest key id that a list takes, in bytes.
pub const KEY_ID_BYTES_MAX: usize = super::draft::KEY_ID_BYTES_MAX;

/// Why something cannot stand in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KrlRefused {
    /// sshd takes a list with serial 0 for broken, and then refuses every key.
    #[error("serial 0 cannot be revoked: it is what certificates have that were given none")]
    SerialZero,
    /// A range whose end is before its start.
    #[error("a range of serials ends before it begins")]
    Backwards,
    /// A key id that is empty, too long, or has a NUL in it.
    #[error("a key id to be revoked is empty, longer than 512 bytes, or has a NUL character")]
    KeyId,
    /// A key that cannot be written.
    #[error("a key to be revoked cannot be written down")]
    Key,
}

/// Bytes that are no list that we know: what is wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key revocation list that can be read: {0}")]
pub struct KrlUnreadable(pub(super) &'static str);

/// A list. What it says about a key or certificate is what sshd says by the same list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Krl {
    /// Rises with every list of the same publisher.
    pub version: u64,
    /// When it was made, in seconds since the epoch.
    pub generated: u64,
    /// For people.
    pub comment: String,
    /// By the public key (as blob) of the authority; an empty blob stands for every authority.
    certificates: BTreeMap<Vec<u8>, OfAuthority>,
    /// Public keys as blobs.
    keys: BTreeSet<Vec<u8>>,
    /// SHA-256 of public keys.
    fingerprints: BTreeSet<[u8; 32]>,
}

/// What is revoked of one authority's certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfAuthority {
    serials: Serials,
    key_ids: BTreeSet<String>,
}

/// A set of serials, as ranges that neither overlap nor touch: first to last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Serials(BTreeMap<u64, u64>);

impl Serials {
    fn contains(&self, serial: u64) -> bool {
        self.0.range(..=serial).next_back().is_some_and(|(_, last)| serial <= *last)
    }

    fn insert(&mut self, mut first: u64, mut last: u64) {
        while let Some((from, to)) =
            self.0.range(..=last.saturating_add(1)).next_back().map(|(a, b)| (*a, *b))
            && to.saturating_add(1) >= first
        {
            self.0.remove(&from);
            first = first.min(from);
            last = last.max(to);
        }
        self.0.insert(first, last);
    }
}

impl Krl {
    /// An empty list.
    pub fn new(version: u64, generated: u64, comment: impl Into<String>) -> Self {
        Self { version, generated, comment: comment.into(), ..Self::default() }
    }

    /// Revokes the certificates that `ca` signed with these serials.
    pub fn revoke_serials(&mut self, ca: &KeyData, first: u64, last: u64) -> Result<(), KrlRefused> {
        if first == 0 {
            return Err(KrlRefused::SerialZero);
        }
        if first > last {
            return Err(KrlRefused::Backwards);
        }
        self.of(blob(ca)?).serials.insert(first, last);
        Ok(())
    }

    /// Revokes the certificates that `ca` signed with exactly this key id.
    pub fn revoke_key_id(&mut self, ca: &KeyData, key_id: &str) -> Result<(), KrlRefused> {
        if key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX || key_id.contains('\0') {
            return Err(KrlRefused::KeyId);
        }
        self.of(blob(ca)?).key_ids.insert(key_id.to_owned());
        Ok(())
    }

    /// Revokes a key: by itself, certified by anybody, and, when it is an authority's, all that it signed.
    pub fn revoke_key(&mut self, key: &KeyData) -> Result<(), KrlRefused> {
        self.keys.insert(blob(key)?);
        Ok(())
    }

    /// As [`Self::revoke_key`], for a key of which only the SHA-256 fingerprint is known.
    pub fn revoke_fingerprint(&mut self, sha256: [u8; 32]) {
        self.fingerprints.insert(sha256);
    }

    fn of(&mut self, ca: Vec<u8>) -> &mut OfAuthority {
        self.certificates.entry(ca).or_default()
    }

    /// Whether it revokes nothing.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.keys.is_empty() && self.fingerprints.is_empty()
    }

    /// Whether this plain key is revoked. A key that cannot be written down is.
    pub fn revokes_key(&self, key: &KeyData) -> bool {
        let Ok(blob) = blob(key) else { return true };
        self.fingerprints.contains(&<[u8; 32]>::from(Sha256::digest(&blob))) || self.keys.contains(&blob)
    }

    /// Whether this certificate is revoked: by its key, its serial, its key id or the key that signed it. sshd ignores
    /// serial 0, so it counts as none here too.
    pub fn revokes(&self, certificate: &Certificate) -> bool {
        let ca = certificate.signature_key();
        let Ok(ca_blob) = blob(ca) else { return true };
        self.revokes_key(certificate.public_key())
            || self.revokes_key(ca)
            || [Vec::new(), ca_blob].iter().filter_map(|ca| self.certificates.get(ca)).any(|of| {
                of.key_ids.contains(certificate.key_id())
                    || (certificate.serial() != 0 && of.serials.contains(certificate.serial()))
            })
    }
}

/// A plain public key as it stands on the wire (RFC 4253 section 6.6).
fn blob(key: &KeyData) -> Result<Vec<u8>, KrlRefused> {
    PublicKey::from(key.clone()).to_bytes().map_err(|_| KrlRefused::Key)
}

#[cfg(test)]
mod tests;
