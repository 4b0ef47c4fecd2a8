//! Speaks `/v1` with the server: one signed request, one answer of bounded size in bounded time. What the answers
//! mean is decided by `login`, `ensure`, `logout`.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::sign::{self, Key, SignError};
use crate::cli::terminal::plain;
use crate::identity::proof;
use crate::random::Random;
use crate::time::Clock;
use crate::web::api::revocations::{Revocation, RevocationAnswer, RevocationRequest};
use crate::web::api::workloads::{ExchangeAnswer, ExchangeLook, ExchangeRequest, WorkloadSettings};
use crate::web::api::{
    BeginAnswer, BeginRequest, CertificateAnswer, CertificateRequest, ErrorBody, FinishRequest, SignInAnswer,
};
use crate::web::shape::Page;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Lists for auditors hold hundreds of rows with people's reasons in them.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// A request without a body.
pub const NOTHING: Option<&()> = None;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address cannot be a server of ours.
    #[error("{0}")]
    Server(String),
    /// The PEM file of `--ca-file`, or the system's trusted certificates.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// No answer.
    #[error("cannot reach {server}: {why}")]
    Unreachable {
        /// The server.
        server: String,
        /// What went wrong.
        why: String,
    },
    /// The server says no, in its own words.
    #[error("the server refused: {message}")]
    Refused {
        /// Stable code, `web::api::ErrorDetail`.
        code: String,
        /// For people.
        message: String,
    },
    /// Not an answer of a Caponier server.
    #[error("{server} answered {status} with something that is not Caponier's; is the address right?")]
    Odd {
        /// The server.
        server: String,
        /// The HTTP status.
        status: u16,
    },
    /// The key.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl ApiError {
    /// Whether the server said that the sign-in is over (or never was).
    pub fn is_signed_out(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "not-signed-in" || code == "expired" || code == "revoked")
    }

    /// Whether the server's refusal has this code.
    pub fn has_code(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }
}

/// Checks a server address as people type it; `bastion.example` means `https://bastion.example`.
pub fn server_url(text: &str) -> Result<Url, ApiError> {
    let bad = |why: &str| ApiError::Server(format!("{}: {why}", plain(text, 200)));
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url =
        Url::parse(&full).map_err(|_| bad("not an address; it should look like https://bastion.example"))?;
    if url.host().is_none() || !url.username().is_empty() || url.password().is_some() {
        return Err(bad("not an address; it should look like https://bastion.example"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("give the address without a path"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(bad("http is for loopback only; use https")),
        _ => Err(bad("not an https address")),
    }
}

/// Whether the URL's host is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// A way to speak with `server`, without redirects and in bounded time; `ca_pem` replaces the system's trusted certificates.
pub fn http(server: &Url, ca_pem: Option<&str>) -> Result<reqwest::Client, ApiError> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a crypto provider is installed already");
    }
    let tls = |e: reqwest::Error| ApiError::Tls(chain(&e));
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("caponier/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT);
    if let Some(pem) = ca_pem {
        let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(tls)?;
        if trusted.is_empty() {
            return Err(ApiError::Tls("the CA file holds no certificate".to_owned()));
        }
        builder = builder.tls_certs_only(trusted);
    } else if server.scheme() == "http" {
        // No TLS, so the system's certificates need not be there either.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(server) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(tls)
}

/// A server to talk to.
#[derive(Debug)]
pub struct Api {
    http: reqwest::Client,
    server: Url,
    authority: String,
    random: Random,
    clock: Clock,
}

impl Api {
    /// Prepares to talk to `server`; `ca_pem` replaces the system's trusted certificates.
    pub fn new(server: Url, ca_pem: Option<&str>) -> Result<Self, ApiError> {
        Ok(Self {
            authority: proof::authority(&server),
            http: http(&server, ca_pem)?,
            server,
            random: Random::System,
            clock: Clock::System,
        })
    }

    /// `host` or `host:port` of the server, as it is signed.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The server.
    pub fn server(&self) -> &Url {
        &self.server
    }

    /// Begins a sign-in.
    pub async fn begin(&self, key: &Key, request: &BeginRequest) -> Result<BeginAnswer, ApiError> {
        self.call(key, Method::POST, "/v1/sign-in/begin", Some(request)).await
    }

    /// Finishes it; none while the browser is not done.
    pub async fn finish(&self, key: &Key, request: &FinishRequest) -> Result<Option<SignInAnswer>, ApiError> {
        self.call_soon(key, Method::POST, "/v1/sign-in/finish", Some(request)).await
    }

    /// A certificate.
    pub async fn certificate(
        &self,
        key: &Key,
        request: &CertificateRequest,
    ) -> Result<CertificateAnswer, ApiError> {
        self.call(key, Method::POST, "/v1/certificate", Some(request)).await
    }

    /// What a job must know before it asks its platform for a token. Nobody signs this.
    pub async fn workload_settings(&self) -> Result<WorkloadSettings, ApiError> {
        let url = self.server.join("/v1/workloads").map_err(|e| ApiError::Server(e.to_string()))?;
        let read = self.read(self.http.get(url)).await?;
        self.answered(read)?.ok_or_else(|| self.odd(StatusCode::ACCEPTED))
    }

    /// A job's token, or a service account's statement, for a sign-in of `key` and its first certificate.
    pub async fn exchange(&self, key: &Key, request: &ExchangeRequest) -> Result<ExchangeAnswer, ApiError> {
        self.call(key, Method::POST, "/v1/certificates", Some(request)).await
    }

    /// What the exchange would come to.
    pub async fn look(&self, key: &Key, request: &ExchangeRequest) -> Result<ExchangeLook, ApiError> {
        self.call(key, Method::POST, "/v1/certificates/check", Some(request)).await
    }

    /// The run is over: everything that it opened ends.
    pub async fn done(&self, key: &Key) -> Result<(), ApiError> {
        self.call(key, Method::POST, "/v1/runs/done", NOTHING).await
    }

    /// Who the server thinks we are.
    pub async fn who(&self, key: &Key) -> Result<SignInAnswer, ApiError> {
        self.call(key, Method::GET, "/v1/sign-in", NOTHING).await
    }

    /// Ends the sign-in.
    pub async fn end(&self, key: &Key) -> Result<(), ApiError> {
        self.call(key, Method::DELETE, "/v1/sign-in", NOTHING).await
    }

    /// Revokes something.
    pub async fn revoke(&self, key: &Key, request: &RevocationRequest) -> Result<RevocationAnswer, ApiError> {
        self.call(key, Method::POST, "/v1/revocations", Some(request)).await
    }

    /// What was revoked, newest first; `after` is where the page before ended.
    pub async fn revocations(&self, key: &Key, after: Option<&str>) -> Result<Page<Revocation>, ApiError> {
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        self.call(key, Method::GET, &format!("/v1/revocations?limit=200{after}"), NOTHING).await
    }

    /// One endpoint of the API: sends `request` (or [`NOTHING`]) signed, and reads the answer. `path` may have a query.
    /// An endpoint that answers 204 gives `()`.
    pub async fn call<A: DeserializeOwned>(
        &self,
        key: &Key,
        method: Method,
        path: &str,
        request: Option<&impl Serialize>,
    ) -> Result<A, ApiError> {
        let answer = self.call_soon(key, method, path, request).await?;
        answer.ok_or_else(|| self.odd(StatusCode::ACCEPTED))
    }

    /// The same where the server may say "not yet" (202): none then.
    pub async fn call_soon<A: DeserializeOwned>(
        &self,
        key: &Key,
        method: Method,
        path: &str,
        request: Option<&impl Serialize>,
    ) -> Result<Option<A>, ApiError> {
        let body = request.map(serde_json::to_vec).transpose();
        let body = body.map_err(|e| ApiError::Server(format!("internal error: {e}")))?.unwrap_or_default();
        self.answered(self.send(key, method, path, body, None).await?)
    }

    /// A `POST` that is done once, however often it is sent with the same `word` (the header `Idempotency-Key`).
    pub async fn call_once<A: DeserializeOwned>(
        &self,
        key: &Key,
        path: &str,
        request: &impl Serialize,
        word: &str,
    ) -> Result<A, ApiError> {
        let body = serde_json::to_vec(request);
        let body = body.map_err(|e| ApiError::Server(format!("internal error: {e}")))?;
        let answer = self.answered(self.send(key, Method::POST, path, body, Some(word)).await?)?;
        answer.ok_or_else(|| self.odd(StatusCode::ACCEPTED))
    }

    fn answered<A: DeserializeOwned>(
        &self,
        (status, body): (StatusCode, Vec<u8>),
    ) -> Result<Option<A>, ApiError> {
        let read = |body: &[u8]| serde_json::from_slice(body).map(Some).map_err(|_| self.odd(status));
        match status {
            StatusCode::OK | StatusCode::CREATED => read(&body),
            StatusCode::ACCEPTED => Ok(None),
            StatusCode::NO_CONTENT => read(b"null"),
            _ => Err(self.refusal(status, &body)),
        }
    }

    async fn send(
        &self,
        key: &Key,
        method: Method,
        path: &str,
        body: Vec<u8>,
        word: Option<&str>,
    ) -> Result<(StatusCode, Vec<u8>), ApiError> {
        let request =
            sign::Request { method: method.as_str(), authority: &self.authority, path, body: &body };
        let headers = sign::sign(key, &request, self.clock.now(), self.random.token())?;
        let url = self.server.join(path).map_err(|e| ApiError::Server(e.to_string()))?;
        let mut outgoing = self.http.request(method, url);
        for (name, value) in headers {
            outgoing = outgoing.header(name, value);
        }
        if let Some(word) = word {
            outgoing = outgoing.header("idempotency-key", word);
        }
        if !body.is_empty() {
            outgoing = outgoing.header("content-type", "application/json").body(body);
        }
        self.read(outgoing).await
    }

    async fn read(&self, outgoing: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), ApiError> {
        let mut answer = outgoing.send().await.map_err(|e| self.unreachable(&e))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| self.unreachable(&e))? {
            if bytes.len().saturating_add(chunk.len()) > ANSWER_MAX {
                return Err(self.odd(status));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((status, bytes))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ApiError {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(ErrorBody { error }) => {
                ApiError::Refused { code: plain(&error.code, 64), message: plain(&error.message, 500) }
            }
            Err(_) => self.odd(status),
        }
    }

    fn odd(&self, status: StatusCode) -> ApiError {
        ApiError::Odd { server: self.origin(), status: status.as_u16() }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ApiError {
        let why = if error.is_timeout() {
            format!("no answer within {} s", TIMEOUT.as_secs())
        } else {
            chain(error)
        };
        ApiError::Unreachable { server: self.origin(), why }
    }

    fn origin(&self) -> String {
        self.server.as_str().trim_end_matches('/').to_owned()
    }
}

/// The innermost cause, which is what a person can act on ("connection refused", "invalid peer certificate").
pub(in crate::cli) fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_addresses() {
        for (text, url) in [
            ("https://b.example", "https://b.example/"),
            ("b.example:8443", "https://b.example:8443/"),
            ("https://b.example:443/", "https://b.example/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://[::1]:80", "http://[::1]/"),
            ("http://localhost:1", "http://localhost:1/"),
        ] {
            assert_eq!(server_url(text).unwrap().as_str(), url, "{text}");
        }
        for bad in [
            "",
            "http://b.example",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "ftp://b.example",
            "file:///etc/passwd",
            "https://u:p@b.example",
            "https://b.example/x",
            "https://b.example?x",
            "javascript:alert(1)",
        ] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
        let authority = |text| proof::authority(&server_url(text).unwrap());
        assert_eq!(authority("https://B.example:443"), "b.example");
        assert_eq!(authority("https://b.example:8443"), "b.example:8443");
        assert_eq!(authority("http://[::1]:99"), "[::1]:99");
    }
}
