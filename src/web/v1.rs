//! The API under `/v1`, as `api` describes it: signed requests in, JSON out, every error an `ErrorBody`.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts as _, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::address::From;
use super::api::{
    BeginAnswer, BeginRequest, CertificateAnswer, CertificateRequest, ErrorBody, ErrorDetail, FinishRequest,
    SignInAnswer, SshClientSettings,
};
use crate::app::App;
use crate::ca::Authority;
use crate::flow::end_sign_in::{EndRefused, end_other, end_own};
use crate::flow::issue::{IssueRefused, Wish, issue};
use crate::flow::recognise::{Request, RequestRefused, SignedBy, recognise_request, sign_in_of};
use crate::flow::sign_in::{Begin, Finish, Finished, SignInRefused, begin, finish};
use crate::identity::Identity;
use crate::identity::proof::{HEADER_KEY, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIME, ProofRefused, Shown};
use crate::ids::SignInId;
use crate::names::LoginName;
use crate::pattern::LOGINS_MAX;
use crate::policy::targets_for;
use crate::store::SignIn;

/// Seconds between the polls of a device sign-in.
const POLL_SECS: u64 = 2;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/v1/sign-in/begin", post(begin_sign_in))
        .route("/v1/sign-in/finish", post(finish_sign_in))
        .route("/v1/sign-in", get(show_sign_in).delete(end_own_sign_in))
        .route("/v1/sign-in/{id}", delete(end_other_sign_in))
        .route("/v1/certificate", post(certificate))
        .route("/v1/{*rest}", axum::routing::any(async || not_found()))
}

/// An error as clients see it.
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl ToString) -> Self {
        Self { status, code, message: message.to_string() }
    }

    fn internal(app: &App, error: &dyn std::error::Error) -> Self {
        let reference = log_internal(app, error);
        let message =
            format!("something is broken on the server; tell its administrators the number {reference}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = ErrorDetail { code: self.code.to_owned(), message: self.message };
        (self.status, Json(ErrorBody { error })).into_response()
    }
}

/// Logs what is broken, once, and returns the number that the person is shown instead.
pub(super) fn log_internal(app: &App, error: &dyn std::error::Error) -> String {
    let reference = format!("{:08x}", app.random.u64() >> 32);
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    tracing::error!(%reference, error = %text, "a request failed");
    reference
}

fn not_found() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "there is no such thing here; the client may be too new or too old",
    )
}

/// There is too much to do.
pub(super) fn busy() -> Response {
    let message = "the server has too much to do; try again in a minute";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "limit", message).into_response()
}

/// A request whose signature holds, with its body. Handlers that take one cannot forget to check.
struct SignedRequest {
    by: SignedBy,
    body: Bytes,
}

impl FromRequest<App> for SignedRequest {
    type Rejection = ApiError;
    async fn from_request(request: axum::extract::Request, app: &App) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let bad = |why: &dyn std::fmt::Display| ApiError::new(StatusCode::BAD_REQUEST, "bad-request", why);
        let From(from) = From::from_request_parts(&mut parts, app).await.map_err(|status| bad(&status))?;
        let request = axum::extract::Request::from_parts(parts.clone(), body);
        let body = Bytes::from_request(request, app).await.map_err(|why| bad(&why))?;
        let shown = Shown {
            key: single(&parts.headers, HEADER_KEY)?,
            time: single(&parts.headers, HEADER_TIME)?,
            nonce: single(&parts.headers, HEADER_NONCE)?,
            signature: single(&parts.headers, HEADER_SIGNATURE)?,
        };
        let path_and_query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request { method: parts.method.as_str(), path_and_query, shown, body: &body, from };
        let by = recognise_request(app, request).await.map_err(|why| of_request(app, &why))?;
        Ok(Self { by, body })
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "bad-signature", ProofRefused::Header(name))),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // serde would take an array for a struct too, field by field.
    if body.trim_ascii_start().first() != Some(&b'{') {
        let message = "the request's body is not a JSON object";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad-request", message));
    }
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the request's body: {error}; the client may be too new or too old");
        ApiError::new(StatusCode::BAD_REQUEST, "bad-request", message)
    })
}

async fn begin_sign_in(State(app): State<App>, signed: SignedRequest) -> Result<Json<BeginAnswer>, ApiError> {
    let asked: BeginRequest = parse(&signed.body)?;
    let loopback = match (asked.mode.as_str(), asked.port, asked.challenge) {
        ("loopback", Some(port), Some(challenge)) => Some((port, challenge)),
        ("device", None, None) => None,
        _ => {
            let message = "mode is \"loopback\" with port and challenge, or \"device\" without";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad-request", message));
        }
    };
    let ask = Begin { loopback, client: asked.client, provider: asked.provider };
    let begun = begin(&app, &signed.by, ask).await.map_err(|why| of_sign_in(&app, &why))?;
    Ok(Json(BeginAnswer {
        id: begun.id.to_string(),
        url: begun.url.to_string(),
        user_code: begun.user_code,
        expires_in: begun.expires.since(app.clock.now()).as_secs(),
        interval: POLL_SECS,
    }))
}

async fn finish_sign_in(State(app): State<App>, signed: SignedRequest) -> Result<Response, ApiError> {
    let asked: FinishRequest = parse(&signed.body)?;
    let id = asked.id.parse().map_err(|_| of_sign_in(&app, &SignInRefused::NotFound))?;
    let shown = Finish { id, code: asked.code, verifier: asked.verifier };
    match finish(&app, &signed.by, shown).await.map_err(|why| of_sign_in(&app, &why))? {
        Finished::Waiting => Ok((StatusCode::ACCEPTED, Json(serde_json::json!({}))).into_response()),
        Finished::Done(sign_in) => Ok(Json(answer(&app, &sign_in)?).into_response()),
    }
}

async fn show_sign_in(State(app): State<App>, signed: SignedRequest) -> Result<Json<SignInAnswer>, ApiError> {
    let sign_in = sign_in_of(&app, &signed.by).await.map_err(|why| of_request(&app, &why))?;
    Ok(Json(answer(&app, &sign_in)?))
}

async fn end_own_sign_in(State(app): State<App>, signed: SignedRequest) -> Result<StatusCode, ApiError> {
    end_own(&app, &signed.by).await.map_err(|why| of_end(&app, &why))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_other_sign_in(
    State(app): State<App>,
    Path(id): Path<String>,
    signed: SignedRequest,
) -> Result<StatusCode, ApiError> {
    let id: SignInId = id.parse().map_err(|_| of_end(&app, &EndRefused::NotFound))?;
    end_other(&app, &signed.by, &id).await.map_err(|why| of_end(&app, &why))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn certificate(
    State(app): State<App>,
    signed: SignedRequest,
) -> Result<Json<CertificateAnswer>, ApiError> {
    let wish = wish(parse(&signed.body)?)?;
    let (issued, caller) = issue(&app, &signed.by, wish).await.map_err(|why| of_issue(&app, &why))?;
    let certificate = issued.certificate.to_openssh().map_err(|error| ApiError::internal(&app, &error))?;
    Ok(Json(CertificateAnswer {
        certificate,
        serial: issued.serial.to_string(),
        principals: issued.principals,
        valid_before: issued.valid_before.as_secs(),
        ssh: settings(&app, caller.identity())?,
    }))
}

fn wish(asked: CertificateRequest) -> Result<Wish, ApiError> {
    let bad = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "bad-request", message);
    if asked.principals.as_ref().is_some_and(|names| names.len() > LOGINS_MAX) {
        return Err(bad(format!("at most {LOGINS_MAX} principals")));
    }
    let parsed = asked
        .principals
        .map(|names| names.iter().map(|name| name.parse::<LoginName>()).collect::<Result<BTreeSet<_>, _>>());
    let logins = parsed.transpose().map_err(|error| bad(error.to_string()))?;
    Ok(Wish { logins, life: asked.life.map(Duration::from_secs) })
}

fn answer(app: &App, sign_in: &SignIn) -> Result<SignInAnswer, ApiError> {
    Ok(SignInAnswer {
        sign_in: sign_in.id.to_string(),
        who: sign_in.who.reference(),
        display: sign_in.who.display.clone(),
        groups: sign_in.who.groups.iter().map(ToString::to_string).collect(),
        expires: sign_in.expires.as_secs(),
        ssh: settings(app, &sign_in.who)?,
    })
}

/// What the client writes into its ssh configuration: the configured patterns, or the targets this person may reach.
fn settings(app: &App, who: &Identity) -> Result<SshClientSettings, ApiError> {
    let mut host_ca = app.signer.public_key(Authority::Host).clone();
    host_ca.set_comment("");
    let host_ca = host_ca.to_openssh().map_err(|error| ApiError::internal(app, &error))?;
    let ssh = &app.config.ssh;
    let patterns = if ssh.client_patterns.is_empty() {
        targets_for(&app.policy(), who).into_iter().map(|(target, _)| target.to_string()).collect()
    } else {
        ssh.client_patterns.clone()
    };
    Ok(SshClientSettings {
        host: ssh.host_names.first().cloned().unwrap_or_default(),
        port: ssh.public_port,
        host_ca,
        patterns,
    })
}

fn of_request(app: &App, why: &RequestRefused) -> ApiError {
    let (status, code) = match why {
        RequestRefused::Proof(ProofRefused::Clock(_)) => (StatusCode::UNAUTHORIZED, "clock"),
        RequestRefused::Proof(_) => (StatusCode::UNAUTHORIZED, "bad-signature"),
        RequestRefused::Limit => (StatusCode::TOO_MANY_REQUESTS, "limit"),
        RequestRefused::NotSignedIn => (StatusCode::UNAUTHORIZED, "not-signed-in"),
        RequestRefused::Store(error) => return ApiError::internal(app, error),
    };
    ApiError::new(status, code, why)
}

fn of_sign_in(app: &App, why: &SignInRefused) -> ApiError {
    let (status, code) = match why {
        SignInRefused::Limit(_) => (StatusCode::TOO_MANY_REQUESTS, "limit"),
        SignInRefused::BadRequest(_) | SignInRefused::OtherBrowser => {
            (StatusCode::BAD_REQUEST, "bad-request")
        }
        SignInRefused::NotFound => (StatusCode::NOT_FOUND, "expired"),
        SignInRefused::Denied(_) => (StatusCode::FORBIDDEN, "denied"),
        SignInRefused::Replay => (StatusCode::CONFLICT, "replay"),
        SignInRefused::Provider(error) => return ApiError::internal(app, error),
        SignInRefused::Store(error) => return ApiError::internal(app, error),
    };
    ApiError::new(status, code, why)
}

fn of_end(app: &App, why: &EndRefused) -> ApiError {
    match why {
        EndRefused::Caller(why) => of_request(app, why),
        EndRefused::NotFound => ApiError::new(StatusCode::NOT_FOUND, "not-found", why),
        EndRefused::Replay => ApiError::new(StatusCode::CONFLICT, "replay", why),
        EndRefused::Store(error) => ApiError::internal(app, error),
    }
}

fn of_issue(app: &App, why: &IssueRefused) -> ApiError {
    match why {
        IssueRefused::Policy(refusal) => {
            ApiError::new(StatusCode::FORBIDDEN, refusal.code.as_str(), &refusal.text)
        }
        IssueRefused::Caller(why) => of_request(app, why),
        IssueRefused::Replay => ApiError::new(StatusCode::CONFLICT, "replay", why),
        IssueRefused::Draft(_) => ApiError::new(StatusCode::BAD_REQUEST, "bad-request", why),
        IssueRefused::Signer(error) => ApiError::internal(app, error),
        IssueRefused::Store(error) => ApiError::internal(app, error),
    }
}
