//! A small OpenID provider for the demo and the tests. It asks nobody for a password and therefore listens on loopback
//! only. Three people: `engineer`, `reviewer`, `auditor`. With [`Tamper`] it tells the lies that a test wants.
//! `later` is what it says after the sign-in.

mod later;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openidconnect::core::{
    CoreEdDsaPrivateSigningKey, CoreHmacKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
};
use openidconnect::{JsonWebKeyId, PrivateSigningKey as _};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::random::Random;
use crate::time::{Clock, Timestamp};

/// The people: name, display name, group.
pub const PEOPLE: [(&str, &str, &str); 3] = [
    ("engineer", "Erin Engineer", "engineers"),
    ("reviewer", "Robin Reviewer", "reviewers"),
    ("auditor", "Ash Auditor", "auditors"),
];
const CODE_LIFE: Duration = Duration::from_secs(60);
const CODES_MAX: usize = 1000;
const TOKEN_LIFE_SECS: u64 = 300;

/// Why the provider does not start.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No port on loopback.
    #[error("listening on 127.0.0.1: {0}")]
    Listen(#[from] std::io::Error),
    /// The signing key.
    #[error("signing key: {0}")]
    Key(String),
}

/// A lie that the provider tells, for tests. [`Tamper::Nothing`] everywhere else.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Tamper {
    /// Tells the truth.
    #[default]
    Nothing,
    /// Writes this value over this claim; `null` takes the claim away.
    Claim(&'static str, Value),
    /// Writes this `alg` into the header and signs as always.
    Algorithm(&'static str),
    /// `alg` none, and no signature.
    Unsigned,
    /// HMAC with the client's secret, which the client has too.
    Hmac,
    /// Signs with a key that it does not publish, under this key id.
    OtherKey(&'static str),
    /// Publishes and uses a new key from now on.
    NewKey,
    /// Changes a claim after signing.
    AfterSigning,
    /// Sends this text instead of an ID token.
    Token(String),
    /// Redirects the token request elsewhere.
    Redirect,
    /// Names another issuer in its discovery document.
    Issuer,
    /// Answers token requests with this status and this body.
    Answer(u16, Value),
    /// Answers refresh tokens without an ID token, so that UserInfo must be asked.
    NoIdToken,
    /// As `NoIdToken`, and UserInfo knows nobody.
    NoPerson,
}

/// A running provider; it stops when this is dropped.
pub struct Provider {
    /// Its issuer, `http://127.0.0.1:PORT`.
    pub issuer: String,
    /// The client id that it knows.
    pub client_id: String,
    /// The secret of that client.
    pub client_secret: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    issuer: String,
    client_id: String,
    client_secret: String,
    key: CoreEdDsaPrivateSigningKey,
    other_key: CoreEdDsaPrivateSigningKey,
    random: Random,
    clock: Clock,
    codes: Mutex<HashMap<String, Grant>>,
    tokens: later::Tokens,
    tamper: Mutex<Tamper>,
}

/// What a code stands for.
struct Grant {
    stay: Stay,
    offline: bool,
    redirect_uri: String,
    challenge: String,
    expires: Timestamp,
}

/// One sign-in of somebody.
#[derive(Clone)]
struct Stay {
    person: usize,
    nonce: String,
    sid: String,
}

/// Starts the provider on a free port of 127.0.0.1.
pub async fn start(random: &Random, clock: &Clock) -> Result<Provider, ProviderError> {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(std::io::Error::other("the demo provider is for loopback only").into());
    }
    let shared = Arc::new(Shared {
        issuer: format!("http://{address}"),
        client_id: "caponier-demo".to_owned(),
        client_secret: random.token(),
        key: signing_key(random, "demo")?,
        other_key: signing_key(random, "newer")?,
        random: random.clone(),
        clock: clock.clone(),
        codes: Mutex::default(),
        tokens: later::Tokens::default(),
        tamper: Mutex::default(),
    });
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .route("/userinfo", get(later::user_info))
        .with_state(Arc::clone(&shared));
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "the demo's OpenID provider failed");
        }
    });
    Ok(Provider {
        issuer: shared.issuer.clone(),
        client_id: shared.client_id.clone(),
        client_secret: shared.client_secret.clone(),
        shared,
        _stop: stop.drop_guard(),
    })
}

impl Provider {
    /// What it lies about from now on. For tests.
    pub fn tamper(&self, tamper: Tamper) {
        *self.shared.tamper.lock().unwrap_or_else(PoisonError::into_inner) = tamper;
    }
}

/// An Ed25519 key in PKCS#8 (RFC 8410): a fixed frame around 32 random bytes.
fn signing_key(random: &Random, id: &str) -> Result<CoreEdDsaPrivateSigningKey, ProviderError> {
    const FRAME: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = [FRAME.as_slice(), &random.bytes::<32>()].concat();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new(id.to_owned())))
        .map_err(ProviderError::Key)
}

impl Shared {
    fn lie(&self) -> Tamper {
        self.tamper.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn codes(&self) -> std::sync::MutexGuard<'_, HashMap<String, Grant>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn discovery(State(at): State<Arc<Shared>>) -> Json<Value> {
    let base = &at.issuer;
    let issuer = if at.lie() == Tamper::Issuer { "http://127.0.0.1:1" } else { base };
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "userinfo_endpoint": format!("{base}/userinfo"),
        "jwks_uri": format!("{base}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "profile", "email", "groups", "offline_access"],
    }))
}

async fn jwks(State(at): State<Arc<Shared>>) -> Json<CoreJsonWebKeySet> {
    let key = if at.lie() == Tamper::NewKey { &at.other_key } else { &at.key };
    Json(CoreJsonWebKeySet::new(vec![key.as_verification_key()]))
}

#[derive(Deserialize)]
struct Ask {
    client_id: String,
    redirect_uri: String,
    response_type: String,
    scope: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
    login_hint: Option<String>,
}

fn wrong(text: &'static str) -> Response {
    (StatusCode::BAD_REQUEST, text).into_response()
}

/// With `login_hint`, answers at once as that person; otherwise shows three buttons.
async fn authorize(State(at): State<Arc<Shared>>, Query(ask): Query<Ask>) -> Response {
    // Only what is on this machine may be redirected to.
    let back = Url::parse(&ask.redirect_uri)
        .ok()
        .filter(|url| url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "localhost")));
    let Some(mut back) = back else { return wrong("redirect_uri is not on loopback") };
    let right = ask.client_id == at.client_id
        && ask.response_type == "code"
        && ask.code_challenge_method == "S256"
        && ask.scope.split(' ').any(|scope| scope == "openid");
    if !right {
        return wrong("not a request for an authorization code with PKCE by the known client");
    }
    let Some(hint) = &ask.login_hint else { return buttons(&ask) };
    let Some(person) = PEOPLE.iter().position(|(name, ..)| name == hint) else {
        back.query_pairs_mut().append_pair("error", "access_denied").append_pair("state", &ask.state);
        return see(&back);
    };
    let code = at.random.token();
    let now = at.clock.now();
    let grant = Grant {
        stay: Stay { person, nonce: ask.nonce, sid: at.random.token() },
        offline: ask.scope.split(' ').any(|scope| scope == "offline_access"),
        redirect_uri: ask.redirect_uri,
        challenge: ask.code_challenge,
        expires: now.plus(CODE_LIFE),
    };
    let mut codes = at.codes();
    codes.retain(|_, grant| now < grant.expires);
    if codes.len() >= CODES_MAX {
        return wrong("too many codes");
    }
    codes.insert(code.clone(), grant);
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &ask.state)
        .append_pair("iss", &at.issuer);
    see(&back)
}

fn see(url: &Url) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, url.as_str())]).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn buttons(ask: &Ask) -> Response {
    let kept = [
        ("client_id", &ask.client_id),
        ("redirect_uri", &ask.redirect_uri),
        ("response_type", &ask.response_type),
        ("scope", &ask.scope),
        ("state", &ask.state),
        ("nonce", &ask.nonce),
        ("code_challenge", &ask.code_challenge),
        ("code_challenge_method", &ask.code_challenge_method),
    ];
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\"><title>Demo provider</title><h1>Demo provider</h1><p>Who are you?</p><form action=\"/authorize\">",
    );
    for (name, value) in kept {
        page.push_str(&format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value)));
    }
    for (name, display, _) in PEOPLE {
        page.push_str(&format!("<p><button name=\"login_hint\" value=\"{name}\">{display}</button></p>"));
    }
    page.push_str("</form></html>");
    Html(page).into_response()
}

#[derive(Deserialize)]
struct Exchange {
    grant_type: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_verifier: String,
    refresh_token: Option<String>,
}

async fn token(
    State(at): State<Arc<Shared>>,
    headers: HeaderMap,
    Form(exchange): Form<Exchange>,
) -> Response {
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", at.client_id, at.client_secret)));
    if headers.get(header::AUTHORIZATION).is_none_or(|shown| shown.as_bytes() != basic.as_bytes()) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    if let Tamper::Answer(status, body) = at.lie() {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return (status, Json(body)).into_response();
    }
    if at.lie() == Tamper::Redirect {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "http://127.0.0.1:1/")]).into_response();
    }
    if exchange.grant_type == "refresh_token" {
        return later::refresh(&at, exchange.refresh_token.as_deref());
    }
    let grant = at.codes().remove(&exchange.code);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&exchange.code_verifier));
    let grant = grant.filter(|grant| {
        exchange.grant_type == "authorization_code"
            && grant.redirect_uri == exchange.redirect_uri
            && grant.challenge == challenge
            && at.clock.now() < grant.expires
    });
    let Some(grant) = grant else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    };
    answer(&at, &grant.stay, grant.offline)
}

/// The tokens for this stay.
fn answer(at: &Shared, stay: &Stay, offline: bool) -> Response {
    let lie = at.lie();
    let access_token = at.random.token();
    at.tokens.new_access(&access_token, stay.person);
    let mut body = Map::from_iter([
        ("access_token".to_owned(), access_token.into()),
        ("token_type".to_owned(), "Bearer".into()),
        ("expires_in".to_owned(), TOKEN_LIFE_SECS.into()),
    ]);
    if offline {
        let token = at.random.token();
        at.tokens.new_refresh(&token, stay.clone());
        body.insert("refresh_token".to_owned(), token.into());
    }
    if !matches!(lie, Tamper::NoIdToken | Tamper::NoPerson) {
        match id_token(at, stay, &lie) {
            Ok(token) => body.insert("id_token".to_owned(), token.into()),
            Err(why) => return (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
        };
    }
    Json(body).into_response()
}

/// What is said of a person everywhere.
fn claims_of(person: usize) -> Option<Value> {
    let (name, display, group) = PEOPLE.get(person)?;
    Some(json!({
        "sub": name, "name": display, "email": format!("{name}@demo.invalid"), "email_verified": true,
        "groups": [group],
    }))
}

/// The claims as `lie` wants them.
fn changed(mut claims: Value, lie: &Tamper) -> Value {
    if let (Tamper::Claim(claim, value), Some(claims)) = (lie, claims.as_object_mut()) {
        if value.is_null() {
            claims.remove(*claim);
        } else {
            claims.insert((*claim).to_owned(), value.clone());
        }
    }
    claims
}

fn id_token(at: &Shared, stay: &Stay, lie: &Tamper) -> Result<String, String> {
    let now = at.clock.now().as_secs();
    let mut claims = claims_of(stay.person).ok_or("nobody")?;
    let of_this_token = json!({
        "iss": at.issuer, "aud": at.client_id, "nonce": stay.nonce, "sid": stay.sid, "iat": now,
        "exp": now + TOKEN_LIFE_SECS,
    });
    if let (Value::Object(claims), Value::Object(more)) = (&mut claims, of_this_token) {
        claims.extend(more);
    }
    let claims = changed(claims, lie);
    let (algorithm, key_id) = lie.header();
    let head = json!({"alg": algorithm, "kid": key_id, "typ": "JWT"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&head), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(at, lie, signed.as_bytes())?);
    if let Tamper::Token(text) = lie {
        return Ok(text.clone());
    }
    if *lie == Tamper::AfterSigning {
        let other = claims.to_string().replace("\"engineer\"", "\"auditor\"");
        return Ok(format!("{}.{}.{signature}", part(&head), URL_SAFE_NO_PAD.encode(other)));
    }
    Ok(format!("{signed}.{signature}"))
}

impl Tamper {
    /// `alg` and `kid`.
    fn header(&self) -> (&str, &str) {
        match self {
            Self::Algorithm(name) => (name, "demo"),
            Self::Unsigned => ("none", "demo"),
            Self::Hmac => ("HS256", "demo"),
            Self::OtherKey(id) => ("EdDSA", id),
            Self::NewKey => ("EdDSA", "newer"),
            Self::Nothing
            | Self::Claim(..)
            | Self::AfterSigning
            | Self::Token(_)
            | Self::Redirect
            | Self::Issuer
            | Self::Answer(..)
            | Self::NoIdToken
            | Self::NoPerson => ("EdDSA", "demo"),
        }
    }
}

fn sign(at: &Shared, lie: &Tamper, text: &[u8]) -> Result<Vec<u8>, String> {
    let signature = match lie {
        Tamper::Unsigned => Ok(Vec::new()),
        Tamper::Hmac => {
            CoreHmacKey::new(at.client_secret.as_bytes()).sign(&CoreJwsSigningAlgorithm::HmacSha256, text)
        }
        Tamper::OtherKey(_) | Tamper::NewKey => at.other_key.sign(&CoreJwsSigningAlgorithm::EdDsa, text),
        Tamper::Nothing
        | Tamper::Claim(..)
        | Tamper::Algorithm(_)
        | Tamper::AfterSigning
        | Tamper::Token(_)
        | Tamper::Redirect
        | Tamper::Issuer
        | Tamper::Answer(..)
        | Tamper::NoIdToken
        | Tamper::NoPerson => at.key.sign(&CoreJwsSigningAlgorithm::EdDsa, text),
    };
    signature.map_err(|error| error.to_string())
}
