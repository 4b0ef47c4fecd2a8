//! Judges user certificates on the client's side: whether one from the server is acceptable, and whether the one we
//! hold is still good. Trusting the CA is the bastion's matter; here it is only that the certificate is ours. Pure.

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::{Certificate, PublicKey};

use crate::time::Timestamp;

/// A certificate with less than this left is renewed (or with less than a third of its life, if that is shorter).
const MARGIN_SECS: u64 = 30;
/// How far the server's clock may be ahead of ours.
const SKEW_SECS: u64 = 120;

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// Cannot be read.
    #[error("the server's answer is not a certificate on one line")]
    Unreadable,
    /// A host certificate.
    #[error("the server sent a certificate that is not a user certificate")]
    NotUser,
    /// For somebody else's key.
    #[error("the server sent a certificate for another key")]
    OtherKey,
    /// Good for no login.
    #[error("the server sent a certificate without logins")]
    NoPrincipals,
    /// Its own signature is wrong.
    #[error("the server sent a certificate with a broken signature")]
    Signature,
    /// Not valid now, as far as this machine's clock knows.
    #[error(
        "the server's new certificate is valid from {from} until {until}, but this machine's clock says {now}; \
         set the clock"
    )]
    Window {
        /// Valid from.
        from: Timestamp,
        /// Valid until.
        until: Timestamp,
        /// Our clock.
        now: Timestamp,
    },
}

/// Judges a certificate the server sent for `key`.
pub fn accept(text: &str, key: &PublicKey, now: Timestamp) -> Result<Certificate, BadCertificate> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.chars().any(char::is_control) {
        return Err(BadCertificate::Unreadable);
    }
    let certificate = Certificate::from_openssh(text).map_err(|_| BadCertificate::Unreadable)?;
    if certificate.cert_type() != CertType::User {
        return Err(BadCertificate::NotUser);
    }
    if certificate.public_key() != key.key_data() {
        return Err(BadCertificate::OtherKey);
    }
    if certificate.valid_principals().is_empty() {
        return Err(BadCertificate::NoPrincipals);
    }
    certificate.verify_signature().map_err(|_| BadCertificate::Signature)?;
    let (from, until) = window(&certificate);
    if until <= now || from.as_secs() > now.as_secs().saturating_add(SKEW_SECS) {
        return Err(BadCertificate::Window { from, until, now });
    }
    Ok(certificate)
}

/// Whether the held certificate serves for some time yet, so that no renewal is needed.
pub fn is_fresh(certificate: &Certificate, key: &PublicKey, now: Timestamp) -> bool {
    let life = certificate.valid_before().saturating_sub(certificate.valid_after());
    let margin = MARGIN_SECS.min(life / 3);
    is_ours(certificate, key) && certificate.valid_before() > now.as_secs().saturating_add(margin)
}

/// Whether the held certificate works at this moment.
pub fn is_valid(certificate: &Certificate, key: &PublicKey, now: Timestamp) -> bool {
    is_ours(certificate, key) && certificate.valid_before() > now.as_secs()
}

fn is_ours(certificate: &Certificate, key: &PublicKey) -> bool {
    certificate.cert_type() == CertType::User
        && certificate.public_key() == key.key_data()
        && !certificate.valid_principals().is_empty()
}

/// From when until when it is valid.
pub fn window(certificate: &Certificate) -> (Timestamp, Timestamp) {
    (Timestamp::from_secs(certificate.valid_after()), Timestamp::from_secs(certificate.valid_before()))
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::{Algorithm, PrivateKey, certificate::Builder};

    use super::*;
    use crate::random::Random;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn key(seed: u64) -> PrivateKey {
        Random::seeded(seed).with(|mut rng| PrivateKey::random(&mut rng, Algorithm::Ed25519)).unwrap()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the client must refuse what our own authority never makes"
    )]
    fn make(kind: CertType, from: i64, until: i64, principals: &[&str]) -> Certificate {
        let at = |offset: i64| NOW.as_secs().checked_add_signed(offset).unwrap();
        let mut builder =
            Builder::new(vec![7; 16], key(1).public_key().key_data().clone(), at(from), at(until)).unwrap();
        builder.cert_type(kind).unwrap().serial(9).unwrap().key_id("k").unwrap();
        if principals.is_empty() {
            builder.all_principals_valid().unwrap();
        }
        for principal in principals {
            builder.valid_principal(*principal).unwrap();
        }
        builder.sign(&key(2)).unwrap()
    }

    #[test]
    fn acceptance() {
        let check = |certificate: &Certificate, expect: Option<BadCertificate>| {
            let text = certificate.to_openssh().unwrap();
            assert_eq!(accept(&text, key(1).public_key(), NOW).err(), expect);
        };
        let good = make(CertType::User, -60, 300, &["root"]);
        check(&good, None);
        check(&make(CertType::Host, -60, 300, &["root"]), Some(BadCertificate::NotUser));
        check(&make(CertType::User, -60, 300, &[]), Some(BadCertificate::NoPrincipals));
        let text = good.to_openssh().unwrap();
        assert_eq!(accept(&text, key(3).public_key(), NOW).err(), Some(BadCertificate::OtherKey));
        for (from, until) in [(-300, 0), (-300, -1), (121, 300)] {
            let odd = make(CertType::User, from, until, &["root"]).to_openssh().unwrap();
            let refused = accept(&odd, key(1).public_key(), NOW);
            assert!(matches!(refused, Err(BadCertificate::Window { .. })), "{from} {until}");
        }
        let two_lines = format!("{text}\n{text}");
        for bad in ["", "ssh-ed25519 AAAA", "nonsense", two_lines.as_str()] {
            assert_eq!(
                accept(bad, key(1).public_key(), NOW).err(),
                Some(BadCertificate::Unreadable),
                "{bad}"
            );
        }
        let mut bytes = good.to_bytes().unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let forged = Certificate::from_bytes(&bytes).unwrap().to_openssh().unwrap();
        assert_eq!(accept(&forged, key(1).public_key(), NOW).err(), Some(BadCertificate::Signature));
    }

    #[test]
    fn freshness() {
        let rows = [
            (-60, 300, true, true),
            (-60, 31, true, true),
            (-60, 30, false, true),
            (-60, 1, false, true),
            (-60, 0, false, false),
            (-60, -1, false, false),
            // Life of 30 s: a third is less than the margin.
            (-19, 11, true, true),
            (-20, 10, false, true),
        ];
        for (from, until, fresh, valid) in rows {
            let certificate = make(CertType::User, from, until, &["root"]);
            assert_eq!(is_fresh(&certificate, key(1).public_key(), NOW), fresh, "{from} {until}");
            assert_eq!(is_valid(&certificate, key(1).public_key(), NOW), valid, "{from} {until}");
            assert!(!is_fresh(&certificate, key(3).public_key(), NOW));
        }
        assert!(!is_fresh(&make(CertType::Host, -60, 300, &["root"]), key(1).public_key(), NOW));
    }
}
