//! The certificate authorities: drafts, and the one holder of keys that signs them.
//!
//! `draft` is pure: what a certificate will say. `signer` takes drafts (never bytes), checks the hard caps once more
//! and is the only holder of CA keys. `verify` is the one verifier of certificates shown to us. `subject_key` says
//! which keys may stand in certificates; `krl` are the lists of what is revoked; both are pure. `key_file` and `agent` are
//! the two ways to the private keys, `init` makes them.

mod agent;
pub mod draft;
pub mod init;
mod key_file;
pub mod krl;
pub mod signer;
mod subject_key;
pub mod verify;

use russh::keys::ssh_key::PublicKey;

pub use draft::{Draft, DraftError, Permissions};
pub use key_file::{passphrase, quoted};
pub use signer::{Authority, Signer, SignerError};
pub use verify::{CertificateRefused, VerifiedCertificate};

/// Whether a key is of a kind and quality that may stand in a certificate; the text says why not.
pub fn check_key(key: &PublicKey) -> Result<(), String> {
    subject_key::check(key.key_data()).map_err(|refused| refused.to_string())
}
