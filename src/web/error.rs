//! What is answered when a request does not succeed: always an `ErrorBody` with a fitting status. Decides the form only;
//! which refusal has which status is said where the refusal is turned into an answer (`v1::refused`).

use std::convert::Infallible;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::api::{ErrorBody, ErrorDetail};
use crate::app::App;
use crate::flow::permission::PermissionRefused;
use crate::flow::recognise::RequestRefused;
use crate::identity::proof::ProofRefused;

/// An error as clients see it.
#[derive(Debug)]
pub struct ApiError {
    pub(super) status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    /// A status, a stable code in lower case with hyphens, and a text for people that says what to do.
    pub fn new(status: StatusCode, code: &'static str, message: impl ToString) -> Self {
        Self { status, code, message: message.to_string() }
    }

    /// We are broken: the log gets the error, the client a number.
    pub fn internal(app: &App, error: &dyn std::error::Error) -> Self {
        let reference = log_internal(app, error);
        let message =
            format!("something is broken on the server; tell its administrators the number {reference}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// What came cannot be understood.
    pub fn bad(message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    /// No such path, or nothing of this name that whoever asks may see.
    pub(super) fn not_found() -> Self {
        let message = "there is no such thing here; the client may be too new or too old";
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    pub(super) fn not_allowed() -> Self {
        let message = "this address does not take this method; the header Allow says which it takes";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", message)
    }

    pub(super) fn too_large() -> Self {
        let message = "the request's body is too large; 16 KiB are the most";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "limit", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = ErrorDetail { code: self.code.to_owned(), message: self.message };
        let mut response = (self.status, Json(ErrorBody { error })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 11.6.1: what would have been needed.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Caponier"));
        }
        response
    }
}

/// There is too much to do.
pub(super) fn busy() -> Response {
    let message = "the server has too much to do; try again in a minute";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "limit", message).into_response()
}

/// The body did not come in time.
pub(super) fn slow() -> Response {
    let message = "the request's body did not come in time; try again";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "limit", message).into_response()
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

/// The refusals of a flow, as this API answers them.
pub trait Refused: Send + 'static {
    /// Every status that [`Refused::answer`] can have beyond 500, with what it means here, for the description.
    const STATUSES: &'static [(StatusCode, &'static str)];

    /// The answer. What is broken goes through [`ApiError::internal`].
    fn answer(&self, app: &App) -> ApiError;
}

/// For what refuses nothing beyond what every endpoint may.
impl Refused for Infallible {
    const STATUSES: &'static [(StatusCode, &'static str)] = &[];
    fn answer(&self, _: &App) -> ApiError {
        match *self {}
    }
}

/// Why an endpoint has no answer. `?` turns a flow's refusal into one.
#[derive(Debug)]
pub enum Failed<E> {
    /// The flow says no.
    Refused(E),
    /// What came does not make sense, and why: 400.
    Bad(String),
    /// We are broken: 500.
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

impl<E> Failed<E> {
    /// What came does not make sense.
    pub fn bad(why: impl ToString) -> Self {
        Self::Bad(why.to_string())
    }

    /// We are broken.
    pub fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Broken(Box::new(error))
    }
}

impl<E: Refused> From<E> for Failed<E> {
    fn from(refused: E) -> Self {
        Self::Refused(refused)
    }
}

impl<E: Refused> Failed<E> {
    pub(super) fn answer(&self, app: &App) -> ApiError {
        match self {
            Self::Refused(refused) => refused.answer(app),
            Self::Bad(why) => ApiError::bad(why),
            Self::Broken(error) => ApiError::internal(app, error.as_ref()),
        }
    }
}

/// The signature and the sign-in behind it.
pub(super) fn of_request(app: &App, why: &RequestRefused) -> ApiError {
    let (status, code) = match why {
        RequestRefused::Proof(ProofRefused::Clock(_)) => (StatusCode::UNAUTHORIZED, "clock"),
        RequestRefused::Proof(_) => (StatusCode::UNAUTHORIZED, "bad-signature"),
        RequestRefused::Limit => (StatusCode::TOO_MANY_REQUESTS, "limit"),
        RequestRefused::KeyRevoked => (StatusCode::UNAUTHORIZED, "revoked"),
        RequestRefused::NotSignedIn => (StatusCode::UNAUTHORIZED, "not-signed-in"),
        RequestRefused::Store(error) => return ApiError::internal(app, error),
    };
    ApiError::new(status, code, why)
}

/// A permission that is missing.
pub(super) fn of_permission(app: &App, why: &PermissionRefused) -> ApiError {
    match why {
        PermissionRefused::Request(why) => of_request(app, why),
        PermissionRefused::Not(_) => ApiError::new(StatusCode::FORBIDDEN, "no-access", why),
        PermissionRefused::Store(error) => ApiError::internal(app, error),
    }
}
