//! Which public keys may stand in a certificate. Pure; asked before a certificate is drafted, again before it is
//! signed, and once more when one is shown to us, so that all three draw the same line.

use ed25519_dalek::VerifyingKey;
use russh::keys::ssh_key::public::{Ed25519PublicKey, KeyData, RsaPublicKey};

/// Smallest RSA modulus, in bits.
const RSA_BITS_MIN: usize = 2048;
/// Largest RSA modulus, in bits: verifying with larger ones is a way to burn our CPU before log-in.
const RSA_BITS_MAX: usize = 4096;

/// Why a key may not stand in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SubjectKeyRefused {
    /// The key is itself a certificate.
    #[error("the key is itself a certificate; give the plain public key")]
    Nested,
    /// The key is of a kind, or of a quality, that we do not certify.
    #[error("{0}")]
    Weak(String),
}

/// Accepts plain Ed25519, ECDSA on the three NIST curves, and RSA of 2048 to 4096 bits. Everything else is refused.
///
/// FIDO keys (`sk-...`) are refused for now. What they promise is a touch, and the touch is a flag inside the
/// signature: russh verifies that signature and does not hand the flag on, so here it cannot be told whether the key
/// was touched or whether malware on the laptop asked the token for a silent signature. Accepting them unchecked is
/// the mistake of CVE-2026-39831, so they wait until the flag can be seen.
pub(super) fn check(key: &KeyData) -> Result<(), SubjectKeyRefused> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is non_exhaustive: unknown kinds are refused"
    )]
    match key {
        KeyData::Ed25519(key) => check_ed25519(key),
        KeyData::Ecdsa(_) => Ok(()),
        KeyData::Rsa(key) => check_rsa(key),
        KeyData::Certificate(_) => Err(SubjectKeyRefused::Nested),
        KeyData::Other(key) if key.algorithm().as_str().contains("-cert-v") => Err(SubjectKeyRefused::Nested),
        KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => Err(SubjectKeyRefused::Weak(
            "security keys (sk-...) are not accepted yet, because the touch cannot be checked; \
             make a key with: ssh-keygen -t ed25519"
                .into(),
        )),
        other => Err(SubjectKeyRefused::Weak(format!(
            "keys of type {} are not accepted; make one with: ssh-keygen -t ed25519",
            other.algorithm()
        ))),
    }
}

/// Whether `key` is a plain Ed25519 key of full order, the only kind a CA key may be.
pub(super) fn is_ca_kind(key: &KeyData) -> bool {
    matches!(key, KeyData::Ed25519(point) if check_ed25519(point).is_ok())
}

/// A point of small order verifies signatures that anybody can write.
fn check_ed25519(key: &Ed25519PublicKey) -> Result<(), SubjectKeyRefused> {
    match VerifyingKey::from_bytes(&key.0) {
        Ok(point) if !point.is_weak() => Ok(()),
        Ok(_) | Err(_) => {
            Err(SubjectKeyRefused::Weak("the Ed25519 key is not a sound point on the curve".into()))
        }
    }
}

fn check_rsa(key: &RsaPublicKey) -> Result<(), SubjectKeyRefused> {
    let weak = |text: String| Err(SubjectKeyRefused::Weak(text));
    let (Some(modulus), Some(exponent)) = (key.n().as_positive_bytes(), key.e().as_positive_bytes()) else {
        return weak("the RSA key has a negative part".into());
    };
    // `RsaPublicKey::key_size` counts whole bytes: a modulus of 2041 bits would pass for 2048.
    let bits = bit_length(modulus);
    if bits < RSA_BITS_MIN {
        return weak(format!(
            "an RSA key of {bits} bits is too small (at least {RSA_BITS_MIN}); ssh-keygen -t ed25519 makes a good key"
        ));
    }
    if bits > RSA_BITS_MAX {
        return weak(format!(
            "an RSA key of {bits} bits is too large (at most {RSA_BITS_MAX}); ssh-keygen -t ed25519 makes a good key"
        ));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|b| b & 1 == 1);
    // An exponent of 1 makes every signature its own message.
    let exponent_bits = bit_length(exponent);
    if !odd(modulus) || !odd(exponent) || !(2..=33).contains(&exponent_bits) {
        return weak("the RSA key is malformed".into());
    }
    Ok(())
}

fn bit_length(number: &[u8]) -> usize {
    let significant: &[u8] = {
        let zeros = number.iter().take_while(|b| **b == 0).count();
        number.get(zeros..).unwrap_or_default()
    };
    match significant.first() {
        Some(first) => significant.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::Mpint;
    use russh::keys::ssh_key::public::{DsaPublicKey, OpaquePublicKey, SkEd25519};
    use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};

    use super::*;
    use crate::random::Random;

    fn rsa(bits: usize, exponent: &[u8]) -> KeyData {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] = 0xff >> (modulus.len() * 8 - bits);
        let n = Mpint::from_positive_bytes(&modulus);
        KeyData::Rsa(RsaPublicKey::new(Mpint::from_positive_bytes(exponent), n).unwrap())
    }

    fn made(algorithm: Algorithm) -> KeyData {
        let key = Random::seeded(1).with(|rng| PrivateKey::random(rng, algorithm)).unwrap();
        key.public_key().key_data().clone()
    }

    fn point(first: u8) -> KeyData {
        let mut bytes = [0; 32];
        bytes[0] = first;
        KeyData::Ed25519(Ed25519PublicKey(bytes))
    }

    #[test]
    fn kinds_and_sizes() {
        const F4: &[u8] = &[1, 0, 1];
        let mpint = || Mpint::from_positive_bytes(&[7]);
        let dsa = DsaPublicKey::new(mpint(), mpint(), mpint(), mpint()).unwrap();
        let sk = SkEd25519::new(Ed25519PublicKey([9; 32]), "ssh:");
        let other =
            |name: &str| KeyData::Other(OpaquePublicKey::new(vec![1, 2], Algorithm::new(name).unwrap()));
        let rows: &[(KeyData, &str)] = &[
            (made(Algorithm::Ed25519), "ok"),
            (made(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }), "ok"),
            (made(Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 }), "ok"),
            (made(Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 }), "ok"),
            (rsa(2048, F4), "ok"),
            (rsa(4096, F4), "ok"),
            (rsa(2047, F4), "2047 bits is too small"),
            (rsa(2041, F4), "2041 bits is too small"),
            (rsa(4097, F4), "4097 bits is too large"),
            (rsa(16384, F4), "16384 bits is too large"),
            (rsa(3072, &[1]), "malformed"),
            (rsa(3072, &[1, 0, 0]), "malformed"),
            (rsa(3072, &[1; 100]), "malformed"),
            (KeyData::Dsa(dsa), "ssh-dss are not accepted"),
            (KeyData::SkEd25519(sk), "touch"),
            // The neutral element and the point of order two.
            (point(1), "not a sound point"),
            (point(0), "not a sound point"),
            // Not on the curve at all.
            (point(2), "not a sound point"),
            (other("ssh-ed25519-cert-v01@openssh.com"), "itself a certificate"),
            (other("made-up@example.com"), "are not accepted"),
        ];
        for (key, expect) in rows {
            let got = check(key).map_or_else(|refused| refused.to_string(), |()| "ok".into());
            assert!(got.contains(expect), "{}: {got} (expected {expect})", key.algorithm());
        }
    }
}
