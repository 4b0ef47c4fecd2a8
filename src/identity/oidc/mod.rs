//! OpenID Connect with the crate openidconnect: discovery, keys, leaving for the provider and verifying what comes
//! back. The only file that knows the crate. Which claims are believed is `claims`' matter; what follows from a
//! token is `flow::sign_in`'s. At sign-in only the ID token is read: no userinfo request is made, so a provider must put
//! the configured claims into the ID token. `refresh` asks again later, `logout` hears what a provider tells unasked.

mod fetch;
mod keys;
mod logout;
mod refresh;
mod remembered;
mod workload;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken,
    CoreIdTokenVerifier, CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, SignatureVerificationError, TokenResponse as _,
};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::claims::{self, NonceRule, TokenRefused, VerifiedToken};
use crate::config::{self, RefreshToken};
use crate::names::ProviderName;
use crate::secret::Secret;
use crate::time::Timestamp;
use fetch::Way;
use remembered::{Remembered, Told};

pub use refresh::{Kept, Refreshed, Verdict};
pub use workload::Issuers;

/// Why signing in with a provider does not go on.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The provider cannot be reached or does not answer as OpenID Connect says. Ours or theirs to repair.
    #[error("the identity provider does not answer as it should: {0}")]
    Provider(String),
    /// The token says something we do not believe.
    #[error("the identity provider's token was refused: {0}")]
    Token(#[from] TokenRefused),
    /// The configuration of the provider is wrong.
    #[error("the configuration of the identity provider is wrong: {0}")]
    Config(String),
}

/// The secrets of one trip to a provider. Derived from the browser's cookie and the `state` parameter, so that the
/// database holds neither, and so that a callback in another browser cannot even be computed.
pub struct Trip {
    state: String,
    nonce: String,
    verifier: String,
}

impl Trip {
    /// The trip with this `state` of this browser. Both must be unguessable.
    pub fn new(cookie: &str, state: &str) -> Self {
        let derive = |what: &str| {
            URL_SAFE_NO_PAD.encode(Sha256::digest(format!("caponier {what}\n{cookie}\n{state}")))
        };
        Self { state: state.to_owned(), nonce: derive("nonce"), verifier: derive("pkce") }
    }
}

/// What a trip brought back.
#[derive(Debug)]
pub struct Arrival {
    /// Who came.
    pub token: VerifiedToken,
    /// What is kept of the nonce, for tokens that come later.
    pub nonce_sha256: String,
    /// For asking again; none when the provider gave none, or none is wanted.
    pub refresh: Option<Secret<String>>,
}

/// What one provider told of itself.
type Known = Told<CoreProviderMetadata>;

struct Source {
    way: Way,
    memory: Remembered<CoreProviderMetadata>,
    quiet: refresh::Quiet,
}

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// The providers as far as they are known. Discovery happens at the first use of each.
#[derive(Default)]
pub struct Oidc {
    sources: Mutex<HashMap<ProviderName, Arc<Source>>>,
}

impl Oidc {
    /// The provider's address for a browser that begins `trip`; it comes back to `back`.
    pub async fn leave(
        &self,
        provider: &config::Provider,
        back: &Url,
        trip: &Trip,
        now: Timestamp,
    ) -> Result<Url, OidcError> {
        let source = self.source(provider)?;
        let known = source.known(provider, now, None).await?;
        let client = client(provider, &known, Some(back))?;
        let (state, nonce) = (trip.state.clone(), trip.nonce.clone());
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(trip.verifier.clone()));
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(provider.scopes.iter().filter(|s| *s != "openid").cloned().map(Scope::new))
            .set_pkce_challenge(challenge);
        if refresh::asks_for_offline_access(provider, &known.value) {
            request = request.add_scope(Scope::new(refresh::OFFLINE_ACCESS.to_owned()));
        }
        if provider.refresh_token == RefreshToken::Consent {
            request = request.add_prompt(CoreAuthPrompt::Consent);
        }
        let (url, _, _) = request.url();
        if source.way.allows(&url) {
            Ok(url)
        } else {
            Err(OidcError::Provider("its authorization endpoint is not an https address".into()))
        }
    }

    /// Exchanges the code that the provider sent back for `trip`, and verifies the ID token.
    pub async fn exchange(
        &self,
        provider: &config::Provider,
        back: &Url,
        code: &str,
        trip: &Trip,
        now: Timestamp,
    ) -> Result<Arrival, OidcError> {
        let source = self.source(provider)?;
        let known = source.known(provider, now, None).await?;
        let client = client(provider, &known, Some(back))?;
        let http = |request| source.way.clone().send_for_token(request);
        let answer = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|e| OidcError::Provider(e.to_string()))?
            .set_pkce_verifier(PkceCodeVerifier::new(trip.verifier.clone()))
            .request_async(&http)
            .await
            .map_err(|e| OidcError::Provider(causes(&e)))?;
        let token = answer
            .id_token()
            .ok_or_else(|| OidcError::Provider("its answer has no ID token (is `openid` allowed?)".into()))?;
        let token = source.verified(provider, &known, token, NonceRule::Exactly(&trip.nonce), now).await?;
        let refresh = answer
            .refresh_token()
            .filter(|_| provider.refresh_token != RefreshToken::Never)
            .map(|token| Secret::new(token.secret().clone()));
        Ok(Arrival { token, nonce_sha256: claims::nonce_hash(&trip.nonce), refresh })
    }

    fn source(&self, provider: &config::Provider) -> Result<Arc<Source>, OidcError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(&provider.name) {
            return Ok(Arc::clone(source));
        }
        let way = Way::to(&provider.issuer).map_err(|e| OidcError::Config(e.to_string()))?;
        let source = Arc::new(Source { way, memory: Remembered::default(), quiet: Default::default() });
        sources.insert(provider.name.clone(), Arc::clone(&source));
        Ok(source)
    }
}

impl Source {
    /// What is known of the provider; asks it when that is too old, or when `insufficient` did not have a key.
    async fn known(
        &self,
        provider: &config::Provider,
        now: Timestamp,
        insufficient: Option<&Arc<Known>>,
    ) -> Result<Arc<Known>, OidcError> {
        let told = self.memory.get(&provider.name, now, insufficient, || self.discover(provider)).await;
        told.map_err(OidcError::Provider)
    }

    /// The token, verified with the keys that are known, or with newer ones: the provider may have changed its keys since
    /// we asked.
    async fn verified(
        &self,
        provider: &config::Provider,
        known: &Arc<Known>,
        token: &CoreIdToken,
        nonce: NonceRule<'_>,
        now: Timestamp,
    ) -> Result<VerifiedToken, OidcError> {
        let verdict = match verify(provider, known, token, nonce, now) {
            Err(Unverified::UnknownKey) => {
                let newer = self.known(provider, now, Some(known)).await?;
                verify(provider, &newer, token, nonce, now)
            }
            verdict => verdict,
        };
        match verdict {
            Ok(token) => Ok(token),
            Err(Unverified::UnknownKey) => {
                Err(TokenRefused::new("signature", "the ID token is signed by an unknown key").into())
            }
            Err(Unverified::Other(refused)) => Err(refused.into()),
        }
    }

    async fn discover(&self, provider: &config::Provider) -> Result<CoreProviderMetadata, String> {
        let issuer = IssuerUrl::new(provider.issuer.clone()).map_err(|e| format!("issuer: {e}"))?;
        let http = |request| self.way.clone().send(request);
        let metadata = CoreProviderMetadata::discover_async(issuer, &http).await.map_err(|e| causes(&e))?;
        if metadata.issuer().as_str() != provider.issuer {
            return Err("its discovery document names another issuer".into());
        }
        Ok(metadata)
    }
}

fn client(provider: &config::Provider, known: &Known, back: Option<&Url>) -> Result<Client, OidcError> {
    let secret = provider.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose().clone()));
    let methods = known.value.token_endpoint_auth_methods_supported();
    let mut client = CoreClient::from_provider_metadata(
        known.value.clone(),
        ClientId::new(provider.client_id.clone()),
        secret,
    );
    if let Some(back) = back {
        client = client.set_redirect_uri(RedirectUrl::from_url(back.clone()));
    }
    // `client_secret_basic` is the default of the standard; some providers speak only the other one.
    let post_only = methods.is_some_and(|methods| {
        methods.contains(&CoreClientAuthMethod::ClientSecretPost)
            && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
    });
    if known.value.token_endpoint().is_none() {
        return Err(OidcError::Provider("it has no token endpoint".into()));
    }
    Ok(if post_only { client.set_auth_type(AuthType::RequestBody) } else { client })
}

enum Unverified {
    UnknownKey,
    Other(TokenRefused),
}

fn verify(
    provider: &config::Provider,
    known: &Known,
    token: &CoreIdToken,
    nonce: NonceRule<'_>,
    now: Timestamp,
) -> Result<VerifiedToken, Unverified> {
    let algorithms = provider.algorithms.iter().filter_map(|name| algorithm(name));
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(now.as_millis());
    // A verifier for a public client, even when we have a secret: the secret must never become an HMAC key.
    let verifier = CoreIdTokenVerifier::new_public_client(
        ClientId::new(provider.client_id.clone()),
        known.value.issuer().clone(),
        known.value.jwks().clone(),
    )
    .set_allowed_algs(algorithms)
    .set_time_fn(move || at.into());
    let check_nonce = |said: Option<&Nonce>| {
        let fits = nonce.fits(said.map(|said| said.secret().as_str()));
        if fits { Ok(()) } else { Err("nonce mismatch".to_owned()) }
    };
    let signed = token.claims(&verifier, check_nonce);
    if let Err(why) = signed {
        return Err(unverified(&why));
    }
    let text = token.to_string();
    let payload = text.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let payload =
        payload.ok_or_else(|| Unverified::Other(TokenRefused::new("shape", "the payload is not base64")))?;
    claims::check(&payload, provider, nonce, now).map_err(Unverified::Other)
}

fn unverified(why: &ClaimsVerificationError) -> Unverified {
    type Why = ClaimsVerificationError;
    let (code, reason) = match why {
        Why::SignatureVerification(SignatureVerificationError::NoMatchingKey) => {
            return Unverified::UnknownKey;
        }
        Why::SignatureVerification(why) => ("signature", format!("signature: {why}")),
        Why::Expired(_) => ("expired", "the ID token has expired".to_owned()),
        Why::InvalidAudience(_) => ("audience", "the ID token is not for this server alone".to_owned()),
        Why::InvalidIssuer(_) => ("issuer", "the ID token was issued by somebody else".to_owned()),
        Why::InvalidNonce(_) => ("nonce", "the ID token belongs to another sign-in attempt".to_owned()),
        Why::InvalidSubject(_)
        | Why::InvalidAuthContext(_)
        | Why::InvalidAuthTime(_)
        | Why::Unsupported(_)
        | Why::Other(_)
        | _ => ("shape", why.to_string()),
    };
    Unverified::Other(TokenRefused::new(code, reason))
}

/// Asymmetric algorithms only: `none` and HMAC have no name here.
fn algorithm(name: &str) -> Option<CoreJwsSigningAlgorithm> {
    Some(match name {
        "RS256" => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
        "RS384" => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
        "RS512" => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
        "PS256" => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
        "PS384" => CoreJwsSigningAlgorithm::RsaSsaPssSha384,
        "PS512" => CoreJwsSigningAlgorithm::RsaSsaPssSha512,
        "ES256" => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
        "ES384" => CoreJwsSigningAlgorithm::EcdsaP384Sha384,
        "EdDSA" => CoreJwsSigningAlgorithm::EdDsa,
        _ => return None,
    })
}

/// An error with its causes, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::remembered::{ASK_AGAIN, FRESH, PATIENCE, PATIENCE_WITH_STALE};
    use super::*;

    #[test]
    fn only_asymmetric_algorithms_have_a_name() {
        for name in ["none", "HS256", "HS384", "HS512", "rs256", ""] {
            assert_eq!(algorithm(name), None, "{name}");
        }
        assert!(algorithm("EdDSA").is_some() && algorithm("RS256").is_some() && algorithm("ES256").is_some());
    }

    /// A provider that takes connections and never says anything.
    async fn hung() -> (tokio::net::TcpListener, config::Provider) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = config::Provider {
            name: "hung".parse().unwrap(),
            title: "Hung".into(),
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            client_id: "x".into(),
            client_secret: None,
            scopes: Vec::new(),
            algorithms: vec!["RS256".into()],
            claim_subject: "sub".into(),
            claim_display: Vec::new(),
            claim_groups: "groups".into(),
            refresh_token: RefreshToken::Auto,
        };
        (listener, provider)
    }

    #[tokio::test]
    async fn a_provider_that_hangs_holds_nobody_up_for_long() {
        let (_listener, provider) = hung().await;
        let now = Timestamp::from_secs(1_900_000_000);
        let source = Source {
            way: Way::to(&provider.issuer).unwrap(),
            memory: Default::default(),
            quiet: Default::default(),
        };
        let began = tokio::time::Instant::now();
        // Ten people at once wait for one answer.
        let answers =
            futures_util::future::join_all((0..10).map(|_| source.known(&provider, now, None))).await;
        assert!(answers.iter().all(Result::is_err));
        assert!(began.elapsed() < PATIENCE + Duration::from_secs(2), "{:?}", began.elapsed());

        // What was known serves while it hangs.
        let told = serde_json::json!({
            "issuer": provider.issuer,
            "authorization_endpoint": format!("{}/authorize", provider.issuer),
            "jwks_uri": format!("{}/jwks", provider.issuer),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        let metadata = serde_json::from_value(told).unwrap();
        source.memory.put(Told::at(metadata, now)).await;
        let began = tokio::time::Instant::now();
        let later = now.plus(FRESH + ASK_AGAIN);
        assert!(source.known(&provider, later, None).await.is_ok());
        assert!(began.elapsed() < PATIENCE_WITH_STALE + Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn a_trip_belongs_to_one_browser_and_one_attempt() {
        let trip = Trip::new("cookie", "state");
        assert_ne!(trip.nonce, trip.verifier);
        assert_ne!(trip.verifier, Trip::new("other", "state").verifier);
        assert_ne!(trip.nonce, Trip::new("cookie", "other").nonce);
        assert_eq!(trip.verifier.len(), 43, "the shortest PKCE verifier of RFC 7636");
    }
}
