//! The certificate authorities: drafts, and the one holder of keys that signs them.
//!
//! `draft` is pure: what a certificate will say. `signer` takes drafts (never bytes), checks the hard caps once more
//! and is the only holder of CA keys. `verify` is the one verifier of certificates shown to us.

pub mod draft;
pub mod init;
pub mod signer;
pub mod verify;

pub use draft::{Draft, DraftError};
pub use signer::{Authority, Signer, SignerError};
pub use verify::{CertificateRefused, VerifiedCertificate};
