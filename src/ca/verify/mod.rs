//! The one verifier of certificates shown to us. russh has checked the proof of possession, the certificate's own
//! signature and (one second too kindly) its window; everything else, CA, type, window, principals, options and key
//! kinds, is judged here, in one place, for every door. Pure. Whether the sign-in behind it still lives is asked by
//! `flow::recognise`.

use std::net::IpAddr;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Certificate, HashAlg, PublicKey};

use super::draft::{BACKDATE, EXTENSION_SIGN_IN, OPTION_SOURCE, PRINCIPALS_MAX, USER_LIFE_MAX};
use super::subject_key::{self, SubjectKeyRefused};
use crate::ids::SignInId;
use crate::names::LoginName;
use crate::net;
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

fn refuse<T>(code: &'static str, reason: impl Into<String>) -> Result<T, CertificateRefused> {
    Err(CertificateRefused { code, reason: reason.into() })
}

/// Proof: our user CA said this, and it holds now. Made by [`verify_user`] only.
#[derive(Clone, Debug)]
pub struct VerifiedCertificate {
    serial: u64,
    key_id: String,
    sign_in: SignInId,
    principals: Vec<LoginName>,
    key_fingerprint: String,
    valid_before: Timestamp,
}

impl VerifiedCertificate {
    /// Serial.
    pub fn serial(&self) -> u64 {
        self.serial
    }
    /// Key id.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
    /// The sign-in it was issued under.
    pub fn sign_in(&self) -> &SignInId {
        &self.sign_in
    }
    /// The logins it names. Never empty.
    pub fn principals(&self) -> &[LoginName] {
        &self.principals
    }
    /// SHA-256 fingerprint of the certified key, `SHA256:...`.
    pub fn key_fingerprint(&self) -> &str {
        &self.key_fingerprint
    }
    /// First instant it is no longer valid.
    pub fn valid_before(&self) -> Timestamp {
        self.valid_before
    }
}

/// Judges a certificate shown by a client at `from`. The first thing wrong gives the code; who signed comes first,
/// because until that is settled the rest is the claim of a stranger.
pub fn verify_user(
    certificate: &Certificate,
    user_ca: &PublicKey,
    from: IpAddr,
    now: Timestamp,
) -> Result<VerifiedCertificate, CertificateRefused> {
    check_origin(certificate, user_ca, CertType::User)?;
    check_window(certificate, now)?;
    let life_max = (USER_LIFE_MAX + BACKDATE).as_secs();
    let life = certificate.valid_before().saturating_sub(certificate.valid_after());
    if life > life_max {
        return refuse(
            "too-long",
            format!("the certificate is made for {life} s; at most {life_max} s are accepted"),
        );
    }
    let principals = logins(certificate)?;
    check_user_options(certificate, from)?;
    let sign_in = sign_in(certificate)?;
    Ok(VerifiedCertificate {
        serial: certificate.serial(),
        key_id: certificate.key_id().to_owned(),
        sign_in,
        principals,
        key_fingerprint: certificate.public_key().fingerprint(HashAlg::Sha256).to_string(),
        valid_before: Timestamp::from_secs(certificate.valid_before()),
    })
}

/// Judges a host certificate shown by a target: our host CA, type host, window, `name` among the principals (compared
/// literally: a wildcard in a certificate matches nothing here), no critical option at all.
pub fn verify_host(
    certificate: &Certificate,
    host_ca: &PublicKey,
    name: &str,
    now: Timestamp,
) -> Result<(), CertificateRefused> {
    check_origin(certificate, host_ca, CertType::Host)?;
    check_window(certificate, now)?;
    if certificate.valid_principals().is_empty() {
        return refuse("no-principals", "the host certificate names no host");
    }
    if !certificate.valid_principals().iter().any(|principal| principal == name) {
        return refuse(
            "bad-principal",
            format!(
                "the host certificate is for {}, not for {name:?}",
                quoted(certificate.valid_principals())
            ),
        );
    }
    match certificate.critical_options().keys().next() {
        Some(option) => refuse(
            "unknown-critical-option",
            format!("the host certificate has the critical option {}, and may have none", shown(option)),
        ),
        None => Ok(()),
    }
}

/// Whose certificate, of which type, for a sound key, and whether the signature holds.
pub(super) fn check_origin(
    certificate: &Certificate,
    ca: &PublicKey,
    kind: CertType,
) -> Result<(), CertificateRefused> {
    let signed_by = certificate.signature_key();
    // Before anything else looks at that key: a certificate as CA key was Teleport's CVE-2025-49825.
    if !matches!(signed_by, KeyData::Ed25519(_)) {
        if subject_key::check(signed_by) == Err(SubjectKeyRefused::Nested) {
            return refuse("nested-key", "the certificate is signed by a key that is itself a certificate");
        }
        return refuse(
            "wrong-ca",
            format!("the certificate is signed by a key of type {}", signed_by.algorithm()),
        );
    }
    if !subject_key::is_ca_kind(ca.key_data()) || signed_by != ca.key_data() {
        let fingerprint = signed_by.fingerprint(HashAlg::Sha256);
        return refuse(
            "wrong-ca",
            format!("the certificate is signed by {fingerprint}, which is not our CA"),
        );
    }
    match subject_key::check(certificate.public_key()) {
        Ok(()) => {}
        Err(refused @ SubjectKeyRefused::Nested) => return refuse("nested-key", refused.to_string()),
        Err(refused @ SubjectKeyRefused::Weak(_)) => return refuse("weak-key", refused.to_string()),
    }
    // The library's window check is satisfied by asking about the first second; ours follows in `check_window`. With an
    // empty window it would answer the same as for a bad signature, so that case goes there, where it is refused.
    let begins = certificate.valid_after();
    let our_ca = ca.fingerprint(HashAlg::Sha256);
    if begins < certificate.valid_before() && certificate.validate_at(begins, [&our_ca]).is_err() {
        return refuse("bad-signature", "the certificate's signature does not hold");
    }
    if certificate.cert_type() != kind {
        let (is, wanted) = match kind {
            CertType::User => ("host", "user"),
            CertType::Host => ("user", "host"),
        };
        return refuse("wrong-type", format!("this is a {is} certificate; a {wanted} certificate is needed"));
    }
    Ok(())
}

/// PROTOCOL.certkeys: `valid_after <= now < valid_before`. russh also accepts the second that is `valid_before`.
fn check_window(certificate: &Certificate, now: Timestamp) -> Result<(), CertificateRefused> {
    let now_secs = now.as_secs();
    if now_secs >= certificate.valid_before() {
        let ended = Timestamp::from_secs(certificate.valid_before());
        return refuse("expired", format!("the certificate expired at {ended}"));
    }
    if now_secs < certificate.valid_after() {
        let begins = Timestamp::from_secs(certificate.valid_after());
        return refuse(
            "not-yet-valid",
            format!("the certificate is valid from {begins}; are the clocks right?"),
        );
    }
    Ok(())
}

fn logins(certificate: &Certificate) -> Result<Vec<LoginName>, CertificateRefused> {
    let names = certificate.valid_principals();
    if names.is_empty() {
        return refuse("no-principals", "the certificate names no login");
    }
    if names.len() > PRINCIPALS_MAX {
        let count = names.len();
        return refuse(
            "bad-principal",
            format!("the certificate names {count} logins (at most {PRINCIPALS_MAX})"),
        );
    }
    names
        .iter()
        .map(|name| {
            name.parse().or_else(|_| {
                refuse(
                    "bad-principal",
                    format!("the certificate names {}, which is not a login", shown(name)),
                )
            })
        })
        .collect()
}

/// `source-address` is the only critical option we know. `force-command` and `verify-required` are known to OpenSSH,
/// but nothing here would enforce them, so they are unknown. Duplicates do not reach us: the decoder of ssh-key wants
/// names in strictly rising order.
fn check_user_options(certificate: &Certificate, from: IpAddr) -> Result<(), CertificateRefused> {
    for (name, value) in certificate.critical_options().iter() {
        if name != OPTION_SOURCE {
            return refuse(
                "unknown-critical-option",
                format!("the certificate has the critical option {}", shown(name)),
            );
        }
        match net::list_contains(value, from) {
            Some(true) => {}
            Some(false) => {
                let from = from.to_canonical();
                return refuse(
                    "source-address",
                    format!("the certificate is for {}, and you come from {from}", shown(value)),
                );
            }
            None => {
                return refuse(
                    "source-address",
                    format!("the certificate's address list is malformed: {}", shown(value)),
                );
            }
        }
    }
    Ok(())
}

fn sign_in(certificate: &Certificate) -> Result<SignInId, CertificateRefused> {
    let Some(text) = certificate.extensions().get(EXTENSION_SIGN_IN) else {
        return refuse("no-sign-in", format!("the certificate has no extension {EXTENSION_SIGN_IN}"));
    };
    text.parse().or_else(|_| refuse("no-sign-in", format!("the certificate's sign-in is {}", shown(text))))
}

/// Text out of a certificate, for a sentence: quoted, escaped, not endless.
fn shown(text: &str) -> String {
    let head: String = text.chars().take(64).collect();
    format!("{head:?}")
}

fn quoted(names: &[String]) -> String {
    let mut text = names.iter().take(4).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    if names.len() > 4 {
        text.push_str(", ...");
    }
    text
}

#[cfg(test)]
mod tests;
