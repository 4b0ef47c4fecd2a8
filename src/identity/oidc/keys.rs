//! Signatures of tokens under the keys of whoever issued them.

use openidconnect::core::{CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKey as _, JsonWebKeyAlgorithm, JsonWebKeyUse as _, JwsSigningAlgorithm as _};

use super::algorithm;

/// Most keys that are tried for a token that does not name its key.
const KEYS_TRIED_MAX: usize = 16;

/// Whether one of the keys made the signature: a signing key, of the right kind, for this algorithm (an asymmetric one, by its
/// name in RFC 7518), with the id that the token names.
pub(super) fn made_by(
    keys: &CoreJsonWebKeySet,
    algorithm_name: &str,
    key_id: Option<&str>,
    signed: &str,
    signature: &[u8],
) -> bool {
    let Some(algorithm): Option<CoreJwsSigningAlgorithm> = algorithm(algorithm_name) else { return false };
    let fitting = keys.keys().iter().filter(|key| {
        let right_id = key_id.is_none_or(|id| key.key_id().is_some_and(|own| **own == *id));
        let for_signing = key.key_use().is_none_or(|purpose| purpose.allows_signature());
        let right_algorithm = match key.signing_alg() {
            JsonWebKeyAlgorithm::Algorithm(own) => *own == algorithm,
            JsonWebKeyAlgorithm::Unspecified => true,
            JsonWebKeyAlgorithm::Unsupported => false,
        };
        right_id && for_signing && right_algorithm && algorithm.key_type().as_ref() == Some(key.key_type())
    });
    fitting
        .take(KEYS_TRIED_MAX)
        .any(|key| key.verify_signature(&algorithm, signed.as_bytes(), signature).is_ok())
}
