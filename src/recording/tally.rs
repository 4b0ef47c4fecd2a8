//! How long a file is and what its SHA-256 is, kept while it is written or read. Pure.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::budget::hex;

/// A file as far as it goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    bytes: u64,
    hash: Sha256,
}

/// What is said of a file: its name, and what it has up to here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of these bytes, in hex.
    pub sha256: String,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn sum(&self, name: &str) -> Sum {
        Sum { name: name.to_owned(), bytes: self.bytes, sha256: hex(self.hash.clone()) }
    }
}

/// SHA-256 of `bytes` in hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}
