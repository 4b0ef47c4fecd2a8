//! The one verifier of user certificates shown to us. russh has checked the proof of possession and the certificate's
//! own signature; CA, type, window, principals, options, key kinds are judged here, in one place, for every door.

use std::net::IpAddr;

use russh::keys::ssh_key::{Certificate, PublicKey};

use crate::ids::SignInId;
use crate::names::LoginName;
use crate::time::Timestamp;

/// Why a certificate is refused: a stable word for the audit and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CertificateRefused {
    /// `expired`, `not-yet-valid`, `wrong-ca`, `wrong-type`, `no-principals`, `bad-principal`, `unknown-critical-option`, `source-address`,
    /// `nested-key`, `weak-key`, `no-sign-in`, `too-long`, `bad-signature`.
    pub code: &'static str,
    /// The sentence.
    pub reason: String,
}

/// Proof: our user CA said this, and it holds now. Made by [`verify_user`] only.
#[derive(Clone, Debug)]
pub struct VerifiedCertificate {
    // private fields
}

impl VerifiedCertificate {
    /// Serial.
    pub fn serial(&self) -> u64 {
        unimplemented!()
    }
    /// Key id.
    pub fn key_id(&self) -> &str {
        unimplemented!()
    }
    /// The sign-in it was issued under.
    pub fn sign_in(&self) -> &SignInId {
        unimplemented!()
    }
    /// The logins it names. Never empty.
    pub fn principals(&self) -> &[LoginName] {
        unimplemented!()
    }
    /// SHA-256 fingerprint of the certified key, `SHA256:...`.
    pub fn key_fingerprint(&self) -> &str {
        unimplemented!()
    }
    /// First instant it is no longer valid.
    pub fn valid_before(&self) -> Timestamp {
        unimplemented!()
    }
}

/// Judges a certificate shown by a client at `from`.
pub fn verify_user(
    certificate: &Certificate,
    user_ca: &PublicKey,
    from: IpAddr,
    now: Timestamp,
) -> Result<VerifiedCertificate, CertificateRefused> {
    let _ = (certificate, user_ca, from, now);
    unimplemented!()
}

/// Judges a host certificate shown by a target: our host CA, type host, window, `name` among the principals, no critical option at all.
pub fn verify_host(
    certificate: &Certificate,
    host_ca: &PublicKey,
    name: &str,
    now: Timestamp,
) -> Result<(), CertificateRefused> {
    let _ = (certificate, host_ca, name, now);
    unimplemented!()
}
