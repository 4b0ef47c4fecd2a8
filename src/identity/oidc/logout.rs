//! What a provider tells unasked: logout tokens, whose signature is verified here with the provider's keys. What they must
//! say is `identity::logout`'s matter.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::CoreJwsSigningAlgorithm;
use openidconnect::{JsonWebKey as _, JsonWebKeyAlgorithm, JsonWebKeyUse as _, JwsSigningAlgorithm as _};

use super::{Known, Oidc, OidcError, algorithm};
use crate::config;
use crate::identity::claims::{TokenRefused, check_shape};
use crate::identity::logout::{self, Header, LogoutToken};
use crate::time::Timestamp;

/// Most keys that are tried for a token that does not name its key.
const KEYS_TRIED_MAX: usize = 16;

impl Oidc {
    /// Verifies a logout token of this provider. That it comes for the first time is not judged here.
    pub async fn logout(
        &self,
        provider: &config::Provider,
        token: &str,
        now: Timestamp,
    ) -> Result<LogoutToken, OidcError> {
        check_shape(token)?;
        let mut parts = token.splitn(3, '.').map(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let (Some(Some(header)), Some(Some(payload)), Some(Some(signature))) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenRefused::new("shape", "the token is not base64url").into());
        };
        let header = logout::check_header(&header, provider)?;
        let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
        let source = self.source(provider)?;
        let known = source.known(provider, now, None).await?;
        if !holds(&known, &header, signed, &signature) {
            // The provider may have changed its keys since we asked. How often strangers can make us ask is bounded there.
            let newer = source.known(provider, now, Some(&known)).await?;
            if Arc::ptr_eq(&newer, &known) || !holds(&newer, &header, signed, &signature) {
                return Err(
                    TokenRefused::new("signature", "no key of the provider made this signature").into()
                );
            }
        }
        Ok(logout::check(&payload, provider, now)?)
    }
}

/// Whether one of the provider's keys made the signature: a signing key, of the right kind, for this algorithm, with the
/// id that the token names.
fn holds(known: &Known, header: &Header, signed: &str, signature: &[u8]) -> bool {
    let Some(algorithm): Option<CoreJwsSigningAlgorithm> = algorithm(&header.algorithm) else { return false };
    let fitting = known.metadata.jwks().keys().iter().filter(|key| {
        let right_id = header.key_id.as_ref().is_none_or(|id| key.key_id().is_some_and(|own| **own == **id));
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
