//! Requests to identity providers: where they may go, how long they may take and how much may come back.
//! What the answers mean is `oidc`'s matter.

use std::time::Duration;

use openidconnect::{HttpRequest, HttpResponse, http};
use url::{Host, Url};

/// Longest answer of a provider that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The address is not one that this provider may send us to.
    #[error(
        "{0} may not be used: providers are reached by https (http only when the issuer itself is on loopback)"
    )]
    Address(String),
    /// The network, TLS, a timeout, or a redirect where none may be.
    #[error("{}", with_causes(.0))]
    Http(#[from] reqwest::Error),
    /// More came back than is read.
    #[error("the answer is over {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// The provider is too busy or broken, or sends us elsewhere.
    #[error("it answers with status {0}")]
    Status(u16),
    /// The ID token in the answer is not looked at.
    #[error(transparent)]
    Token(#[from] crate::identity::claims::TokenRefused),
    /// The answer cannot be put together.
    #[error("the answer: {0}")]
    Answer(#[from] http::Error),
}

fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// The way to one provider.
#[derive(Clone, Debug)]
pub(super) struct Way {
    client: reqwest::Client,
    loopback: bool,
}

impl Way {
    /// The way to the provider with this issuer. No redirects: a provider that answers with one could send us, and
    /// our client secret, anywhere.
    pub(super) fn to(issuer: &str) -> Result<Self, FetchError> {
        // Fails only when a provider stands already, which is as good.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::trace!("a TLS provider is installed already");
        }
        let loopback = Url::parse(issuer).is_ok_and(|url| url.scheme() == "http" && is_loopback(&url));
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .user_agent("caponier");
        if loopback {
            builder = builder.no_proxy();
        }
        Ok(Self { client: builder.build()?, loopback })
    }

    /// Whether this provider may send us or a browser to `url`.
    pub(super) fn allows(&self, url: &Url) -> bool {
        url.username().is_empty()
            && url.password().is_none()
            && (url.scheme() == "https" || (self.loopback && url.scheme() == "http" && is_loopback(url)))
    }

    /// Sends `request` and reads the answer, within the limits.
    pub(super) async fn send(self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let address = request.uri().to_string();
        if !Url::parse(&address).is_ok_and(|url| self.allows(&url)) {
            return Err(FetchError::Address(address));
        }
        let mut answer = self.client.execute(reqwest::Request::try_from(request)?).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let mut builder = http::Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            builder = builder.header(name, value);
        }
        Ok(builder.body(body)?)
    }

    /// As [`Way::send`], for the token endpoint: the ID token's size and shape are checked before anybody parses it.
    pub(super) async fn send_for_token(self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        #[derive(serde::Deserialize)]
        struct Peek {
            id_token: Option<String>,
        }
        let answer = self.send(request).await?;
        if let Ok(Peek { id_token: Some(token) }) = serde_json::from_slice(answer.body()) {
            crate::identity::claims::check_shape(&token)?;
        }
        Ok(answer)
    }
}

/// Whether the URL names this very machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_provider_may_send_us() {
        let rows = [
            ("https://id.example", "https://keys.example/jwks", true),
            ("https://id.example", "http://id.example/jwks", false),
            ("https://id.example", "http://127.0.0.1/jwks", false),
            ("https://id.example", "file:///etc/passwd", false),
            ("https://id.example", "https://user:pass@id.example/", false),
            ("http://127.0.0.1:9", "http://127.0.0.1:10/jwks", true),
            ("http://127.0.0.1:9", "http://localhost:10/jwks", true),
            ("http://127.0.0.1:9", "http://169.254.169.254/latest", false),
            ("http://id.example", "http://id.example/jwks", false),
            ("http://localhost.example", "http://localhost.example/", false),
        ];
        for (issuer, url, allowed) in rows {
            let way = Way::to(issuer).unwrap();
            assert_eq!(way.allows(&url.parse().unwrap()), allowed, "{issuer} -> {url}");
        }
    }
}
