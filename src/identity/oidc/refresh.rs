//! Asks a provider again about somebody who signed in before: is the account still there, and which groups does it have
//! now? By the refresh token (OAuth 2.0 section 6, OpenID Connect Core section 12), and where that brings no ID token by
//! UserInfo. What is a no, and what is no answer, is decided here; what follows from either is `flow::recheck`'s matter.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use openidconnect::core::{CoreErrorResponseType, CoreProviderMetadata};
use openidconnect::{HttpRequest, OAuth2TokenResponse as _, RequestTokenError, TokenResponse as _, http};

use super::fetch::{FetchError, Way};
use super::{Known, Oidc, OidcError, Source, causes, claims, client};
use crate::config::{self, RefreshToken};
use crate::identity::Identity;
use crate::identity::claims::{NonceRule, Session, TokenRefused};
use crate::secret::Secret;
use crate::time::Timestamp;

/// The scope that asks for a refresh token (OpenID Connect Core section 11).
pub(super) const OFFLINE_ACCESS: &str = "offline_access";
/// How long a provider that did not answer one question is not asked others: many sign-ins are checked one after the
/// other, and each would wait for the same silence.
const QUIET: Duration = Duration::from_secs(10);
/// Longest time that one question takes, with all that belongs to it.
const WHOLE: Duration = Duration::from_secs(40);
/// Longest word of a provider that is passed on, in bytes.
const WORD_MAX: usize = 64;

/// When the provider last did not answer, and why.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<Option<(Timestamp, String)>>);

/// What is known of the sign-in that is asked about.
#[derive(Debug)]
pub struct Kept<'a> {
    /// Who it was.
    pub who: &'a Identity,
    /// The provider's names for them.
    pub session: &'a Session,
    /// What is kept of the first nonce.
    pub nonce_sha256: &'a str,
    /// The refresh token.
    pub refresh: &'a Secret<String>,
}

/// What came of asking.
#[derive(Debug)]
pub struct Refreshed {
    /// The answer.
    pub verdict: Verdict,
    /// The refresh token that takes the place of the one that was used; also when the rest of the answer is of no use.
    pub refresh: Option<Secret<String>>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The person is still there, with these groups.
    Here(Identity),
    /// The provider says no, or speaks of somebody else: the reason.
    Gone(String),
    /// It does not answer, or not in a way that says anything about the person: the reason.
    Silent(String),
}

/// Whether the scope is asked for at this provider.
pub(super) fn asks_for_offline_access(provider: &config::Provider, metadata: &CoreProviderMetadata) -> bool {
    match provider.refresh_token {
        RefreshToken::Auto => {
            metadata.scopes_supported().is_some_and(|all| all.iter().any(|one| **one == *OFFLINE_ACCESS))
        }
        RefreshToken::Ask | RefreshToken::Consent => true,
        RefreshToken::Given | RefreshToken::Never => false,
    }
}

impl Oidc {
    /// Asks about the person of `kept`. Takes at most `WHOLE`.
    pub async fn refresh(&self, provider: &config::Provider, kept: Kept<'_>, now: Timestamp) -> Refreshed {
        let source = match self.source(provider) {
            Ok(source) => source,
            Err(why) => return silent(why.to_string()),
        };
        if let Some(why) = source.quiet.since(now) {
            return silent(format!("it did not answer a moment ago: {why}"));
        }
        let asking = source.refresh(provider, kept, now);
        let refreshed = tokio::time::timeout(WHOLE, asking)
            .await
            .unwrap_or_else(|_| silent(format!("no answer within {} s", WHOLE.as_secs())));
        source.quiet.note(&refreshed.verdict, now);
        refreshed
    }

    /// Whether this provider is asked for refresh tokens, as far as can be known beforehand; an error when it does not
    /// answer.
    pub async fn offers_refresh(
        &self,
        provider: &config::Provider,
        now: Timestamp,
    ) -> Result<bool, OidcError> {
        let known = self.source(provider)?.known(provider, now, None).await?;
        Ok(asks_for_offline_access(provider, &known.value))
    }
}

fn silent(why: String) -> Refreshed {
    Refreshed { verdict: Verdict::Silent(why), refresh: None }
}

impl Quiet {
    fn since(&self, now: Timestamp) -> Option<String> {
        let silence = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        silence.as_ref().filter(|(at, _)| now.since(*at) < QUIET).map(|(_, why)| why.clone())
    }

    fn note(&self, verdict: &Verdict, now: Timestamp) {
        let silence = match verdict {
            Verdict::Silent(why) => Some((now, why.clone())),
            Verdict::Here(_) | Verdict::Gone(_) => None,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = silence;
    }
}

impl Source {
    async fn refresh(&self, provider: &config::Provider, kept: Kept<'_>, now: Timestamp) -> Refreshed {
        let known = match self.known(provider, now, None).await {
            Ok(known) => known,
            Err(why) => return silent(why.to_string()),
        };
        let client = match client(provider, &known, None) {
            Ok(client) => client,
            Err(why) => return silent(why.to_string()),
        };
        let token = openidconnect::RefreshToken::new(kept.refresh.expose().clone());
        let http = |request| send(self.way.clone(), request);
        let answer = match client.exchange_refresh_token(&token) {
            Ok(request) => request.request_async(&http).await,
            Err(why) => return silent(why.to_string()),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => return Refreshed { verdict: refused(&why), refresh: None },
        };
        let refresh = answer.refresh_token().map(|token| Secret::new(token.secret().clone()));
        let said = match answer.id_token() {
            Some(token) => {
                let nonce = NonceRule::AbsentOrHash(kept.nonce_sha256);
                let verified = self.verified(provider, &known, token, nonce, now).await;
                verified.map(|token| (token.identity().clone(), token.session().sub.clone()))
            }
            None => {
                let sub = &kept.session.sub;
                let token = Secret::new(answer.access_token().secret().clone());
                match self.user_info(provider, &known, &token, sub).await {
                    Ok(who) => Ok((who, sub.clone())),
                    Err(Asked::Gone(why)) => return Refreshed { verdict: Verdict::Gone(why), refresh },
                    Err(Asked::Oidc(why)) => Err(why),
                }
            }
        };
        Refreshed { verdict: judge(said, &kept), refresh }
    }

    async fn user_info(
        &self,
        provider: &config::Provider,
        known: &Known,
        token: &Secret<String>,
        sub: &str,
    ) -> Result<Identity, Asked> {
        let unclear =
            |why: &dyn std::fmt::Display| Asked::Oidc(OidcError::Provider(format!("UserInfo: {why}")));
        let endpoint = known
            .value
            .userinfo_endpoint()
            .ok_or_else(|| unclear(&"the refresh brought no ID token, and there is no such endpoint"))?;
        let request = http::Request::get(endpoint.as_str())
            .header(http::header::AUTHORIZATION, format!("Bearer {}", token.expose()))
            .header(http::header::ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|why| unclear(&why))?;
        let answer = self.way.clone().send(request).await.map_err(|why| unclear(&why))?;
        match answer.status() {
            http::StatusCode::OK => claims::check_user_info(answer.body(), provider, sub)
                .map_err(|refused| Asked::Oidc(refused.into())),
            // The token was made a moment ago; who refuses it now means the person.
            http::StatusCode::UNAUTHORIZED => Err(Asked::Gone("UserInfo refuses the person".to_owned())),
            status => Err(unclear(&format_args!("status {}", status.as_u16()))),
        }
    }
}

enum Asked {
    Gone(String),
    Oidc(OidcError),
}

/// Somebody else is a no at once. What we cannot believe for another reason says nothing about the person.
fn judge(said: Result<(Identity, String), OidcError>, kept: &Kept<'_>) -> Verdict {
    match said {
        Ok((who, sub)) => {
            let same = sub == kept.session.sub
                && (&who.issuer, &who.subject) == (&kept.who.issuer, &kept.who.subject)
                && who.provider == kept.who.provider;
            if same {
                Verdict::Here(who)
            } else {
                Verdict::Gone("the provider now names another person for this sign-in".to_owned())
            }
        }
        Err(OidcError::Token(TokenRefused { code: "issuer" | "subject", reason })) => Verdict::Gone(reason),
        Err(why) => Verdict::Silent(why.to_string()),
    }
}

/// As [`Way::send_for_token`], and an answer that is no answer to the question (too busy, broken, in maintenance) is none.
async fn send(way: Way, request: HttpRequest) -> Result<openidconnect::HttpResponse, FetchError> {
    let answer = way.send_for_token(request).await?;
    let status = answer.status();
    let busy = [http::StatusCode::REQUEST_TIMEOUT, http::StatusCode::TOO_MANY_REQUESTS].contains(&status);
    if busy || status.is_server_error() || status.is_redirection() {
        return Err(FetchError::Status(status.as_u16()));
    }
    Ok(answer)
}

type RefreshError =
    RequestTokenError<FetchError, openidconnect::StandardErrorResponse<CoreErrorResponseType>>;

/// A no about the person (OAuth 2.0 section 5.2, and the words of OpenID Connect Core section 3.1.2.6 that some providers
/// use here). The other words are about us as a client: they end nothing at once.
fn refused(why: &RefreshError) -> Verdict {
    const NO: [&str; 6] = [
        "invalid_grant",
        "access_denied",
        "login_required",
        "interaction_required",
        "consent_required",
        "account_selection_required",
    ];
    match why {
        RequestTokenError::ServerResponse(error) => {
            let word = claims::label(error.error().as_ref(), WORD_MAX);
            let said = format!("the provider answers {word:?}");
            if NO.contains(&word.as_str()) { Verdict::Gone(said) } else { Verdict::Silent(said) }
        }
        RequestTokenError::Request(error) => Verdict::Silent(error.to_string()),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Verdict::Silent(causes(why)),
    }
}
