//! What a provider tells unasked: logout tokens, whose signature is verified here with the provider's keys. What they must
//! say is `identity::logout`'s matter.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::made_by;
use super::{Known, Oidc, OidcError};
use crate::config;
use crate::identity::claims::{TokenRefused, check_shape};
use crate::identity::logout::{self, LogoutToken};
use crate::time::Timestamp;

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
        let holds = |known: &Known| {
            let keys = known.value.jwks();
            made_by(keys, &header.algorithm, header.key_id.as_deref(), signed, &signature)
        };
        if !holds(&known) {
            // The provider may have changed its keys since we asked. How often strangers can make us ask is bounded there.
            let newer = source.known(provider, now, Some(&known)).await?;
            if Arc::ptr_eq(&newer, &known) || !holds(&newer) {
                return Err(
                    TokenRefused::new("signature", "no key of the provider made this signature").into()
                );
            }
        }
        Ok(logout::check(&payload, provider, now)?)
    }
}
